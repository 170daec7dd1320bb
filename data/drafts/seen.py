"""A column of a file that nobody has described yet, as a sample shows it."""

import re
from collections.abc import Iterable
from functools import cache, cached_property
from typing import Any

import duckdb

from data.importers.convert import converted, identifier, literal
from data.importers.mapping import ColumnType, FileOptions
from data.importers.times import TimeSql, time_sql
from data.printable import printable
from data.units import DAY_US

__all__ = ["CLOCKS", "MOSTLY", "SeenColumn"]

MOSTLY = 0.95
"""Least share of a column's values that are of its type; the import reports the rows of the others."""

_TIME = re.compile(
    r"time|date|datum|fecha|when|created|ts$|zeit|stamp|epoch|[_a-z]at$|^at$|_dt$|^dt$|^day$|_ms$|jour|^data|tijd|"
    "дата|время|日期|日付|时间|日時",
    re.IGNORECASE,
)

_DATES = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%Y-%m-%d", "%d-%m-%Y", "%m-%d-%Y"),
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%Y.%m.%d", "%d-%b-%Y", "%d-%b-%y", "%d/%b/%Y", "%d %b %Y"),
    *("%d %B %Y", "%d-%B-%Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%m %d, %Y", "%a, %d %b %Y", "%a %d %b %Y"),
)
CLOCKS = (" %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p", " %I:%M:%S%p", " %I:%M%p", " %H%M%S", " %H%M", " %H")
"""Forms of the time of day after a date."""

_AFTER_DATE = (
    *CLOCKS[:6],
    "",
    ", %H:%M:%S",
    ", %H:%M",
    ", %I:%M:%S %p",
    ", %I:%M %p",
    ":%H:%M:%S %z",
    " %H:%M:%S %Z",
    " %H",
)
_FORMS = (
    *("iso", "%Y-%m-%d %H:%M:%S %Z", "%Y%m%d", "%Y%m%d%H%M%S", "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%SZ"),
    *(date + clock for date in _DATES for clock in _AFTER_DATE),
)
_DIGITS = ("%Y%m%d", "%Y%m%d%H%M%S", "%Y%m%d%H%M")
_NUMBERS = {"unix": (1e8, 4.2e9), "unix_ms": (1e11, 4.2e12), "unix_us": (1e14, 4.2e15), "excel": (25_569, 80_000)}
"""Bounds of numbers that are times of a form: from some time after 1970 up to 2100."""

_CODES = {
    **dict.fromkeys(("%d", "%m", "%H", "%I", "%M", "%S"), "[0-9]{1,2}"),
    **dict.fromkeys(("%b", "%a"), "[a-z]{3}"),
    "%Y": "[0-9]{4}",
    "%y": "[0-9]{2}",
    "%B": "[a-z]{3,9}",
    "%p": "[ap]m",
    "%z": "[+-][0-9]{2}:?[0-9]{2}",
    "%Z": "[a-z/_]+",
}
"""Regular expressions of strptime's codes."""

_TRIED = 50
"""How many values are tried to rule out most forms."""


