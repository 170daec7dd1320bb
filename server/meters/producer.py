"""The producer as it is watched: what Kafka took, refused, and has not answered yet."""

import time
from collections.abc import Callable, Iterator

from prometheus_client.core import Metric

from data.clock import Clock, wall_clock
from data.units import MICROS
from events.producer.produce import Summary
from server.meters.part import counted, measured

__all__ = ["ProducerMeters"]

_PATIENCE_S = 30.0
"""Kafka acknowledges nothing, or nothing is heard of the producer, for so long: it stands still."""


class ProducerMeters:
    """Those of one producer, which sums up once a second."""

    name = "producer"

    def __init__(self, clock: Clock = wall_clock, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._told_s = self._moved_s = monotonic()
        self._acknowledged_us: int | None = None
        self._seen: Summary | None = None

    def note(self, so_far: Summary) -> None:
        """Keep what has become of the events so far."""
        self._told_s = self._monotonic()
        if so_far.sent > (self._seen.sent if self._seen else 0):
            self._acknowledged_us = self._clock()
            self._moved_s = self._told_s
        if not so_far.waiting:
            self._moved_s = self._told_s
        self._seen = so_far

    def standstill(self) -> str:
        """Return why nothing goes into Kafka, though there is something to send."""
        seen, now_s = self._seen, self._monotonic()
        silent_s, stood_s = now_s - self._told_s, now_s - self._moved_s
        if silent_s >= _PATIENCE_S:
            why = "it waits for Kafka" if seen is None else "Kafka takes nothing, and its queue is full"
            return f"producer: nothing is sent for {silent_s:.0f} s: {why}"
        if seen is not None and seen.waiting and stood_s >= _PATIENCE_S:
            why = f": {seen.last_error}" if seen.last_error else ""
            return f"producer: Kafka acknowledges none of {seen.waiting:,} events for {stood_s:.0f} s{why}"
        return ""

    def collect(self) -> Iterator[Metric]:
        """Yield what has become of the events since the start."""
        seen = self._seen
        if seen is None:
            return
        yield counted("encore_producer_sent", "Events that Kafka acknowledged.", seen.sent)
        yield counted("encore_producer_refused", "Events that Kafka did not take.", seen.errors)
        yield counted("encore_producer_unfit", "Messages that are no events, and become dead letters.", seen.unfit)
        yield measured("encore_producer_queue", "Events that Kafka has not answered yet.", seen.waiting)
        if self._acknowledged_us is not None:
            what = "When Kafka last acknowledged an event."
            yield measured("encore_producer_acknowledged_timestamp_seconds", what, self._acknowledged_us / MICROS)
