"""Metrics for Prometheus: this process's counts, freshness of features, and the last audit."""

from collections.abc import Iterator

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from data.clock import wall_clock
from data.errors import UnavailableError
from data.units import MICROS
from server.api.parts import Parts, PartsDep

__all__ = ["router"]

router = APIRouter(tags=["operation"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(parts: PartsDep) -> Response:
    """Metrics in Prometheus' text format."""
    scraped = CollectorRegistry()
    scraped.register(_Scrape(parts))
    return Response(
        generate_latest(parts.telemetry.registry()) + generate_latest(scraped), media_type=CONTENT_TYPE_LATEST
    )


class _Scrape(Collector):
    """Metrics collected at scrape time: of the predictions topic, Redis, and the last audit."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        counts = self._parts.predictions.counts()
        yield CounterMetricFamily("encore_predictions_sent", "Predictions that the topic took.", counts.sent)
        yield CounterMetricFamily("encore_predictions_dropped", "Predictions that it did not take.", counts.dropped)
        try:
            look, audit = self._parts.watch.look(), self._parts.last_audit()
        except UnavailableError:
            yield GaugeMetricFamily("encore_redis_up", "Whether Redis answers.", 0)
            return
        yield GaugeMetricFamily("encore_redis_up", "Whether Redis answers.", 1)
        yield GaugeMetricFamily("encore_problems", "What is wrong with stream and store.", len(look.problems))
        yield GaugeMetricFamily("encore_states_set_aside", "States to be made anew from the log.", len(look.aside))
        if look.newest_us is not None:
            age = (wall_clock() - look.newest_us) / MICROS
            yield GaugeMetricFamily("encore_newest_event_age_seconds", "Age of the newest event folded.", age)
        if audit is not None:
            at = audit.at_us / MICROS
            yield GaugeMetricFamily("encore_audit_timestamp_seconds", "When paths were last compared.", at)
            yield GaugeMetricFamily("encore_audit_values", "Values that the last audit compared.", audit.values)
            yield GaugeMetricFamily("encore_audit_differing_values", "Those that differed.", audit.differing)
