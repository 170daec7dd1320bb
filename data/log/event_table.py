"""Events as Arrow tables and back. In a module of its own, since the server needs events without Arrow."""

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
"""The columns of an event: `metadata` is JSON text; the others are as on the wire."""

PLACED_COLUMNS = EVENT_COLUMNS.append(pa.field("offset", pa.int64(), nullable=False))
"""The columns of an event, and its offset in a partition."""

LOG_VERSION = 1
VERSION_KEY = b"encore.log_version"
"""The key of a Parquet file's metadata that holds the log's version."""

LOG_COLUMNS = pa.schema(
    [
        *EVENT_COLUMNS,
        pa.field("source", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
    ],
    metadata={VERSION_KEY: str(LOG_VERSION).encode()},
)
"""The columns of an event, and its source, partition and offset."""


def placed_table(events: Sequence[tuple[int, Event]]) -> pa.Table:
    """Return (offset, event) pairs as a table of `PLACED_COLUMNS`."""
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
    """Yield the (offset, event) pairs of a table of `PLACED_COLUMNS`."""
    for row in table.select(PLACED_COLUMNS.names).to_pylist():
        offset = row.pop("offset")
        row["metadata"] = row["metadata"] and msgspec.json.decode(row["metadata"])
        yield offset, Event(**row)


def with_origin(events: pa.Table, source: str, partition: int) -> pa.Table:
    """Add source and partition to a table of `EVENT_COLUMNS` and `offset`, making it rows of the log."""
    rows = events.num_rows
    events = events.append_column("source", pa.repeat(pa.scalar(source), rows))
    events = events.append_column("partition", pa.repeat(pa.scalar(partition, pa.int32()), rows))
    return events.select(LOG_COLUMNS.names).cast(LOG_COLUMNS)
