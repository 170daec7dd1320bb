"""Where the columns of an event are in the messages of a topic of another shape, as a TOML file declares.

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
from data.toml_lines import fault_at, invalid_at

__all__ = ["Field", "Ignored", "LiveMapping", "Moment", "load_live_mapping"]

_SomeText = Annotated[str, msgspec.Meta(min_length=1)]


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column's value: at a path (several are joined by "-"), or always the same `value`.

    Where there are `values`, the value found is one of them, and is replaced by what it is mapped to.
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

    A local time that the clocks repeat or leave out is read as standard time.
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
        declared = self.event[name]
        return declared if isinstance(declared, Field) else Field(declared)


def load_live_mapping(path: Path, schema: Schema) -> LiveMapping:
    """Return the mapping of a TOML file. Raises ConfigurationError, with file and line, for what is wrong in it."""
    try:
        text = path.read_text("utf-8-sig")
        fields = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: no mapping of a topic: {error}; docs/mappings.md shows one") from error
    try:
        mapping = msgspec.convert(fields, LiveMapping)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{invalid_at(path, text, error)}; docs/mappings.md shows a mapping") from error
    for place, fault in _faults(mapping, schema):
        raise ConfigurationError(fault_at(path, text, place, fault))
    return mapping


def _faults(mapping: LiveMapping, schema: Schema) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what is wrong, and where."""
    columns = {*_ALWAYS, *schema.columns}
    for name in mapping.event:
        place, field = ("event", name), mapping.field(name)
        if name not in columns:
            yield place, f"an event has no such column to be filled; there are {', '.join(sorted(columns))}"
        if bool(field.paths) == (field.value is not None):
            yield place, "say a path or a value, and not both"
        types = () if name != "event_type" else field.values.values() if field.values else (field.value,)
        for kind in types:
            if kind is not None and kind not in schema.type_names:
                yield place, f"{kind!r:.80} is no declared type; there are {', '.join(schema.type_names)}"
        yield from ((place, _NO_LIST.format(path)) for path in field.paths if path.startswith(".") and not mapping.each)
    for name in ("event_type", *schema.keys, *(measure.name for measure in schema.measures if measure.default is None)):
        if name not in mapping.event:
            yield ("event",), f"it says nothing of {name}, which every event has"
    if mapping.time.path.startswith(".") and not mapping.each:
        yield ("time", "path"), _NO_LIST.format(mapping.time.path)
    for ignored in mapping.ignore:
        if ignored.path.startswith("."):
            yield ("ignore",), f"{ignored.path}: is of an element of a list, and messages are ignored whole"
    try:
        ZoneInfo(mapping.time.zone)
    except (OSError, ValueError, ZoneInfoNotFoundError):
        yield ("time", "zone"), f"no time zone is called {mapping.time.zone!r:.80}"


_ALWAYS = ("event_id", "event_type", "session_id")
"""Columns that can be filled beside the declared ones."""

_NO_LIST = "{} is of an element of a list, and `each` names none"
