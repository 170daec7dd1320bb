"""Metrics of the producer: events that Kafka acknowledged, refused, and has not answered yet."""

import time
from collections.abc import Callable, Iterator

from prometheus_client.core import Metric

from data.clock import Clock, wall_clock
from data.units import MICROS
from events.producer.produce import Summary
from server.meters.part import counted, measured

__all__ = ["ProducerMeters"]

_PATIENCE_S = 30.0
"""No acknowledgement, or no report of the producer, for so long counts as a standstill, s."""


class ProducerMeters:
    """The metrics of one producer, which reports once a second."""

    name = "producer"

    def __init__(self, clock: Clock = wall_clock, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._noted_s = self._moved_s = monotonic()
        self._acknowledged_us: int | None = None
        self._latest: Summary | None = None

    def note(self, summary: Summary) -> None:
        """Record the producer's latest summary."""
        self._noted_s = self._monotonic()
        if summary.sent > (self._latest.sent if self._latest else 0):
            self._acknowledged_us = self._clock()
            self._moved_s = self._noted_s
        if not summary.waiting:
            self._moved_s = self._noted_s
        self._latest = summary

    def standstill(self) -> str:
        """Return why nothing goes into Kafka although there are events to send; empty if it does."""
        latest, now_s = self._latest, self._monotonic()
        silent_s, stood_s = now_s - self._noted_s, now_s - self._moved_s
        if silent_s >= _PATIENCE_S:
            why = "it waits for Kafka" if latest is None else "Kafka takes nothing, and its queue is full"
            return f"producer: nothing is sent for {silent_s:.0f} s: {why}"
        if latest is not None and latest.waiting and stood_s >= _PATIENCE_S:
            why = f": {latest.last_error}" if latest.last_error else ""
            return f"producer: Kafka acknowledges none of {latest.waiting:,} events for {stood_s:.0f} s{why}"
        return ""

    def collect(self) -> Iterator[Metric]:
        """Yield the producer's metrics since its start."""
        latest = self._latest
        if latest is None:
            return
        yield counted("encore_producer_sent", "Events that Kafka acknowledged.", latest.sent)
        yield counted("encore_producer_refused", "Events that Kafka did not take.", latest.errors)
        yield counted("encore_producer_unfit", "Messages that are no events, and become dead letters.", latest.unfit)
        yield measured("encore_producer_queue", "Events that Kafka has not answered yet.", latest.waiting)
        if self._acknowledged_us is not None:
            what = "When Kafka last acknowledged an event."
            yield measured("encore_producer_acknowledged_timestamp_seconds", what, self._acknowledged_us / MICROS)
