"""The examples a model learns from: which moments and labels (the spine), and the features as of each moment."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import DataError, ModelError
from data.event_log import EventLog
from features.engine import DuckDBEngine
from model.targets import Target

__all__ = ["SPINE_KEYS", "Retrieve", "TrainingSet", "build_spine", "build_training_set"]

SPINE_KEYS = ("user_id", "product_id", "event_timestamp")
"""The columns that name an example."""

_CANDIDATES = "candidates"

Retrieve = Callable[[pd.DataFrame], pd.DataFrame]
"""Point-in-time features of each row of a frame: its columns and one column per feature, in any order of rows."""

# An event at the very end of a horizon counts, so a horizon is seen when the newest event lies at its end or later.
# Simultaneous triggers of a pair ask one question: their amounts are summed, and rounded to the six decimals that an
# amount has, so that the order of addition leaves no trace.
_SPINE = """
    WITH events AS NOT MATERIALIZED (
        SELECT event_type, user_id, product_id, amount, epoch_us("timestamp") AS time_us FROM {log}
    ),
    triggers AS (
        SELECT user_id, product_id, time_us, round(sum(amount), 6) AS request_amount
        FROM events
        WHERE event_type = $trigger AND time_us <= (SELECT max(time_us) FROM events) - $horizon
        GROUP BY user_id, product_id, time_us
    ),
    answers AS (SELECT user_id, product_id, time_us FROM events WHERE event_type = $label),
    examples AS (
        SELECT triggers.*, coalesce(answers.time_us - triggers.time_us <= $horizon, false)::INTEGER AS label
        FROM triggers ASOF LEFT JOIN answers
        ON triggers.user_id = answers.user_id AND triggers.product_id = answers.product_id
        AND triggers.time_us < answers.time_us
    ),
    sample AS (
        SELECT *, count(*) OVER () AS candidates
        FROM examples
        ORDER BY hash(user_id, product_id, time_us, $seed), user_id, product_id, time_us
        LIMIT $max_rows
    )
    SELECT user_id, product_id, time_us, request_amount, label, candidates
    FROM sample
    ORDER BY time_us, user_id, product_id
"""


@dataclass(frozen=True)
class TrainingSet:
    """Examples in time order.

    `rows` is float32 of shape [examples, features], as the model will be asked (NaN: never happened); `labels` is 0 or
    1 and `times_us` UTC microseconds, both of shape [examples]. `candidates` is the number of examples in the log, of
    which these are all or a sample.
    """

    features: tuple[str, ...]
    rows: NDArray[np.float32]
    labels: NDArray[np.int64]
    times_us: NDArray[np.int64]
    candidates: int


def build_spine(log: EventLog, target: Target, *, max_rows: int = 100_000, seed: int = 0) -> pd.DataFrame:
    """The target's examples in the log, in time order; above `max_rows`, a sample that depends on `seed` alone.

    Columns: `user_id`, `product_id`, `event_timestamp` (datetime64[us, UTC]), `request_amount` (float), `label` (0 or
    1); the first three are unique. `attrs["candidates"]` is the number of examples before sampling. The events
    themselves stay in DuckDB.

    Raises `ModelError` when no example's horizon has been seen to its end, `DataError` when the log is empty or
    cannot be read.
    """
    parameters = {
        "trigger": target.trigger,
        "label": target.label,
        "horizon": target.horizon_us,
        "seed": seed,
        "max_rows": max_rows,
    }
    try:
        with DuckDBEngine(log) as engine:
            found = engine.connection.raw_sql(_SPINE.format(log=engine.scan()), parameters=parameters).df()
    except duckdb.Error as error:
        raise DataError(f"event log {log.root}: examples of {target.name} cannot be read: {error}") from error
    if found.empty:
        days = target.horizon_us / 86_400e6
        raise ModelError(
            f"{target.name}: event log {log.root} has no {target.trigger} followed by {days:g} days of events; "
            "wait for more data, or import a longer history"
        )
    spine = found[["user_id", "product_id"]].copy()
    spine["event_timestamp"] = found["time_us"].astype("datetime64[us]").dt.tz_localize("UTC")
    spine["request_amount"] = found["request_amount"].astype("float64")
    spine["label"] = found["label"].astype("int64")
    spine.attrs[_CANDIDATES] = int(found["candidates"].iloc[0])
    return spine


def build_training_set(
    spine: pd.DataFrame, retrieve: Retrieve, *, features: Sequence[str] | None = None
) -> TrainingSet:
    """Join to each example of the spine its features as of that moment.

    `retrieve` is asked without the labels. `features` are the model's inputs in order; by default every column that
    `retrieve` returns, in its order, but for the keys of the spine (`request_amount` is a feature).

    Raises `ModelError` when features are absent, not numbers or infinite, or rows are lost or repeated.
    """
    keys = list(SPINE_KEYS)
    spine = spine.sort_values(["event_timestamp", "user_id", "product_id"], ignore_index=True)
    found = retrieve(spine[[*keys, "request_amount"]].copy())
    names = tuple(features) if features is not None else tuple(c for c in found.columns if c not in (*keys, "label"))
    absent = [column for column in (*keys, *names) if column not in found.columns]
    if absent or not names:
        raise ModelError(f"training set: the features retrieved lack {', '.join(absent) or 'every feature'}")
    found = found.assign(event_timestamp=_utc(found["event_timestamp"]))
    joined = spine[keys].merge(found[[*keys, *names]], on=keys, how="left", indicator="_found")
    lost = int((joined["_found"] == "left_only").sum())
    if lost or len(joined) != len(spine):
        raise ModelError(
            f"training set: {len(spine)} examples were asked for, {lost} have no features and "
            f"{len(joined) - len(spine)} came back more than once; each example must come back once"
        )
    return TrainingSet(
        features=names,
        rows=np.column_stack([_float32(joined[name], name) for name in names]),
        labels=spine["label"].to_numpy(np.int64),
        times_us=_utc(spine["event_timestamp"]).dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64),
        candidates=int(spine.attrs.get(_CANDIDATES, len(spine))),
    )


def _utc(times: Any) -> Any:
    """A column of times, in whatever unit a store returned them, as datetime64[us, UTC]."""
    return pd.to_datetime(times, utc=True).astype("datetime64[us, UTC]")


def _float32(column: Any, name: str) -> NDArray[np.float32]:
    try:
        values = column.astype("float64").to_numpy()
    except (TypeError, ValueError) as error:
        raise ModelError(f"training set: feature {name} is not a number in every row: {error}") from error
    with np.errstate(over="ignore"):
        rounded: NDArray[np.float32] = values.astype(np.float32)
    if np.isinf(rounded).any():
        raise ModelError(f"training set: feature {name} is infinite, or too large for 32 bits, in some rows")
    return rounded
