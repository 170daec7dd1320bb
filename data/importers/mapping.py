"""A mapping: which SQL expressions over a source's columns make the columns of an event, as a TOML file says it."""

import difflib
import tomllib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from data.errors import ConfigurationError
from data.importers.columns import Column
from data.log.sources import SOURCE_NAME
from data.toml_lines import fault_at, invalid_at

__all__ = ["SHIPPED", "ColumnType", "Drop", "FileOptions", "Mapping", "TimeOptions", "load_mapping", "parse_mapping"]

_FOLDER = resources.files("data") / "mappings"

SHIPPED = tuple(sorted(file.name.removesuffix(".toml") for file in _FOLDER.iterdir() if file.name.endswith(".toml")))
"""Names of the mappings that come with Encore, for public data sets."""

ColumnType = Literal["text", "id", "integer", "number"]
"""What the text of a source's column stands for. `text` and `id` stay text; an id `17850.0` becomes `17850`."""

_Character = Annotated[str, msgspec.Meta(min_length=1, max_length=1)]


class FileOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a file's bytes are decoded, and its text values read. `format` is by default what its name ends with.

    `escape` precedes a quote within quotes. `skip` lines come before the header, or before the first row
    where `names` replace it. Texts of `empty` are no values. `currency` is a mark that numbers may have.
    """

    format: Literal["csv", "json", "parquet"] | None = None
    encoding: str = "utf-8"
    delimiter: _Character = ","
    escape: Literal['"', "\\"] = '"'
    skip: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0
    names: tuple[str, ...] = ()
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ".", ",", " ", "'"] = ""
    currency: Annotated[str, msgspec.Meta(max_length=8)] = ""
    empty: tuple[str, ...] = ()


class TimeOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When an event happened: an expression, and how its values are read as times.

    `formats` are strptime's, or `iso`, `unix`, `unix_ms`, `unix_us` or `excel`; every value of a file is of one. `zone`
    holds where a value has none. `until` is the latest time that can be (a date or time of the form `iso`), by default
    now. `clock_change` is what becomes of a local time that the clocks repeat or leave out: read as standard time, or
    refused.
    """

    value: str
    formats: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("iso",)
    zone: str = "UTC"
    until: str = ""
    clock_change: Literal["standard", "refuse"] = "standard"


class Drop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows that intentionally make no event: those for which the condition `where` holds."""

    reason: str
    where: str


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a source's rows become events.

    `columns` are types of the source's columns (of text files all others are text). `each` is a column that holds
    lists: a row is made for each of their elements, which `_element` numbers. `join` are expressions: rows that
    agree in them are one event, whose expressions are aggregates then. `equal_rows` says what becomes of rows that are
    equal to an earlier row in every column. `undoes` names types of events that take back an earlier one of another
    type and the same keys. `event` has an expression per declared column. `path` and `text` are where it was read from.
    """

    name: Annotated[str, msgspec.Meta(pattern=f"^{SOURCE_NAME}$")]
    time: TimeOptions
    event: dict[str, str]
    file: FileOptions = FileOptions()
    columns: dict[str, ColumnType] = {}
    drop: tuple[Drop, ...] = ()
    each: str = ""
    join: tuple[str, ...] = ()
    equal_rows: Literal["drop", "keep"] = "drop"
    undoes: dict[str, str] = {}
    path: str = ""
    text: str = ""

    def wrong(self, place: Iterable[str | int], what: str) -> ConfigurationError:
        """Return the error of something at a place, such as `("event", "amount")`, with the file and line."""
        return ConfigurationError(fault_at(self.path, self.text, place, what))

    def check(self, columns: Iterable[Column]) -> None:
        """Raise ConfigurationError where an expression is of a column that no event has, or one is missing."""
        declared = {column.name: column for column in columns}
        for name in self.event:
            if name in declared:
                continue
            near = difflib.get_close_matches(name, declared, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(declared)}"
            if name == "timestamp":
                hint = "; an event's time is described in [time]"
            raise self.wrong(("event", name), f"an event has no column {name!r}{hint}")
        types = declared["event_type"].choices
        for name in (*self.undoes, *self.undoes.values()):
            if name not in types:
                raise self.wrong(("undoes",), f"there are no events of type {name!r}; there are {', '.join(types)}")
        for name, column in declared.items():
            if column.default is None and name not in {*self.event, "event_id"}:
                raise self.wrong(("event",), f"[event] says nothing of {name}; give it an expression")


def load_mapping(name: str) -> Mapping:
    """Return the mapping of a TOML file, or one that comes with Encore by its name.

    Raises ConfigurationError in one line that says where and what.
    """
    if name in SHIPPED:
        return parse_mapping((_FOLDER / f"{name}.toml").read_text("utf-8"), name)
    path = Path(name)
    if path.suffix != ".toml":
        raise ConfigurationError(f"mapping {name!r}: give a .toml file, or one of {', '.join(SHIPPED)}")
    try:
        return parse_mapping(path.read_text("utf-8-sig"), name)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path}: the mapping cannot be read ({error}); `encore import --propose FILE` makes one"
        ) from error


def parse_mapping(text: str, path: str) -> Mapping:
    """Return the mapping of a TOML text; `path` is where it was read."""
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not TOML: {error}") from error
    try:
        mapping = msgspec.convert({**fields, "path": path, "text": text}, Mapping)
    except msgspec.ValidationError as error:
        raise ConfigurationError(invalid_at(path, text, error)) from error
    if mapping.file.decimal == mapping.file.thousands:
        raise mapping.wrong(("file", "thousands"), "decimal and thousands are the same character")
    try:
        "a".encode(mapping.file.encoding)
    except (LookupError, ValueError) as error:
        raise mapping.wrong(
            ("file", "encoding"), f"no encoding of text is called {mapping.file.encoding!r}; utf-8, cp1252, latin-1 are"
        ) from error
    return mapping