class SeenColumn:
    """A column of the sample: its DuckDB type, and counts and examples of its values.

    `value` is the column as an expression of a mapping; `is_part` is whether it is a field of a column, or joins two.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        name: str,
        sql_type: str,
        options: FileOptions,
        value: str | None = None,
    ) -> None:
        self._connection = connection
        self._options = options
        self.name = name
        self.sql_type = sql_type
        self.value = value or _column(connection, name)
        self.is_part = value is not None
        self._text = converted(self.value, sql_type, "text", options)
        self.filled, self.empty, self.values, example, nested, zeros = self._row(
            f"count({self._text}), count(*) - count({self._text}), count(DISTINCT {self._text}), "
            f"coalesce(min({self._text}), ''), count(*) FILTER (starts_with({self._text}, '{{') OR "
            f"starts_with({self._text}, '[')), count(*) FILTER (regexp_matches({self._text}, '^0[0-9]'))"
        )
        self.example = printable(example, 40)
        self.type: ColumnType = "text"
        self.has_zone = False
        self.is_scalar = not nested and not re.search(r"\[\]$|^STRUCT|^MAP|^UNION", sql_type)
        self.has_zeros = bool(zeros)
        """Whether a value begins with a zero before other digits, as ids do."""

    @property
    def number(self) -> str:
        """The column as a number, an expression of a mapping; a part of a column has no type of its own."""
        return f"TRY_CAST({self.value} AS DOUBLE)" if self.is_part else self.value

    def key_type(self, options: FileOptions) -> ColumnType:
        """Return its type as a key: `id` for numbers that may have passed through a spreadsheet, else `text`."""
        return "id" if self.reads("number", options) and self.share("id", options) >= 0.5 else "text"

    @cached_property
    def forms(self) -> list[str]:
        """The forms of time in which nearly all values are written; numbers are times only where the name says so."""
        return self._forms(any_name=False)

    @property
    def is_named_time(self) -> bool:
        """Whether the name is that of a time."""
        return bool(_TIME.search(self.name))

    @cached_property
    def is_days(self) -> bool:
        """Whether all times are whole days."""
        return not self._row(f"count(*) FILTER (({self._micros()}) % {DAY_US} <> 0)")[0]

    def joined_with(self, clock: "SeenColumn", forms: Iterable[str]) -> "SeenColumn":
        """Return this column of days joined with one of times of the day, in the forms that read both."""
        joined = SeenColumn(
            self._connection,
            f"{self.name} {clock.name}",
            "VARCHAR",
            self._options,
            f"concat_ws(' ', {self.value}, {clock.value})",
        )
        joined.forms = joined._best(forms)
        return joined

    def take_numbers_for_times(self) -> None:
        """Look for times among numbers also where the name does not say so."""
        self.forms = self._forms(any_name=True)

    def reads(self, wanted: ColumnType, options: FileOptions) -> bool:
        """Return whether every value is of a type."""
        return self.share(wanted, options) == 1

    def share(self, wanted: ColumnType, options: FileOptions) -> float:
        """Return the share of the values that are of a type."""
        read = converted(self.value, self.sql_type, wanted, options)
        return float(self._row(f"count({read})")[0] / self.filled) if self.filled else 0.0

    def shares(self, options: Iterable[FileOptions]) -> list[float]:
        """Return the share of the values that are numbers by each of several options."""
        read = [f"count({converted(self.value, self.sql_type, 'number', variant)})" for variant in options]
        return [count / max(1, self.filled) for count in self._row(", ".join(read))]

    def share_like(self, pattern: str) -> float:
        """Return the share of the values that a regular expression matches in full."""
        matching = f"count(*) FILTER (regexp_full_match({self._text}, {literal(pattern)}))"
        return float(self._row(matching)[0] / self.filled) if self.filled else 0.0

    def parts_like(self, pattern: str) -> list[str]:
        """Return what the first group of a pattern matches in most of the values, the most frequent first."""
        group = f"regexp_extract({self._text}, {literal(pattern)}, 1)"
        query = f"SELECT {group} AS x FROM sample WHERE x <> '' GROUP BY x ORDER BY count(*) DESC, x LIMIT 5"
        return [text for (text,) in self._connection.execute(query).fetchall()]

    def odd_time(self) -> tuple[str, str] | None:
        """Return the form of most values that are times, and a value in none of it; None where few are times."""
        counts = self._counts(self._likely_forms())
        form = max(counts, key=lambda candidate: counts[candidate])
        if counts[form] < self.filled / 2:
            return None
        odd = f"min({self._text}) FILTER (coalesce({self._micros(form)}, -1) < 0)"
        return form, printable(self._row(odd)[0], 40)

    def extremes(self, options: FileOptions) -> tuple[float, float]:
        """Return the least and the largest number; (0, 0) where there is none."""
        number = converted(self.value, self.sql_type, "number", options)
        least, most = self._row(f"min({number}), max({number})")
        return (least, most) if least is not None else (0.0, 0.0)

    def negative_share(self, options: FileOptions) -> float:
        """Return the share of numbers below 0."""
        number = converted(self.value, self.sql_type, "number", options)
        return float(self._row(f"count(*) FILTER ({number} < 0)")[0] / self.filled) if self.filled else 0.0

    def distinct(self) -> list[str]:
        """Return the values, as text."""
        return sorted(self.commonest())

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
        first, last = self._row(f"min({self._micros()}), max({self._micros()})")
        return first, last

    def _micros(self, form: str | None = None) -> str:
        return self._time(form or self.forms[0]).micros("UTC")

    def _time(self, form: str) -> TimeSql:
        return time_sql(self.value, self.sql_type, form, self._options)

    def _counts(self, forms: Iterable[str], table: str = "sample") -> dict[str, int]:
        """Return how many values are times of each form, in or after 1970."""
        forms = list(forms)
        counts = self._row(", ".join(f"count(*) FILTER (({self._micros(form)}) >= 0)" for form in forms), table)
        return dict(zip(forms, counts, strict=True))

    def _forms(self, *, any_name: bool) -> list[str]:
        if not self.filled or not self.is_scalar or self.sql_type in {"BOOLEAN", "BLOB", "INTERVAL"}:
            return []
        if self.sql_type.startswith("TIME") and not self.sql_type.startswith("TIMESTAMP"):
            return []
        if self.sql_type.startswith(("TIMESTAMP", "DATE")):
            self.has_zone = "ZONE" in self.sql_type
            return ["iso"]
        if self.reads("number", self._options):
            return self._number_forms() if any_name or self.is_named_time else []
        if not self.share_like(r".*[0-9].*"):
            return []
        return self._best(self._likely_forms())

    def _likely_forms(self) -> list[str]:
        """Return the forms that fit the most of some values by their characters; DuckDB decides between them."""
        query = f"SELECT DISTINCT {self._text} AS x FROM sample WHERE x IS NOT NULL ORDER BY hash(x) LIMIT {_TRIED}"
        values = [text.strip() for (text,) in self._connection.execute(query).fetchall()]
        fitting = {form: sum(bool(_pattern(form).fullmatch(text)) for text in values) for form in _FORMS}
        most = max(fitting.values())
        return ["iso", *(form for form, count in fitting.items() if form != "iso" and count and 2 * count >= most)]

    def _best(self, forms: Iterable[str]) -> list[str]:
        """Return the forms that read the most values, at least MOSTLY of them.

        Forms that read every value as the first of them does are left out.
        """
        counts = self._counts(forms)
        best = max(counts.values())
        if best < MOSTLY * self.filled:
            return []
        forms = [form for form, count in counts.items() if count == best]
        self.has_zone = not self._row(f"count({self._time(forms[0]).local})")[0]
        differences = [f"count(*) FILTER (({self._micros(forms[0])}) <> ({self._micros(form)}))" for form in forms]
        differing = self._row(", ".join(differences))
        return forms[:1] + [form for form, differ in zip(forms, differing, strict=True) if differ]

    def _number_forms(self) -> list[str]:
        counts = self._counts(_DIGITS)
        if digits := next((form for form, count in counts.items() if count == self.filled), None):
            return [digits]
        least, most = self.extremes(self._options)
        forms = [form for form, (low, high) in _NUMBERS.items() if low <= least and most <= high]
        self.has_zone = forms != ["excel"]
        return forms

    def _row(self, selected: str, table: str = "sample") -> tuple[Any, ...]:
        row = self._connection.execute(f"SELECT {selected} FROM {table}").fetchone()
        assert row is not None  # noqa: S101 - an aggregate has a row
        return row


@cache
def _pattern(form: str) -> re.Pattern[str]:
    """Return the regular expression of a time in a form."""
    parts = re.split("(%[A-Za-z])", form)
    return re.compile("".join(_CODES.get(part) or re.escape(part) for part in parts), re.IGNORECASE)


def _column(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """Return a column's name as SQL, without quotes where it needs none."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        # A query with parameters would import pandas.
        query = f"SELECT count(*) FROM duckdb_keywords() WHERE keyword_name = lower({literal(name)})"
        [words] = connection.execute(query).fetchone() or [1]
        if not words:
            return name
    return identifier(name)
