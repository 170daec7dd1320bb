"""Where the columns of an event are in the messages of a topic of another shape, as a TOML file says it.

topic = "shop-orders"
each = "lines"                          # a list in the message: an event for each of its elements

[event]
event_id = ["id", ".sku"]               # joined by "-"; `.sku` is of the element
event_type = { path = "kind", values = { bought = "purchase" } }
user_id = "customer.id"
product_id = ".sku"
amount = ".price"

[time]
path = "at"
form = "unix_ms"
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from data.errors import ConfigurationError
from data.schema import Schema

__all__ = ["Field", "Ignored", "LiveMapping", "Moment", "load_live_mapping"]

_UNMAPPED = frozenset({"event_id", "event_type", "timestamp", "session_id", "metadata"})

_SomeText = Annotated[str, msgspec.Meta(min_length=1)]


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column's value: at a path (several are joined by "-"), or always the same `value`.

    Where there are `values`, what is found is one of them, and stands for what it is mapped to.
    """

    path: str | tuple[str, ...] = ()
    value: str | int | float | None = None
    values: dict[str, str] = {}

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths."""
        return (self.path,) if isinstance(self.path, str) else self.path


class Moment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When an event was: `form` is iso, unix, unix_ms, unix_us, or strptime's codes; `zone` is that of local times.

    Of a local time that the clocks repeat or leave out the standard time is meant.
    """

    path: _SomeText
    form: str = "iso"
    zone: str = "UTC"


class Ignored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Messages that make no event: those with one of these values at a path."""

    path: _SomeText
    values: tuple[str, ...]


class LiveMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the messages of `topic` become events.

    `format` is that of the messages: Avro's are of a schema registry. `each` is the path of a list, where a message has
    several events: paths that begin with a dot are of its elements.
    """

    topic: _SomeText
    event: dict[str, str | tuple[str, ...] | Field]
    time: Moment
    format: Literal["json", "avro"] = "json"
    each: str = ""
    ignore: tuple[Ignored, ...] = ()

    def field(self, name: str) -> Field:
        """Return where a column is."""
        found = self.event[name]
        return found if isinstance(found, Field) else Field(found)


def load_live_mapping(path: Path, schema: Schema) -> LiveMapping:
    """Return the mapping of a TOML file. Raises ConfigurationError, with file and place, for what is wrong in it."""
    try:
        fields = tomllib.loads(path.read_text("utf-8-sig"))
        mapping = msgspec.convert(fields, LiveMapping)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"{path}: no mapping of a topic: {error}; docs/mappings.md shows one") from error
    for fault in _faults(mapping, schema):
        raise ConfigurationError(f"{path}: {fault}")
    return mapping


def _faults(mapping: LiveMapping, schema: Schema) -> Iterator[str]:
    columns = {*schema.columns, *_UNMAPPED} - {"timestamp", "metadata"}
    for name in mapping.event:
        if name not in columns:
            yield f"event.{name}: an event has no such column to be filled; there are {', '.join(sorted(columns))}"
        field = mapping.field(name)
        if bool(field.paths) == (field.value is not None):
            yield f"event.{name}: say a path or a value, and not both"
        for to in field.values.values() if name == "event_type" else ():
            if to not in schema.type_names:
                yield f"event.event_type: {to!r:.80} is no declared type; there are {', '.join(schema.type_names)}"
    needed = ["event_type", *schema.keys, *(measure.name for measure in schema.measures if measure.default is None)]
    for name in needed:
        if name not in mapping.event:
            yield f"event: it says nothing of {name}, which every event has"
    if mapping.event.keys() >= {"event_type"} and mapping.field("event_type").value is not None:
        value = mapping.field("event_type").value
        if value not in schema.type_names:
            yield f"event.event_type: {value!r:.80} is no declared type; there are {', '.join(schema.type_names)}"
    paths = [path for name in mapping.event for path in mapping.field(name).paths]
    for path in (*paths, mapping.time.path, *(one.path for one in mapping.ignore)):
        if path.startswith(".") and not mapping.each:
            yield f"{path}: is of an element of a list, and `each` names none"
    try:
        ZoneInfo(mapping.time.zone)
    except (OSError, ValueError, ZoneInfoNotFoundError):
        yield f"time.zone: no time zone is called {mapping.time.zone!r:.80}"
