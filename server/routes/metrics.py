"""Metrics for Prometheus: what this process has done, how fresh the features are, and what the last audit found."""

from collections.abc import Iterator

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from data.clock import wall_clock
from data.errors import UnavailableError
from data.event import MICROS
from server.deps import Parts, PartsDep

__all__ = ["router"]

router = APIRouter(tags=["operation"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(parts: PartsDep) -> Response:
    """Metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Scrape(parts))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Scrape(Collector):
    """One look at the parts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        activity = self._parts.activity
        yield CounterMetricFamily("encore_requests", "Calls to score or to read features.", activity.requests)
        yield CounterMetricFamily("encore_predictions", "Predictions made.", activity.predictions)
        yield CounterMetricFamily("encore_damaged_states", "States that could not be read.", activity.damaged_states)
        try:
            newest, audit = self._parts.states.newest_event(), self._parts.last_audit()
        except UnavailableError:
            yield GaugeMetricFamily("encore_redis_up", "Whether Redis answers.", 0)
            return
        yield GaugeMetricFamily("encore_redis_up", "Whether Redis answers.", 1)
        if newest is not None:
            age = (wall_clock() - newest) / MICROS
            yield GaugeMetricFamily("encore_newest_event_age_seconds", "Age of the newest event folded.", age)
        if audit is not None:
            at = audit.at_us / MICROS
            yield GaugeMetricFamily("encore_audit_timestamp_seconds", "When paths were last compared.", at)
            yield GaugeMetricFamily("encore_audit_values", "Values that the last audit compared.", audit.values)
            yield GaugeMetricFamily("encore_audit_differing_values", "Those that differed.", audit.differing)
