"""Maintenance of the event log, on a thread beside a worker: fills holes and compacts files.

Each partition's files are maintained by the worker that reads the partition. If two workers do so for a moment it is
harmless, since files are named by their content.
"""

import logging
import threading
from collections.abc import Collection, Sequence

from data.errors import EncoreError
from data.event import EventDecoder, Rejection
from data.log.event_table import PlacedEvent, placed_table
from data.log.log import Log
from data.units import MICROS, to_micros
from events.kafka.connection import ReadOffsets
from features.seen import Repeats

__all__ = ["Housekeeper"]

logger = logging.getLogger(__name__)

_BEFORE = 100_000
"""Offsets of the log that are read together, backwards from a hole."""


class Housekeeper:
    """Every `every_s` compacts the small files of partitions, and fills holes of the log from the topic."""

    def __init__(self, log: Log, source: str, read: ReadOffsets, every_s: float) -> None:
        self._log = log
        self._decode = EventDecoder(log.schema)
        self._source = source
        self._read = read
        self._every_s = every_s
        self._holes: dict[int, list[range]] = {}
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeper", daemon=True)

    def start(self) -> None:
        """Start the thread, with no partitions."""
        self._thread.start()

    def take(self, partition: int, holes: Sequence[range]) -> None:
        """Maintain a partition, and fill these holes of it."""
        self._holes[partition] = list(holes)
        if holes:
            self._wake.set()

    def leave(self, partitions: Collection[int]) -> None:
        """Stop maintaining these partitions."""
        for partition in partitions:
            self._holes.pop(partition, None)

    def close(self) -> None:
        """End after the work in progress. It may also be interrupted: writes are atomic."""
        self._stop.set()
        self._wake.set()

    def _run(self) -> None:
        # The first table imports pandas: done now, since a stop should not wait for it.
        placed_table([], self._log.schema)
        while not self._stop.is_set():
            self._wake.wait(self._every_s)
            self._wake.clear()
            for partition in list(self._holes):
                try:
                    self._tidy(partition)
                except (EncoreError, OSError) as error:
                    logger.warning("event log, %s partition %d is not maintained: %s", self._source, partition, error)
                except Exception:  # a fault in one partition must not stop the others
                    logger.exception("event log, %s partition %d", self._source, partition)

    def _tidy(self, partition: int) -> None:
        holes = self._holes.get(partition, [])
        while holes and not self._stop.is_set():
            self._fill(partition, holes[0])
            holes.pop(0)
        if not self._stop.is_set():
            self._log.compact(self._source, partition)

    def _fill(self, partition: int, hole: range) -> None:
        """Log what Kafka still holds of offsets that were consumed before.

        Their events are folded already, and their rejected messages are dead letters already.
        """
        logger.warning(
            "event log: %s partition %d lacks offsets %d to %d; they are read again from Kafka",
            self._source,
            partition,
            hole.start,
            hole.stop - 1,
        )
        start = hole.start
        key, repeats = self._log.schema.ordered_by, None
        for messages in self._read(partition, hole):
            if self._stop.is_set():
                return
            accepted = []
            for message in messages:
                # Judged at the message's own time: an event rejected as in the future stays rejected.
                event = message.event(self._decode, message.at_us or 0)
                if isinstance(event, Rejection):
                    continue
                arrived_us = event.timestamp_us if message.at_us is None else message.at_us
                repeats = repeats or self._repeats(partition, hole.start, arrived_us)
                if not repeats.take(getattr(event, key), event.event_id, message.offset, arrived_us):
                    accepted.append(PlacedEvent(message.offset, event, message.at_us))
            stop = messages[-1].offset + 1
            self._log.append(self._source, partition, range(start, stop), placed_table(accepted, self._log.schema))
            start = stop
        if start < hole.stop:  # the rest are markers of transactions
            self._log.mark_consumed(self._source, partition, range(start, hole.stop))

    def _repeats(self, partition: int, hole: int, at_us: int) -> Repeats:
        """Return what tells repeats from a hole on, as the states did; the hole's first event arrived at `at_us`.

        It is filled with the log's events of the window before: 18 bytes each.
        """
        schema = self._log.schema
        repeats = Repeats(schema.duplicates_within_s)
        coverage = self._log.coverage(self._source).get(partition)
        first = max((gap.stop for gap in coverage.holes if gap.stop < hole), default=0) if coverage else 0
        rows: list[tuple[str, str, int, int]] = []
        stop, newest_us = hole, at_us
        while schema.duplicates_within_s and stop > first and newest_us > at_us - schema.duplicates_within_s * MICROS:
            start = max(first, stop - _BEFORE)
            chunk = [
                (row[schema.ordered_by], row["event_id"], row["offset"], to_micros(row["arrived"] or row["timestamp"]))
                for table in self._log.read(self._source, partition, range(start, stop))
                for row in table.select([schema.ordered_by, "event_id", "offset", "arrived", "timestamp"]).to_pylist()
            ]
            newest_us = max((arrived_us for *_, arrived_us in chunk), default=newest_us)
            rows = chunk + rows
            stop = start
        for key, event_id, offset, arrived_us in rows:
            repeats.take(key, event_id, offset, arrived_us, logged=True)
        return repeats
