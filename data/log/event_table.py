"""The columns that events have in files, and in the log's. Apart from the event itself: the server needs no Arrow."""

import pyarrow as pa

__all__ = ["EVENT_COLUMNS", "LOG_COLUMNS", "LOG_VERSION", "VERSION_KEY", "with_origin"]

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


def with_origin(events: pa.Table, source: str, partition: int) -> pa.Table:
    """Events (`EVENT_COLUMNS` and `offset`) as rows of the log."""
    rows = events.num_rows
    events = events.append_column("source", pa.repeat(pa.scalar(source), rows))
    events = events.append_column("partition", pa.repeat(pa.scalar(partition, pa.int32()), rows))
    return events.select(LOG_COLUMNS.names).cast(LOG_COLUMNS)
