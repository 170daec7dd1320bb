"""The training set: the spine's examples with their point-in-time features."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import ModelError
from model.examples.spine import CANDIDATES
from model.rows import float32_rows

__all__ = ["Retrieve", "TrainingSet", "build_training_set"]

Retrieve = Callable[[pd.DataFrame], pd.DataFrame]
"""Point-in-time features of each row of a frame: its columns and one column per feature, in any order of rows."""


_NOT_ASKED = ("segment", "later", "label")
"""The columns of a spine that are not part of the question."""


@dataclass(frozen=True)
class TrainingSet:
    """Examples in time order.

    `rows` is float32 of shape [examples, features], as in serving (NaN: null); `labels` is 0 or 1 and `times_us` UTC
    microseconds, both of shape [examples]. `candidates` is the number of examples in the log, of which these are all or
    a sample; `log_events` that of all its events (0: unknown); `served_later` the share of served questions that are
    `later` (None: unknown). Of the same shape, or None: `users` (a number per user), `later` (whether the question was
    asked some time after its trigger) and `categories` (of products, as text).
    """

    features: tuple[str, ...]
    rows: NDArray[np.float32]
    labels: NDArray[np.int64]
    times_us: NDArray[np.int64]
    candidates: int
    log_events: int = 0
    served_later: float | None = None
    users: NDArray[np.int64] | None = None
    later: NDArray[np.bool_] | None = None
    categories: NDArray[np.str_] | None = None

    def hash(self) -> str:
        """Return the SHA-256 of the features' names and values, the labels and the times."""
        digest = hashlib.sha256("\n".join(self.features).encode())
        for values in (self.rows, self.labels, self.times_us):
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()


def build_training_set(
    spine: pd.DataFrame, retrieve: Retrieve, *, features: Sequence[str] | None = None
) -> TrainingSet:
    """Join its point-in-time features to each example of the spine.

    `retrieve` is called without the labels. `features` are the model's inputs in order; by default every column that
    `retrieve` returns, in its order, except the keys of the spine (`request_amount` is a feature).

    Raises `ModelError` if features are absent, not numbers or infinite, or rows are lost or repeated.
    """
    question_columns = [name for name in spine.columns if name not in _NOT_ASKED]
    keys = [name for name in question_columns if not name.startswith("request_")]
    question_keys = [name for name in keys if name != "event_timestamp"]
    spine = spine.sort_values(["event_timestamp", *question_keys], ignore_index=True)
    frame = retrieve(spine[question_columns].copy())
    names = (
        tuple(features)
        if features is not None
        else tuple(column for column in frame.columns if column not in (*keys, "label"))
    )
    absent = [column for column in (*keys, *names) if column not in frame.columns]
    if absent or not names:
        raise ModelError(f"training set: the features retrieved lack {', '.join(absent) or 'every feature'}")
    frame = frame.assign(event_timestamp=_utc(frame["event_timestamp"]))
    joined = spine[keys].merge(frame[[*keys, *names]], on=keys, how="left", indicator="_side")
    lost = int((joined["_side"] == "left_only").sum())
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
        candidates=int(spine.attrs.get(CANDIDATES, len(spine))),
        users=pd.factorize(spine[question_keys[0]])[0].astype(np.int64),
        later=spine["later"].to_numpy(np.bool_),
        categories=None if spine["segment"].isna().all() else spine["segment"].fillna("none").to_numpy(np.str_),
    )


def _utc(times: Any) -> Any:
    """Return a column of times, of any unit, as datetime64[us, UTC]."""
    return pd.to_datetime(times, utc=True).astype("datetime64[us, UTC]")


def _float32(column: Any, name: str) -> NDArray[np.float32]:
    try:
        values = column.astype("float64").to_numpy()
    except (TypeError, ValueError) as error:
        raise ModelError(f"training set: feature {name} is not a number in every row: {error}") from error
    rounded = float32_rows(values)
    if np.isinf(rounded).any():
        raise ModelError(f"training set: feature {name} is infinite, or too large for 32 bits, in some rows")
    return rounded
