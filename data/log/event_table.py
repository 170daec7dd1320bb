"""Events as Arrow tables and back. In a module of its own, since the server needs events without Arrow."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from data.default_shop import SHOP
from data.errors import DataError
from data.event import Event, event_class
from data.schema import Schema
from data.units import to_micros

__all__ = [
    "EVENT_COLUMNS",
    "LOG_VERSION",
    "LOG_VERSIONS",
    "VERSION_KEY",
    "Columns",
    "PlacedEvent",
    "columns_of",
    "declared",
    "placed_events",
    "placed_table",
    "united",
    "with_origin",
]

LOG_VERSION = 2
"""The version of the log that is written: a file has the columns of its time's schema."""

LOG_VERSIONS = (1, LOG_VERSION)
"""The versions that are read. Files of version 1 have the columns that the default shop began with."""

VERSION_KEY = b"encore.log_version"
"""The key of a Parquet file's metadata that holds the log's version."""


class Columns(NamedTuple):
    """A schema's events as columns. `event`: those of an event; `metadata` is JSON text, the others are as on the wire.

    `placed`: with the time of arrival in a topic (null in a history) and the offset in a partition. `log`: with source,
    partition and offset too. `missing`: the value of each column in files from before it was declared.
    """

    event: pa.Schema
    placed: pa.Schema
    log: pa.Schema
    missing: dict[str, Any]


@cache
def columns_of(schema: Schema) -> Columns:
    """Return the columns of a schema's events."""
    text, time, offset = pa.string(), pa.timestamp("us", tz="UTC"), pa.field("offset", pa.int64(), nullable=False)
    arrived = pa.field("arrived", time)
    event = pa.schema(
        [
            pa.field("event_id", text, nullable=False),
            pa.field("event_type", text, nullable=False),
            *(pa.field(key, text, nullable=False) for key in schema.keys),
            *(
                pa.field(measure.name, pa.int64() if measure.is_whole else pa.float64(), nullable=False)
                for measure in schema.measures
            ),
            pa.field("timestamp", time, nullable=False),
            pa.field("session_id", text),
            *(pa.field(label, text) for label in schema.labels),
            pa.field("metadata", text),
        ]
    )
    origin = [pa.field("source", text, nullable=False), pa.field("partition", pa.int32(), nullable=False), offset]
    defaults = {measure.name: measure.default for measure in schema.measures if measure.default is not None}
    return Columns(
        event,
        event.append(arrived).append(offset),
        pa.schema([*event, arrived, *origin], metadata={VERSION_KEY: str(LOG_VERSION).encode()}),
        {**dict.fromkeys(("session_id", *schema.labels, "metadata", "arrived")), **defaults},
    )


EVENT_COLUMNS = columns_of(SHOP).event


def declared(table: pa.Table, columns: pa.Schema, schema: Schema) -> pa.Table:
    """Return a table with these columns: those declared since it was written are filled in, others are left out.

    Raises DataError where it lacks a column that every event has.
    """
    if table.schema.equals(columns):
        return table
    missing = columns_of(schema).missing
    arrays = []
    for field in columns:
        if field.name in table.column_names:
            values, default = table.column(field.name).cast(field.type), missing.get(field.name)
            arrays.append(values.fill_null(default) if default is not None and values.null_count else values)
        elif field.name in missing:
            arrays.append(pa.repeat(pa.scalar(missing[field.name], field.type), table.num_rows))
        else:
            raise DataError(
                f"event log: events without the column `{field.name}`, which the schema says that every event has; "
                "give it a default there, or a log of its own"
            )
    return pa.Table.from_arrays(arrays, schema=columns)


def united(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """Return the columns of files that were written under several declarations, none of them left out."""
    fields: dict[str, pa.Field] = {}
    schemas = list(schemas)
    for schema in schemas:
        for field in schema:
            wider = pa.types.is_floating(fields[field.name].type) if field.name in fields else False
            fields[field.name] = fields[field.name] if wider else field
    everywhere = {name for name in fields if all(name in schema.names for schema in schemas)}
    return pa.schema(
        [field if field.name in everywhere else field.with_nullable(True) for field in fields.values()],
        metadata={VERSION_KEY: str(LOG_VERSION).encode()},
    )


class PlacedEvent(NamedTuple):
    """An event, its offset, and when it arrived in its topic, µs; None where unknown."""

    offset: int
    event: Event
    arrived_us: int | None = None


def placed_table(events: Sequence[PlacedEvent], schema: Schema = SHOP) -> pa.Table:
    """Return events as a table of the columns `placed`."""
    placed = columns_of(schema).placed
    columns: dict[str, list[Any]] = {
        name: [getattr(placed_event.event, name) for placed_event in events] for name in columns_of(schema).event.names
    }
    columns["timestamp"] = [placed_event.event.timestamp_us for placed_event in events]
    columns["metadata"] = [
        None if placed_event.event.metadata is None else msgspec.json.encode(placed_event.event.metadata).decode()
        for placed_event in events
    ]
    columns["arrived"] = [placed_event.arrived_us for placed_event in events]
    columns["offset"] = [placed_event.offset for placed_event in events]
    arrays = [
        pa.array(columns[field.name], pa.int64()).cast(field.type)
        if field.name in ("timestamp", "arrived")
        else pa.array(columns[field.name], field.type)
        for field in placed
    ]
    return pa.Table.from_arrays(arrays, schema=placed)


def placed_events(table: pa.Table, schema: Schema = SHOP) -> Iterator[PlacedEvent]:
    """Yield the events of a table of the columns `placed`."""
    make = event_class(schema)
    for row in table.select(columns_of(schema).placed.names).to_pylist():
        offset, arrived = row.pop("offset"), row.pop("arrived")
        row["metadata"] = row["metadata"] and msgspec.json.decode(row["metadata"])
        yield PlacedEvent(offset, make(**row), None if arrived is None else to_micros(arrived))


def with_origin(events: pa.Table, source: str, partition: int, schema: Schema = SHOP) -> pa.Table:
    """Add source and partition to a table of the columns `placed`, or of a history, making it rows of the log."""
    rows = events.num_rows
    events = events.append_column("source", pa.repeat(pa.scalar(source), rows))
    events = events.append_column("partition", pa.repeat(pa.scalar(partition, pa.int32()), rows))
    return declared(events, columns_of(schema).log, schema)
