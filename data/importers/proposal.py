"""A mapping for a file that nobody has described yet, made from a sample of it: a draft for a person to correct."""

import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from data.default_shop import EVENT_TYPES
from data.errors import DataError
from data.importers.convert import converted, identifier, literal
from data.importers.mapping import ColumnType, FileOptions, parse_mapping
from data.importers.source_file import error_line, guess_options, open_source
from data.importers.times import time_sql
from data.printable import printable

__all__ = ["FEW", "Draft", "Proposal", "ProposedColumn", "SeenColumn", "propose", "sample_of", "toml_key", "toml_text"]

_ROWS = 20_000
FEW = 20
"""A column with no more values than this can tell the type of an event."""

_ROLES = {
    "user_id": "user|cust|client|visitor|member|account|shopper|buyer|household|subscriber|guest|kunde",
    "product_id": "prod|item|sku|stock|article|artikel|asin",
    "event_type": "event|action|behav|activity|type",
    "quantity": "quant|qty|units|menge|cantidad|anzahl|pieces",
    "total": "amount|total|revenue|sales|turnover|value|spend|betrag|umsatz|montant|importe",
    "price": "price|preis|prix|precio|cost",
    "session_id": "session",
    "order_id": "invoice|order|basket|transaction|receipt|bestell|beleg|rechnung|pedido|commande",
    "category": "categ|kategorie|department|gruppe|genre",
    "event_id": "event.?id|hit.?id|line.?id|row.?id|^id$|uuid",
}
"""What a column may be called that is this; the first column that matches, and is so in its values, is taken."""

_NO_KEY = re.compile("name|desc|categ|type|price|status|group|title", re.IGNORECASE)
_TIME = re.compile("time|date|datum|fecha|when|created|ts$|zeit", re.IGNORECASE)
_TYPES = {
    "remove_from_cart": "remove",
    "add_to_cart": "cart|basket",
    "return": "return|refund|cancel",
    "purchase": "purchase|checkout|buy|bought|order|transaction|sale|paid",
    "view": "view|click|detail|visit|^pv$|impression",
}
"""What the value of an event's type may hold, the first that matches."""

_DATES = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y")
_CLOCKS = (" %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p", "")
_FORMS = ("iso", "%Y-%m-%d %H:%M:%S %Z", *(date + clock for date in _DATES for clock in _CLOCKS))
_MARKS = ((".", ""), (",", ""), (",", "."), (".", ","))
_DIGITS = "%Y%m%d"
_NUMBERS = {"unix": (1e8, 4.2e9), "unix_ms": (1e11, 4.2e12), "unix_us": (1e14, 4.2e15), "excel": (25_569, 80_000)}
"""Where numbers lie that are times of a form: from some time after 1970 on, up to 2100."""


@dataclass(frozen=True)
class ProposedColumn:
    """What a column of the file seems to be: its type, its role (key, label, measure or time), and how varied it is."""

    name: str
    type: str
    role: str
    values: int
    empty: int
    example: str


@dataclass(frozen=True)
class Proposal:
    """A mapping as the text of a TOML file, and what it was made from."""

    file: str
    text: str
    columns: tuple[ProposedColumn, ...]


