"""Accepted events on their way to the event log: gathered per partition, written as one file per offset range."""

from collections.abc import Collection, Iterator

import msgspec
import pyarrow as pa

from data.event import Event
from data.log.event_log import EventLog
from data.log.event_table import EVENT_COLUMNS

__all__ = ["LogBuffer"]

_COLUMNS = EVENT_COLUMNS.append(pa.field("offset", pa.int64(), nullable=False))


class LogBuffer:
    """Events of one topic that are not in the log yet. Offsets that the log holds already are left out."""

    def __init__(self, log: EventLog, source: str) -> None:
        self._log = log
        self._source = source
        self._ends = log.ends(source)
        self._waiting: dict[int, list[tuple[int, Event]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, partition: int, offset: int, event: Event) -> None:
        """Take an event, in offset order per partition."""
        if offset > self._ends.get(partition, -1):
            self._waiting.setdefault(partition, []).append((offset, event))

    def end(self, partition: int) -> int | None:
        """The last offset of a partition that is in the log; None where there is none."""
        return self._ends.get(partition)

    def logged(self, partition: int, offsets: range) -> Iterator[tuple[int, Event]]:
        """The events that the log holds of a partition, among `offsets`, in their order."""
        for table in self._log.read(self._source, partition, offsets):
            for row in table.select(_COLUMNS.names).to_pylist():
                offset = row.pop("offset")
                row["metadata"] = row["metadata"] and msgspec.json.decode(row["metadata"])
                yield offset, Event(**row)

    def flush(self) -> None:
        """Write what waits; on an error it waits on."""
        for partition, events in list(self._waiting.items()):
            consumed = range(self._ends.get(partition, -1) + 1, events[-1][0] + 1)
            self._log.append(self._source, partition, consumed, _table(events))
            self._ends[partition] = events[-1][0]
            del self._waiting[partition]

    def forget(self, partitions: Collection[int]) -> None:
        """Drop what waits of partitions (another worker has them, or had them, and logs it); look at the log anew."""
        for partition in partitions:
            self._waiting.pop(partition, None)
        self._ends = self._log.ends(self._source)


def _table(events: list[tuple[int, Event]]) -> pa.Table:
    columns = {
        name: [getattr(event, name) for _, event in events]
        for name in EVENT_COLUMNS.names
        if name not in ("timestamp", "metadata")
    }
    columns["timestamp"] = [event.timestamp_us for _, event in events]
    columns["metadata"] = [_json(event) for _, event in events]
    columns["offset"] = [offset for offset, _ in events]
    arrays = [
        pa.array(columns[field.name], pa.int64()).cast(field.type)
        if field.name == "timestamp"
        else pa.array(columns[field.name], field.type)
        for field in _COLUMNS
    ]
    return pa.Table.from_arrays(arrays, schema=_COLUMNS)


def _json(event: Event) -> str | None:
    return None if event.metadata is None else msgspec.json.encode(event.metadata).decode()
