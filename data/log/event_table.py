"""The columns that events have in files. Apart from the event itself: the server needs no Arrow."""

import pyarrow as pa

__all__ = ["EVENT_COLUMNS"]

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
