"""Accepted events on their way to the event log: buffered per partition, written as one file per range of offsets."""

from collections.abc import Callable, Collection, Mapping

from data.log.event_table import PlacedEvent, placed_table
from data.log.log import Log

__all__ = ["LogBuffer"]


class LogBuffer:
    """Events of one topic that are not in the log yet, and the ranges of offsets consumed with them.

    `written` is called after each file.
    """

    def __init__(self, log: Log, source: str, written: Callable[[], None] = lambda: None) -> None:
        self._log = log
        self._written = written
        self._source = source
        self._events: dict[int, list[PlacedEvent]] = {}
        self._logged: dict[int, int] = {}
        self._consumed: dict[int, int] = {}
        """Per partition, the offset before which everything is consumed."""

    def __len__(self) -> int:
        return sum(map(len, self._events.values()))

    def begin(self, partition: int, offset: int) -> None:
        """Accept events of a partition from `offset` on; earlier ones are in the log, or never will be."""
        self._logged[partition] = self._consumed[partition] = offset
        self._events[partition] = []

    @property
    def logged(self) -> Mapping[int, int]:
        """Per partition, the offset from which on nothing is logged yet."""
        return self._logged

    def add(self, partition: int, event: PlacedEvent) -> None:
        """Add an event, in offset order per partition; one that the log already has is ignored."""
        if event.offset >= self._logged[partition]:
            self._events[partition].append(event)

    def advance(self, partition: int, offset: int) -> None:
        """Record that all before `offset` is consumed: added, or rejected, or sent before."""
        self._consumed[partition] = max(offset, self._consumed[partition])

    def flush(self) -> None:
        """Write buffered events; on an error they stay buffered."""
        for partition, start in self._logged.items():
            consumed = range(start, self._consumed[partition])
            if consumed:
                self._log.append(
                    self._source, partition, consumed, placed_table(self._events[partition], self._log.schema)
                )
                self._logged[partition] = consumed.stop
                self._events[partition] = []
                self._written()

    def forget(self, partitions: Collection[int]) -> None:
        """Drop buffered events of partitions: their next reader logs them."""
        for partition in partitions:
            self._events.pop(partition, None)
            self._logged.pop(partition, None)
            self._consumed.pop(partition, None)
