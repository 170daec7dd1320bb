"""A part of the system under observation: its metrics, and why it stands still if it does."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from events.histogram import Histogram

__all__ = ["Meters", "Part", "counted", "exposed", "measured", "spread"]


class Meters(Protocol):
    """A source of metrics."""

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""


class Part(Meters, Protocol):
    """A process that works until it is stopped."""

    @property
    def name(self) -> str:
        """Name of the part."""

    def standstill(self) -> str:
        """Return why it makes no progress, in words; empty if it does."""


def exposed(part: Part, others: Sequence[Meters] = ()) -> bytes:
    """Return the metrics of a part, its process and `others` in Prometheus' text format."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_All(part, others))
    return generate_latest(registry)


def counted(name: str, what: str, value: float | Mapping[str, float], label: str = "") -> Metric:
    """Return a counter; with a `label`, one sample for each of its values."""
    if not isinstance(value, Mapping):
        return CounterMetricFamily(name, what, value)
    family = CounterMetricFamily(name, what, labels=[label])
    for label_value, number in value.items():
        family.add_metric([label_value], number)
    return family


def measured(name: str, what: str, value: float | Mapping[str, float], label: str = "") -> Metric:
    """Return a gauge; with a `label`, one sample for each of its values."""
    if not isinstance(value, Mapping):
        return GaugeMetricFamily(name, what, value)
    family = GaugeMetricFamily(name, what, labels=[label])
    for label_value, number in value.items():
        family.add_metric([label_value], number)
    return family


def spread(name: str, what: str, histogram: Histogram) -> Metric:
    """Return a histogram."""
    return HistogramMetricFamily(name, what, histogram.cumulative(), histogram.sum)


class _All(Collector):
    """Metrics of a part, whether it stands still, and the metrics of `others`."""

    def __init__(self, part: Part, others: Sequence[Meters]) -> None:
        self._part = part
        self._others = others

    def collect(self) -> Iterator[Metric]:
        standing = {self._part.name: float(bool(self._part.standstill()))}
        yield measured("encore_stands_still", "Whether a part does not go on: GET /health says why.", standing, "part")
        yield from chain(self._part.collect(), *(meters.collect() for meters in self._others))
