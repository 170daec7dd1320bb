"""What the page of the past shows: each quantity, where it comes from, and its values over a range, gaps as gaps."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from data.units import MICROS, from_micros
from server.console.watch.alerts import ALERTS
from server.meters.past import EVERY_S, Reading
from server.meters.prometheus import Prometheus

__all__ = ["RANGES", "SERIES", "OverTime", "Series", "kept_over_time", "prometheus_over_time", "step_of"]

RANGES = {"15 minutes": 900, "1 hour": 3_600, "6 hours": 21_600, "24 hours": 86_400, "7 days": 604_800}
"""What can be looked at, in seconds."""

_STEPS = 240
"""About so many values a line."""

_LIMITS = {one.name: one.limit for one in ALERTS}


class Series(NamedTuple):
    """A quantity over time: readings of that name (with a dot: one line for each that it is of), or a query.

    `per_second`: readings count, and what is shown is how fast. `alert`: the name of the one that judges it.
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
        """From which value on its alert fires; None where it has none."""
        return _LIMITS[self.alert] if self.alert else None


class OverTime(NamedTuple):
    """Lines over common times; None where nothing is known."""

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
    """Return the seconds between two values of a range; two looks of the monitor at least, so that none is a gap."""
    return max(int(2 * EVERY_S), range_s // _STEPS)


def kept_over_time(readings: Iterable[Reading], series: Series, since_us: int, until_us: int) -> OverTime:
    """Return what the monitor kept: the mean of the readings of each step; a step without one is a gap."""
    step_us = step_of((until_us - since_us) // MICROS) * MICROS
    count = max(1, -(-(until_us - since_us) // step_us))
    found: dict[str, list[list[float]]] = {}
    before: dict[str, tuple[int, float]] = {}
    for reading in readings:
        place = (reading.at_us - since_us) // step_us
        for label, value in _of(series, reading.values):
            shown: float | None = value
            if series.per_second:
                shown = _rate(before.get(label), (reading.at_us, value), step_us)
                before[label] = (reading.at_us, value)
            if shown is not None and 0 <= place < count:
                found.setdefault(label, [[] for _ in range(count)])[place].append(shown * series.scale)
    times = [from_micros(since_us + place * step_us) for place in range(count)]
    lines = {label: [sum(some) / len(some) if some else None for some in steps] for label, steps in found.items()}
    return OverTime(times, dict(sorted(lines.items())))


def prometheus_over_time(prometheus: Prometheus, series: Series, since_us: int, until_us: int) -> OverTime:
    """Return what a Prometheus knows; a step without a value is a gap. Raises as `Prometheus`."""
    step_s = step_of((until_us - since_us) // MICROS)
    since_us -= since_us % (step_s * MICROS)
    moments = list(range(since_us, until_us + 1, step_s * MICROS))
    if not series.query:
        return OverTime([], {})
    found = prometheus.over_time(series.query, since_us, until_us, step_s)
    lines = {
        label or series.title: [None if (value := values.get(at)) is None else value * series.scale for at in moments]
        for label, values in found.items()
    }
    return OverTime([from_micros(at) for at in moments], lines)


def _of(series: Series, values: Mapping[str, float]) -> list[tuple[str, float]]:
    if series.name.endswith("."):
        return [
            (name.removeprefix(series.name), value) for name, value in values.items() if name.startswith(series.name)
        ]
    return [(series.title, values[series.name])] if series.name in values else []


def _rate(before: tuple[int, float] | None, now: tuple[int, float], step_us: int) -> float | None:
    """Return how fast a count grows; None after a gap, and where it began anew."""
    if before is None or now[1] < before[1] or not 0 < now[0] - before[0] <= 2 * max(step_us, int(2e6 * EVERY_S)):
        return None
    return (now[1] - before[1]) / ((now[0] - before[0]) / MICROS)
