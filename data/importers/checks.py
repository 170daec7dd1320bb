"""The rules that a row must keep, as SQL, and the faults of rows that do not."""

from collections.abc import Callable
from typing import NamedTuple

import duckdb

from data.event import MAX_EVENT_BYTES, MAX_METADATA_DEPTH
from data.importers.columns import Column
from data.importers.convert import PRINTABLE, literal
from data.importers.report import Fault

__all__ = ["Checks", "check_event"]

_MOST_BYTES = MAX_EVENT_BYTES - 4096
"""Most bytes of an event's metadata, so that a message has room for the rest of the event."""


_STRING = r'"(\\.|[^"\\])*"'


class _Check(NamedTuple):
    column: str | None
    condition: str
    reason: str
    value: str


class Checks:
    """Conditions of SQL under which a row is refused; the first that holds gives the column, reason and value."""

    def __init__(self) -> None:
        self._checks: list[_Check] = []

    def add(self, column: str | None, condition: str, reason: str, value: str = "NULL") -> None:
        """Refuse a row for which a condition holds. `value` is SQL of the value to show."""
        self._checks.append(_Check(column, condition, reason, value))

    def applied(self, relation: str) -> str:
        """Return SQL of a relation with the columns `_fault` (NULL where a row keeps the rules) and `_value`."""
        faults = " ".join(f"WHEN {check.condition} THEN {number}" for number, check in enumerate(self._checks))
        values = " ".join(f"WHEN {number} THEN ({check.value})::VARCHAR" for number, check in enumerate(self._checks))
        judged = f"SELECT *, CASE {faults} END AS _fault FROM ({relation})"
        return f"SELECT *, CASE _fault {values} END AS _value FROM ({judged})"

    def collect(
        self, connection: duckdb.DuckDBPyConnection, table: str, placed: Callable[[int], tuple[str, int]]
    ) -> list[Fault]:
        """Delete the refused rows of a table, return their faults; `placed` returns the file and row of a `_row`."""
        refused = connection.execute(
            "SELECT _fault, count(*), min(_row), arg_min(_value, _row) "
            f"FROM {table} WHERE _fault IS NOT NULL GROUP BY _row >> 40, _fault ORDER BY min(_row)"
        ).fetchall()
        if refused:
            connection.execute(f"DELETE FROM {table} WHERE _fault IS NOT NULL")
        return [
            Fault(*placed(first), self._checks[number].column, self._checks[number].reason, value, count)
            for number, count, first, value in refused
        ]


def check_event(checks: Checks, column: Column, label: str, value: str, raw: str) -> None:
    """Add the rules of a declared column, the same as the stream's; `value` was converted from `raw`."""
    unread = {
        "key": "no id: it lost digits when it was written so; export the column as text",
        "decimal": "not a number",
        "integer": "not a whole number",
    }.get(column.kind)
    if unread:
        checks.add(label, f"{value} IS NULL AND trim({raw}::VARCHAR) <> ''", unread, raw)
    if column.is_required:
        checks.add(label, f"{value} IS NULL", "empty")
    if column.kind == "choice":
        checks.add(
            label,
            f"{value} NOT IN ({', '.join(map(literal, column.choices))})",
            f"none of {', '.join(column.choices)}",
            raw,
        )
    if column.least is not None:
        checks.add(label, f"{value} < {column.least!r}", f"below {column.least:g}", raw)
    if column.most is not None:
        most = f"{column.most:,}" if isinstance(column.most, int) else f"{column.most:g}"
        checks.add(label, f"{value} > {column.most!r}", f"above {most}", raw)
    if column.longest is not None:
        checks.add(label, f"length({value}) > {column.longest}", f"longer than {column.longest} characters", raw)
    if column.kind == "key":
        checks.add(label, f"NOT regexp_full_match({value}, '{PRINTABLE}')", "not printable", raw)
    if column.kind == "document":
        kind = f"CASE WHEN json_valid({value}) THEN json_type({value}) ELSE 'NONE' END"
        checks.add(
            label, f"{value} IS NOT NULL AND ({kind} <> 'OBJECT' OR {_has_nan(value)})", "not a JSON object", raw
        )
        checks.add(label, f"strlen({value}) > {_MOST_BYTES}", f"longer than {_MOST_BYTES:,} bytes", raw)
        checks.add(label, _is_deep(value), f"nested over {MAX_METADATA_DEPTH} deep", raw)


def _has_nan(document: str) -> str:
    """Return SQL of whether a JSON text holds NaN or Infinity, which DuckDB takes for JSON."""
    nan = "'(?i)nan|inf'"
    without = f"regexp_replace({document}, '{_STRING}', '', 'g')"
    return f"CASE WHEN regexp_matches({document}, {nan}) THEN regexp_matches({without}, {nan}) ELSE false END"


def _is_deep(document: str) -> str:
    """Return SQL of whether a JSON text is nested too deep: innermost pairs of brackets are taken out, level by level.

    Few texts have so many brackets that it must be tried.
    """
    left = f"regexp_replace(regexp_replace({document}, '{_STRING}', '', 'g'), '[^][{{}}]', '', 'g')"
    for _ in range(MAX_METADATA_DEPTH):
        left = f"regexp_replace({left}, '\\[\\]|{{}}', '', 'g')"
    opened = f"length({document}) - length(replace(replace({document}, '[', ''), '{{', ''))"
    return f"CASE WHEN {opened} > {MAX_METADATA_DEPTH} THEN {left} <> '' ELSE false END"
