"""A feature's values day by day, as they were asked about: quantiles, and the share that was missing."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from events.predictions.archive import PredictionArchive

__all__ = ["FeatureDay", "feature_days"]

_MOST = 20_000
"""The most predictions that are looked at; of more every so manieth."""

_LEAST = 5
"""Fewest values of a day that have quantiles."""


class FeatureDay(NamedTuple):
    """A UTC day: how many predictions, the share without a value, and three quantiles (None: too few, a gap)."""

    day: date
    rows: int
    missing: float | None
    low: float | None
    median: float | None
    high: float | None


def feature_days(archive: PredictionArchive, target: str, name: str, *, now: datetime, days: int) -> list[FeatureDay]:
    """Return the last days, the oldest first; those without predictions are gaps."""
    first = now.astimezone(UTC).date() - timedelta(days=days - 1)
    since = datetime(first.year, first.month, first.day, tzinfo=UTC)
    found = archive.read(["as_of", "features"], target=target, since=since)
    found = found.take(pa.array(range(0, found.num_rows, max(1, -(-found.num_rows // _MOST))), pa.int64()))
    values: dict[date, list[float | None]] = {first + timedelta(days=place): [] for place in range(days)}
    for at, features in zip(found["as_of"].to_pylist(), found["features"].to_pylist(), strict=True):
        if (day := at.astimezone(UTC).date()) in values:
            values[day].append(json.loads(features).get(name))
    return [_day(day, some) for day, some in values.items()]


def _day(day: date, values: list[float | None]) -> FeatureDay:
    known = np.asarray([value for value in values if value is not None], np.float64)
    missing = 1 - len(known) / len(values) if values else None
    if len(known) < _LEAST:
        return FeatureDay(day, len(values), missing, None, None, None)
    low, median, high = np.quantile(known, (0.1, 0.5, 0.9)).tolist()
    return FeatureDay(day, len(values), missing, low, median, high)