class SeenColumn:
    """A column in the sample: its DuckDB type, and of its values, counts and examples."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, name: str, sql_type: str, options: FileOptions) -> None:
        self._connection = connection
        self.name = name
        self.sql_type = sql_type
        self.value = _column(connection, name)
        self._text = converted(self.value, sql_type, "text", options)
        self._options = options
        self.filled, self.empty, self.values = self._row(
            f"count({self._text}), count(*) - count({self._text}), count(DISTINCT {self._text})"
        )
        self.example = printable(self._row(f"coalesce(min({self._text}), '')")[0], 40)
        self.type: ColumnType = "text"
        self.has_zone = False
        self.forms = self._forms()

    def reads(self, wanted: ColumnType, options: FileOptions) -> bool:
        """Return whether every value is of a type."""
        read = converted(self.value, self.sql_type, wanted, options)
        return bool(self.filled) and self._row(f"count({read})")[0] == self.filled

    def share(self, wanted: ColumnType, options: FileOptions) -> float:
        """Return the share of the values that are of a type."""
        read = converted(self.value, self.sql_type, wanted, options)
        return float(self._row(f"count({read})")[0] / self.filled) if self.filled else 0.0

    def odd_time(self) -> tuple[str, str] | None:
        """Return the form in which most values are times, and a value that is none of it; None where none is a time."""
        read = {form: time_sql(self.value, self.sql_type, form, self._options).micros("UTC") for form in _FORMS}
        counts = self._row(", ".join(f"count({each})" for each in read.values()))
        count, form = max(zip(counts, read, strict=True), key=lambda each: each[0])
        if not count:
            return None
        return form, printable(self._row(f"min({self._text}) FILTER (({read[form]}) IS NULL)")[0], 40)

    def extremes(self, options: FileOptions) -> tuple[float, float]:
        """Return the least and the largest number; (0, 0) where there is none."""
        number = converted(self.value, self.sql_type, "number", options)
        least, most = self._row(f"min({number}), max({number})")
        return (least, most) if least is not None else (0.0, 0.0)

    @property
    def is_object(self) -> bool:
        """Return whether every value is a JSON object with an id."""
        found = f"try_cast({self._text} AS JSON)->>'id'"
        return self.sql_type == "VARCHAR" and bool(self._row(f"count({found}) = {self.filled}")[0])

    def distinct(self) -> list[str]:
        """Return the values, as text."""
        rows = self._connection.execute(f"SELECT DISTINCT {self._text} AS x FROM sample ORDER BY x").fetchall()
        return [text for (text,) in rows if text is not None]

    def commonest(self) -> list[str]:
        """Return the values, as text, the most frequent first."""
        query = f"SELECT {self._text} AS x FROM sample WHERE x IS NOT NULL GROUP BY x ORDER BY count(*) DESC, x"
        return [text for (text,) in self._connection.execute(query).fetchall()]

    def decimals(self, options: FileOptions) -> int:
        """Return how many decimals its numbers have, at most 9."""
        number = converted(self.value, self.sql_type, "number", options)
        more = ", ".join(f"coalesce(bool_or(round({number}, {count}) <> {number}), false)" for count in range(9))
        return sum(self._row(more))

    def span(self) -> tuple[int, int]:
        """Return the first and the last time, UTC microseconds, by the first of its forms."""
        time = time_sql(self.value, self.sql_type, self.forms[0], self._options).micros("UTC")
        first, last = self._row(f"min({time}), max({time})")
        return first, last

    def _forms(self) -> list[str]:
        """Return the forms of time in which all values are written."""
        if not self.filled:
            return []
        if self.sql_type.startswith(("TIMESTAMP", "DATE")):
            self.has_zone = "ZONE" in self.sql_type
            return ["iso"]
        if self.reads("number", self._options):
            if not _TIME.search(self.name):
                return []
            digits = time_sql(self.value, self.sql_type, _DIGITS, self._options).micros("UTC")
            if self._row(f"count({digits})")[0] == self.filled:
                return [_DIGITS]
            least, most = self.extremes(self._options)
            forms = [form for form, (low, high) in _NUMBERS.items() if low <= least and most <= high]
            self.has_zone = forms != ["excel"]
            return forms
        read = {form: time_sql(self.value, self.sql_type, form, self._options) for form in _FORMS}
        counts = self._row(", ".join(f"count(*) FILTER (({each.micros('UTC')}) > 0)" for each in read.values()))
        forms = [form for form, count in zip(read, counts, strict=True) if count == self.filled]
        if forms:
            first = read[forms[0]]
            self.has_zone = not self._row(f"count({first.local})")[0]
            alike = [f"count(*) FILTER (({first.micros('UTC')}) <> ({read[form].micros('UTC')}))" for form in forms]
            forms = forms[:1] + [
                form for form, differ in zip(forms, self._row(", ".join(alike)), strict=True) if differ
            ]
        return forms

    def _row(self, selected: str) -> tuple[Any, ...]:
        row = self._connection.execute(f"SELECT {selected} FROM sample").fetchone()
        assert row is not None  # noqa: S101 - an aggregate has a row
        return row


def propose(name: str) -> Proposal:
    """Return a mapping of a file to the columns that an event of the package's own shop has.

    Raises DataError where the file cannot be read or has no rows.
    """
    with sample_of(name) as (seen, options):
        return Draft(name, seen, options).proposal()


@contextmanager
def sample_of(name: str) -> Iterator[tuple[list[SeenColumn], FileOptions]]:
    """Yield the columns of a file as a sample shows them, and how it is to be read.

    Raises DataError where the file cannot be read or has no rows.
    """
    with closing(duckdb.connect()) as connection, tempfile.TemporaryDirectory(prefix="encore-propose-") as scratch:
        connection.execute("SET TimeZone = 'UTC'")
        options = guess_options(name)
        source = open_source(connection, name, options, Path(scratch), sample=True)
        try:
            connection.execute(
                f"CREATE TABLE sample AS SELECT * FROM {source.relation} WHERE NOT _broken LIMIT {_ROWS}"
            )
        except duckdb.Error as error:
            raise DataError(f"{name}: cannot be read: {error_line(error)}") from error
        seen = [SeenColumn(connection, column, sql_type, options) for column, sql_type in source.columns.items()]
        if not any(column.filled for column in seen):
            raise DataError(f"{name}: there are no rows to propose a mapping from")
        yield seen, _with_decimal(seen, options)


def _with_decimal(seen: Iterable[SeenColumn], options: FileOptions) -> FileOptions:
    """Return the options with the marks by which most columns are numbers."""
    seen = list(seen)
    marked = [msgspec.structs.replace(options, decimal=one, thousands=other) for one, other in _MARKS]
    return max(marked, key=lambda each: sum(column.reads("number", each) for column in seen))  # the first of the best


class Draft:
    """The proposal in the making: which column has which role."""

    def __init__(self, file: str, seen: list[SeenColumn], options: FileOptions) -> None:
        self.file = file
        self.seen = seen
        self.options = options
        self.roles: dict[str, SeenColumn] = {}
        timed = [column for column in seen if column.forms]
        self.time = next((column for column in timed if _TIME.search(column.name)), next(iter(timed), None))
        for role, pattern in _ROLES.items():
            named = [column for column in seen if re.search(pattern, column.name, re.IGNORECASE) and column.filled]
            found = next((column for column in self._ranked(role, named) if self._suits(role, column)), None)
            if found is not None:
                self.roles[role] = found
        for column in seen:
            column.type = self._type(column)

    @staticmethod
    def _ranked(role: str, named: list[SeenColumn]) -> list[SeenColumn]:
        """Of columns that are called alike, those called ids are keys, and no categories."""
        is_id = re.compile("id$|no$|nr$|sku" if role == "category" else "id$|code|no$|nr$|sku", re.IGNORECASE)
        wanted = {"user_id": True, "product_id": True, "category": False}.get(role)
        return sorted(named, key=lambda column: wanted is not None and bool(is_id.search(column.name)) is not wanted)

    def _suits(self, role: str, column: SeenColumn) -> bool:
        if column in self.roles.values() or column is self.time:
            return False
        match role:
            case "user_id" | "product_id":
                return not _NO_KEY.search(column.name)
            case "event_type":
                return column.values <= FEW and any(_event_type(each) for each in column.distinct())
            case "quantity":
                return column.reads("integer", self.options)
            case "total" | "price":
                return column.reads("number", self.options)
            case "event_id":
                return column.values == column.filled and not column.empty
            case _:
                return True

    def _type(self, column: SeenColumn) -> ColumnType:
        if column.sql_type != "VARCHAR":
            return "text"
        if column is self.time:
            return "text"
        if column in {self.roles.get("quantity")}:
            return "integer"
        if column in {self.roles.get("total"), self.roles.get("price")}:
            return "number"
        if column in {self.roles.get("user_id"), self.roles.get("product_id")}:
            return "id" if column.reads("number", self.options) else "text"
        return "number" if self._role(column) == "measure" else "text"

    def _role(self, column: SeenColumn) -> str:
        names = {role for role, each in self.roles.items() if each is column}
        if column is self.time:
            return "time"
        if names & {"user_id", "product_id", "event_id"}:
            return "key"
        if names & {"quantity", "total", "price"}:
            return "measure"
        if (
            names
            or not column.reads("number", self.options)
            or re.search("id$|code|no$|zip", column.name, re.IGNORECASE)
        ):
            return "label"
        return "measure"

    def proposal(self) -> Proposal:
        """Return the text, which is a mapping that can be read, and the columns."""
        columns = tuple(
            ProposedColumn(each.name, each.type, self._role(each), each.values, each.empty, each.example)
            for each in self.seen
        )
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(self.file).name.split(".")[0]).strip("-") or "import"
        lines = [
            f"# Proposed from a sample of {printable(Path(self.file).name)}: correct it, and save it as a .toml file.",
            "",
            f"name = {toml_text(name)}",
            'equal_rows = "drop"  # rows equal in every column are one event; "keep": each is one',
            "",
            *self.file_lines(),
            *self._column_lines(columns),
            *self.time_lines(),
            *self._drop_lines(),
            *self._event_lines(columns),
        ]
        text = "\n".join(lines) + "\n"
        parse_mapping(text, f"the proposal for {self.file}")
        return Proposal(self.file, text, columns)

    def file_lines(self) -> list[str]:
        """Return the lines of `[file]`."""
        default = FileOptions()
        changed = {
            field: getattr(self.options, field)
            for field in FileOptions.__struct_fields__
            if getattr(self.options, field) != getattr(default, field)
        }
        return ["[file]", *(f"{key} = {toml_text(value)}" for key, value in changed.items()), ""] if changed else []

    def _column_lines(self, columns: Iterable[ProposedColumn]) -> list[str]:
        typed = [
            f"{toml_key(each.name)} = {toml_text(each.type)}  # {each.role}, {each.values:,} values, {each.empty:,} "
            f"empty, such as {each.example or 'none'}"
            for each, seen in zip(columns, self.seen, strict=True)
            if seen.sql_type == "VARCHAR"
        ]
        return ["[columns]", *typed, ""] if typed else []

    def time_lines(self) -> list[str]:
        """Return the lines of `[time]`."""
        if self.time is None:
            return ["[time]", 'value = "NULL"  # which column is the time?', ""]
        forms = self.time.forms
        several = "  # both read the sample: keep the one that is meant" if len(forms) > 1 else ""
        lines = ["[time]", f"value = {toml_text(self.time.value)}", f"formats = {toml_text(forms)}{several}"]
        if not self.time.has_zone:
            lines.append('zone = "UTC"  # of times without one: the shop\'s, such as Europe/Paris')
        return [*lines, ""]

    def _drop_lines(self) -> list[str]:
        drops = []
        for role in ("user_id", "product_id"):
            column = self.roles.get(role)
            if column and column.empty:
                drops.append((f"no {column.name}", f"{column.value} IS NULL"))
        kind = self.roles.get("event_type")
        if kind and (kind.empty or not all(_event_type(each) for each in kind.distinct())):
            known = ", ".join(literal(each) for each in kind.distinct() if _event_type(each))
            drops.append(("other event", f"NOT coalesce({kind.value} IN ({known}), false)"))
        for role, least in (("quantity", "<= 0"), ("total", "< 0"), ("price", "< 0")):
            column = self.roles.get(role)
            if column is not None:
                low = column.extremes(self.options)[0]
                if low < 0 or (low == 0 and role == "quantity"):
                    drops.append((f"{column.name} {least}", f"{column.value} {least}"))
        return [
            line
            for reason, where in drops
            for line in ("[[drop]]", f"reason = {toml_text(printable(reason))}", f"where = {toml_text(where)}", "")
        ]

    def _event_lines(self, columns: Iterable[ProposedColumn]) -> list[str]:
        roles = {role: column.value for role, column in self.roles.items()}
        for role in ("user_id", "product_id"):
            if role in roles and self.roles[role].is_object:
                roles[role] += "->>'id'"
        if "quantity" in roles and self.roles["quantity"].empty:
            roles["quantity"] = f"coalesce({roles['quantity']}, 1)"
        lines = ["[event]"]
        if "event_id" in roles:
            lines.append(f"event_id = {toml_text(roles['event_id'])}")
        lines.append(f"event_type = {toml_text(self._type_expression())}")
        for role, kind in (("user_id", "user"), ("product_id", "product")):
            missing = "" if role in roles else f"  # which column names the {kind}?"
            lines.append(f"{role} = {toml_text(roles.get(role, 'NULL'))}{missing}")
        amount = roles.get("total")
        if amount is None and "price" in roles:
            amount = f"{roles['price']} * {roles['quantity']}" if "quantity" in roles else roles["price"]
        lines.append(f"amount = {toml_text(amount or '0')}" + ("" if amount else "  # no column of money was seen"))
        others = ("quantity", "session_id", "order_id", "category")
        lines += [f"{role} = {toml_text(roles[role])}" for role in others if role in roles]
        used = {column.name for column in self.roles.values()} | ({self.time.name} if self.time else set())
        rest = [each.name for each in columns if each.name not in used and each.values]
        if rest:
            values = {column.name: column.value for column in self.seen}
            pairs = ", ".join(f"{literal(each)}, {values[each]}" for each in rest)
            lines.append(f"metadata = {toml_text(f'json_object({pairs})')}")
        return lines

    def _type_expression(self) -> str:
        column = self.roles.get("event_type")
        if column is None:
            return "'purchase'"
        cases = " ".join(
            f"WHEN {literal(each)} THEN {literal(kind)}" for each in column.distinct() if (kind := _event_type(each))
        )
        return f"CASE {column.value} {cases} END"


def _event_type(value: str) -> str | None:
    """Return the declared event type that a value means; None where it is none."""
    squeezed = re.sub(r"[^a-z]", "", value.lower())
    found = next((kind for kind, pattern in _TYPES.items() if re.search(pattern, squeezed)), None)
    return found if found in EVENT_TYPES else None


def _column(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """Return a column's name as SQL, without quotes where it needs none."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        [words] = connection.execute(
            "SELECT count(*) FROM duckdb_keywords() WHERE keyword_name = lower(?)", [name]
        ).fetchone() or [1]
        if not words:
            return name
    return identifier(name)


def toml_text(value: str | list[str]) -> str:
    """Return a text, or texts, as TOML: its strings are JSON's, but for one character, or literal between ' and '."""
    if isinstance(value, str) and '"' in value and "'" not in value and value.isprintable():
        return f"'{value}'"
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")


def toml_key(name: str) -> str:
    """Return a name as a key of TOML."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_text(name)
