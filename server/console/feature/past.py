"""A feature's values per day, as predictions had them: quantiles, and the share that was missing."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from events.predictions.archive import PredictionArchive

__all__ = ["FeatureDay", "feature_days"]

_MOST = 20_000
"""Maximum number of predictions read; of more, evenly spaced ones."""

_LEAST = 5
"""Minimum number of a day's values for quantiles."""


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
    first_day = now.astimezone(UTC).date() - timedelta(days=days - 1)
    since = datetime(first_day.year, first_day.month, first_day.day, tzinfo=UTC)
    predictions = archive.read(["as_of", "features"], target=target, since=since)
    step = max(1, -(-predictions.num_rows // _MOST))
    predictions = predictions.take(pa.array(range(0, predictions.num_rows, step), pa.int64()))
    values: dict[date, list[float | None]] = {first_day + timedelta(days=number): [] for number in range(days)}
    for as_of, features in zip(predictions["as_of"].to_pylist(), predictions["features"].to_pylist(), strict=True):
        if (day := as_of.astimezone(UTC).date()) in values:
            values[day].append(json.loads(features).get(name))
    return [_day(day, day_values) for day, day_values in values.items()]


def _day(day: date, values: list[float | None]) -> FeatureDay:
    present = np.asarray([value for value in values if value is not None], np.float64)
    missing = 1 - len(present) / len(values) if values else None
    if len(present) < _LEAST:
        return FeatureDay(day, len(values), missing, None, None, None)
    low, median, high = np.quantile(present, (0.1, 0.5, 0.9)).tolist()
    return FeatureDay(day, len(values), missing, low, median, high)
