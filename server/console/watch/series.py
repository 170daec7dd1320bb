"""Time series of the page of the past: quantities, their sources, and their values over a range, with gaps."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from data.units import MICROS, from_micros
from server.console.watch.alerts import ALERTS
from server.meters.past import EVERY_S, Reading
from server.meters.prometheus import Prometheus

__all__ = ["RANGES", "SERIES", "OverTime", "Series", "kept_over_time", "prometheus_over_time", "step_of"]

RANGES = {"15 minutes": 900, "1 hour": 3_600, "6 hours": 21_600, "24 hours": 86_400, "7 days": 604_800}
"""Selectable ranges, s."""

_STEPS = 240
"""Approximate number of values of a line."""

_LIMITS = {alert.name: alert.limit for alert in ALERTS}


class Series(NamedTuple):
    """A quantity over time: readings of that name (ending in a dot: a prefix, with a line each), or a query.

    `per_second`: readings are counts, shown as rates. `alert`: the name of the alert that judges it.
    """

    name: str
    title: str
    unit: str
    query: str
    per_second: bool = False
    scale: float = 1.0
    alert: str = ""

    @property
    def limit(self) -> float | None:
        """The limit of its alert; None if it has none."""
        return _LIMITS[self.alert] if self.alert else None


class OverTime(NamedTuple):
    """Lines over common times; None if nothing is known."""

    times: list[datetime]
    lines: dict[str, list[float | None]]


_FRESH = "histogram_quantile({}, sum by (le) (rate(encore_stream_freshness_seconds_bucket[5m])))"

SERIES = (
    Series("events_per_second", "Events", "events/s", "sum(rate(encore_stream_events_total[1m]))"),
    Series("lag", "Lag", "messages", "sum(encore_stream_lag)", alert="EncoreLag"),
    Series("lag.", "Lag by partition", "messages", "sum by (partition) (encore_stream_lag)"),
    Series("group.", "Lag by consumer group (not committed)", "messages", ""),
    Series(*("freshness_p99_seconds", "Freshness, p99", "s", _FRESH.format(0.99)), alert="EncoreFreshness"),
    Series(
        *("newest_event_age_seconds", "Age of the newest event", "s", "max(encore_newest_event_age_seconds)"),
        alert="EncoreFeaturesOld",
    ),
    Series(
        "dead_letters", "Dead letters", "a minute", "sum(rate(encore_stream_dead_letters_total[5m]))", True, scale=60
    ),
    Series("predictions", "Scores", "scores/s", "sum(rate(encore_predictions_total[1m]))", per_second=True),
    Series("workers", "Stream workers", "workers", 'count(encore_stands_still{part="stream"})'),
    Series("redis_memory_bytes", "Memory of Redis", "MB", "max(encore_redis_memory_bytes)", scale=1 / 2**20),
    Series("home_free_bytes", "Free on the home's disk", "GB", "min(encore_home_free_bytes)", scale=1 / 2**30),
    Series("size.", "Sizes of what is kept", "MB", "max by (what) (encore_kept_bytes)", scale=1 / 2**20),
)
"""In the order of the page."""


def step_of(range_s: int) -> int:
    """Return the seconds between two values; at least two intervals of the monitor, so that no step is empty."""
    return max(int(2 * EVERY_S), range_s // _STEPS)


def kept_over_time(readings: Iterable[Reading], series: Series, since_us: int, until_us: int) -> OverTime:
    """Return the mean of the monitor's readings in each step; a step without a reading is a gap."""
    step_us = step_of((until_us - since_us) // MICROS) * MICROS
    count = max(1, -(-(until_us - since_us) // step_us))
    samples: dict[str, list[list[float]]] = {}
    before: dict[str, tuple[int, float]] = {}
    for reading in readings:
        index = (reading.at_us - since_us) // step_us
        for label, value in _values_of(series, reading.values):
            sample: float | None = value
            if series.per_second:
                sample = _rate(before.get(label), (reading.at_us, value), step_us)
                before[label] = (reading.at_us, value)
            if sample is not None and 0 <= index < count:
                samples.setdefault(label, [[] for _ in range(count)])[index].append(sample * series.scale)
    times = [from_micros(since_us + index * step_us) for index in range(count)]
    lines = {label: [sum(step) / len(step) if step else None for step in steps] for label, steps in samples.items()}
    return OverTime(times, dict(sorted(lines.items())))


def prometheus_over_time(prometheus: Prometheus, series: Series, since_us: int, until_us: int) -> OverTime:
    """Return the values that Prometheus has; a step without a value is a gap. Raises as `Prometheus`."""
    step_s = step_of((until_us - since_us) // MICROS)
    since_us -= since_us % (step_s * MICROS)
    times_us = list(range(since_us, until_us + 1, step_s * MICROS))
    if not series.query:
        return OverTime([], {})
    values_by_label = prometheus.over_time(series.query, since_us, until_us, step_s)
    lines = {
        label or series.title: [None if (value := values.get(us)) is None else value * series.scale for us in times_us]
        for label, values in values_by_label.items()
    }
    return OverTime([from_micros(at_us) for at_us in times_us], lines)


def _values_of(series: Series, values: Mapping[str, float]) -> list[tuple[str, float]]:
    if series.name.endswith("."):
        return [
            (name.removeprefix(series.name), value) for name, value in values.items() if name.startswith(series.name)
        ]
    return [(series.title, values[series.name])] if series.name in values else []


def _rate(before: tuple[int, float] | None, after: tuple[int, float], step_us: int) -> float | None:
    """Return a count's growth per second; None after a gap, and after the count restarted."""
    if before is None or after[1] < before[1] or not 0 < after[0] - before[0] <= 2 * max(step_us, int(2e6 * EVERY_S)):
        return None
    return (after[1] - before[1]) / ((after[0] - before[0]) / MICROS)
