"""Trials: A/B logs of interventions against abandoned carts, read by a mapping, and a simulated example."""

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa

from data.errors import DataError
from data.importers import import_files, load_mapping
from data.schema import Entity, EventType, Measure, Schema
from features.batch.engine import Engine
from model.examples.spine import build_spine
from model.targets import Target

__all__ = ["example_trial", "read_trial", "trial_schema"]

_ARMS = ("control", "treated")


def trial_schema(schema: Schema) -> Schema:
    """Return the schema of an A/B log's rows: `treated` or `control` events, with whether they `bought`.

    They have the keys and labels of a question, optionally its measures, and the name of the `intervention`.
    """
    keys = tuple(name for name in schema.asked_keys if name in schema.keys)
    labels = tuple(name for name in schema.asked_keys if name in schema.labels)
    measures = (msgspec.structs.replace(measure, default=measure.least) for measure in schema.asked_measures)
    return Schema(
        types=tuple(map(EventType, _ARMS)),
        keys=keys,
        labels=(*labels, "intervention"),
        measures=(*measures, Measure("bought", most=1)),
        ordered_by=keys[0],
        entities=(Entity(f"one_{keys[0]}", (keys[0],)),),
        asks=keys,
    )


def read_trial(
    files: Sequence[str], mapping: str, *, now_us: int, progress: Callable[[str], None], schema: Schema
) -> pd.DataFrame:
    """Return the rows of an A/B log as questions in time order: a spine with `treated` and `intervention`.

    The `label` is whether they bought. Raises ConfigurationError, DataError or FaultyRowsError in one line.
    """
    tables, _ = import_files(
        load_mapping(mapping), files, now_us=now_us, progress=progress, schema=trial_schema(schema)
    )
    events: Any = pa.concat_tables(tables).to_pandas()
    keys = list(schema.asked_keys)
    rows = events[keys].copy()
    rows["event_timestamp"] = pd.to_datetime(events["timestamp"], utc=True).astype("datetime64[us, UTC]")
    for measure in schema.asked_measures:
        amounts = events[measure.name].astype("float64")
        rows[measure.in_request] = amounts.where(amounts > measure.least)
    rows["segment"], rows["later"], rows["label"] = None, False, events["bought"].astype("int64")
    rows["treated"] = (events["event_type"] == _ARMS[1]).astype("int64")
    names = sorted(set(events.loc[rows["treated"] == 1, "intervention"].dropna()) - {""})
    rows["intervention"] = names[0] if names else ""
    if len(names) > 1:
        raise DataError(
            f"{mapping}: the A/B log tells of {len(names)} interventions ({', '.join(names[:5])}); measure one "
            "at a time: leave the others out by [[drop]]"
        )
    if (twice := rows.duplicated([*keys, "event_timestamp"])).any():
        example = " ".join(map(str, rows.loc[twice, keys].iloc[0]))
        raise DataError(f"{mapping}: {int(twice.sum()):,} rows are of one cart at one time (the first: {example})")
    ordered: pd.DataFrame = rows.sort_values(["event_timestamp", *keys], ignore_index=True)
    return ordered


def example_trial(engine: Engine, target: Target, *, rescued: float, max_rows: int, seed: int = 0) -> tuple[str, int]:
    """Return a simulated A/B log as CSV, and its number of rows, from a log's carts: half are treated.

    Of the treated carts, a share is `rescued`. It serves to try out the procedure, or to see how many carts an
    experiment with this effect needs.
    """
    carts = build_spine(engine, target, max_rows=max_rows, seed=seed)
    random = np.random.default_rng(seed)
    treated = random.random(len(carts)) < 0.5
    saved = treated & (random.random(len(carts)) < rescued)
    bought = (carts["label"] == 0) | saved
    schema = engine.log.schema
    columns = [*schema.asked_keys, *(measure.in_request for measure in schema.asked_measures)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["time", *columns, "arm", "bought"])
    times = carts["event_timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    arms = np.where(treated, _ARMS[1], _ARMS[0])
    cells = (["" if pd.isna(value) else value for value in row] for row in carts[columns].itertuples(index=False))
    writer.writerows(
        [at, *row, arm, int(yes)] for at, row, arm, yes in zip(times, cells, arms.tolist(), bought, strict=True)
    )
    return text.getvalue(), len(carts)
