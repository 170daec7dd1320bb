"""Accepted events on their way to the event log: gathered per partition, written as one file per range of offsets."""

from collections.abc import Collection

from data.event import Event
from data.log.event_table import placed_table
from data.log.log import Log

__all__ = ["LogBuffer"]


class LogBuffer:
    """Events of one topic that are not in the log yet, and which offsets were consumed with them."""

    def __init__(self, log: Log, source: str) -> None:
        self._log = log
        self._source = source
        self._events: dict[int, list[tuple[int, Event]]] = {}
        self._logged: dict[int, int] = {}
        """Per partition, the offset from which on nothing is in the log."""
        self._consumed: dict[int, int] = {}
        """Per partition, the offset up to which all is consumed."""

    def __len__(self) -> int:
        return sum(map(len, self._events.values()))

    def begin(self, partition: int, offset: int) -> None:
        """Take events of a partition from `offset` on; what is before is in the log, or never will be."""
        self._logged[partition] = self._consumed[partition] = offset
        self._events[partition] = []

    def add(self, partition: int, offset: int, event: Event) -> None:
        """Take an event, in offset order per partition; one that the log has already is left out."""
        if offset >= self._logged[partition]:
            self._events[partition].append((offset, event))

    def advance(self, partition: int, offset: int) -> None:
        """All before `offset` is consumed: it is added, or was no event."""
        self._consumed[partition] = max(offset, self._consumed[partition])

    def flush(self) -> None:
        """Write what waits; on an error it waits on."""
        for partition, start in self._logged.items():
            consumed = range(start, self._consumed[partition])
            if consumed:
                self._log.append(self._source, partition, consumed, placed_table(self._events[partition]))
                self._logged[partition] = consumed.stop
                self._events[partition] = []

    def forget(self, partitions: Collection[int]) -> None:
        """Drop what waits of partitions: whoever reads them next logs it."""
        for partition in partitions:
            self._events.pop(partition, None)
            self._logged.pop(partition, None)
            self._consumed.pop(partition, None)
