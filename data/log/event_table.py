"""Events as columns and back. Apart from the event itself: the server needs no Arrow."""

from collections.abc import Iterator, Sequence

import msgspec
import pyarrow as pa

from data.event import Event

__all__ = [
    "EVENT_COLUMNS",
    "LOG_COLUMNS",
    "LOG_VERSION",
    "PLACED_COLUMNS",
    "VERSION_KEY",
    "placed_events",
    "placed_table",
    "with_origin",
]

EVENT_COLUMNS = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("event_type", pa.string(), nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("amount", pa.float64(), nullable=False),
        pa.field("quantity", pa.int64(), nullable=False),
        pa.field("timestamp", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("session_id", pa.string()),
        pa.field("category", pa.string()),
        pa.field("metadata", pa.string()),
    ]
)
"""An event as columns: `metadata` is JSON text; all else is as on the wire."""

PLACED_COLUMNS = EVENT_COLUMNS.append(pa.field("offset", pa.int64(), nullable=False))
"""An event and its offset in a partition."""

LOG_VERSION = 1
VERSION_KEY = b"encore.log_version"
"""Where a file's metadata has the version."""

LOG_COLUMNS = pa.schema(
    [
        *EVENT_COLUMNS,
        pa.field("source", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
    ],
    metadata={VERSION_KEY: str(LOG_VERSION).encode()},
)
"""An event's columns and where it came from."""


def placed_table(events: Sequence[tuple[int, Event]]) -> pa.Table:
    """Offsets and events as a table of `PLACED_COLUMNS`."""
    columns = {
        name: [getattr(event, name) for _, event in events]
        for name in EVENT_COLUMNS.names
        if name not in ("timestamp", "metadata")
    }
    columns["timestamp"] = [event.timestamp_us for _, event in events]
    columns["metadata"] = [
        None if event.metadata is None else msgspec.json.encode(event.metadata).decode() for _, event in events
    ]
    columns["offset"] = [offset for offset, _ in events]
    arrays = [
        pa.array(columns[field.name], pa.int64()).cast(field.type)
        if field.name == "timestamp"
        else pa.array(columns[field.name], field.type)
        for field in PLACED_COLUMNS
    ]
    return pa.Table.from_arrays(arrays, schema=PLACED_COLUMNS)


def placed_events(table: pa.Table) -> Iterator[tuple[int, Event]]:
    """Offsets and events of a table that has `PLACED_COLUMNS`."""
    for row in table.select(PLACED_COLUMNS.names).to_pylist():
        offset = row.pop("offset")
        row["metadata"] = row["metadata"] and msgspec.json.decode(row["metadata"])
        yield offset, Event(**row)


def with_origin(events: pa.Table, source: str, partition: int) -> pa.Table:
    """Events (`EVENT_COLUMNS` and `offset`) as rows of the log."""
    rows = events.num_rows
    events = events.append_column("source", pa.repeat(pa.scalar(source), rows))
    events = events.append_column("partition", pa.repeat(pa.scalar(partition, pa.int32()), rows))
    return events.select(LOG_COLUMNS.names).cast(LOG_COLUMNS)
