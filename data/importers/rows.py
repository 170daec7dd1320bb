"""The rows of all files of an import, in one table of DuckDB."""

from collections.abc import Callable
from pathlib import Path

import duckdb

from data.errors import DataError
from data.importers.checks import Checks
from data.importers.convert import converted, elements, emptied, identifier
from data.importers.mapping import Mapping
from data.importers.report import Fault
from data.importers.source_file import SourceFile, error_line, open_source

__all__ = ["Rows"]

_FILE_BITS = 40
"""The lower bits of `_row` are a row's number in its file, the upper ones the file's number."""

_ELEMENT_BITS = 12
"""Where rows are elements of a list, the lowest bits are the number of the element."""

_NOT = {
    "id": "no whole id: it lost digits, or was a number, before it was written so; export the column as text",
    "integer": "not a whole number",
    "number": "not a number",
}


class Rows:
    """The table `lines`: the columns of the files, typed as a mapping says, and `_row`.

    Rows that cannot be read are not in it: they are `faults`.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, mapping: Mapping) -> None:
        self._connection = connection
        self._mapping = mapping
        self._element_bits = _ELEMENT_BITS if mapping.each else 0
        self._rejected: list[list[int]] = []
        self.sources: list[SourceFile] = []
        self.faults: list[Fault] = []
        self.count = 0

    def read(self, names: list[str], scratch: Path, progress: Callable[[str], None]) -> None:
        """Read all files. Raises ConfigurationError or DataError in one line."""
        for name in names:
            progress(f"opening {name}")
            self.sources.append(open_source(self._connection, name, self._mapping.file, scratch))
        columns = self._columns()
        for number, source in enumerate(self.sources):
            progress(f"reading {source.name}")
            try:
                try:
                    self._read(number, columns)
                except duckdb.InvalidInputException:
                    if source.is_copied or not source.rejects:
                        raise
                    # DuckDB reads no CSV with line ends of several kinds; a copy has one.
                    options = self._mapping.file
                    self.sources[number] = open_source(self._connection, source.name, options, scratch, copy=True)
                    self._read(number, columns)
            except duckdb.Error as error:
                raise DataError(f"{source.name}: cannot be read: {error_line(error)}") from error

    def placed(self, row: int) -> tuple[str, int]:
        """Return the file of a `_row`, and its number there, as a spreadsheet counts."""
        number, place = divmod(row, 1 << _FILE_BITS)
        source = self.sources[number]
        place = (place >> self._element_bits) + source.first_row - 1
        for rejected in self._rejected[number]:  # ascending
            if rejected > place:
                break
            place += 1
        return source.name, place

    def _columns(self) -> dict[str, str]:
        """Return the columns of all files with their types. JSON may leave some out; other files may not."""
        columns: dict[str, str] = {}
        for source in self.sources:
            columns = source.columns | columns
        for source in self.sources:
            missing = next((name for name in columns if name not in source.columns), None)
            if missing and not source.is_sparse:
                other = next(candidate.name for candidate in self.sources if missing in candidate.columns)
                raise DataError(
                    f"{source.name}: there is no column {missing!r}, which {other} has; files that are imported "
                    "together have the same columns"
                )
        mentioned: list[tuple[tuple[str, ...], str]] = [(("columns", name), name) for name in self._mapping.columns]
        if self._mapping.each:
            mentioned.append((("each",), self._mapping.each))
        for place, name in mentioned:
            if name not in columns:
                listed = ", ".join(map(repr, columns)) or "none"
                raise self._mapping.wrong(place, f"{self.sources[0].name} has no column {name!r}; it has {listed}")
        return columns

    def _read(self, number: int, columns: dict[str, str]) -> None:
        source = self.sources[number]
        options = self._mapping.file
        checks = Checks()
        checks.add(None, "_broken", "not a JSON object")
        relation = f"SELECT *, row_number() OVER () AS _number FROM {source.relation}"
        kept, place = [*columns], "_number"
        if list_column := self._mapping.each:
            kept.append("_element")
            place = f"(_number << {_ELEMENT_BITS}) + _element"
            relation = self._elements(relation, source, checks)
            columns = columns | {list_column: columns[list_column].removesuffix("[]")}
        made = [f"({number}::BIGINT << {_FILE_BITS}) + {place} AS _row", "_broken"]
        for position, (name, sql_type) in enumerate(columns.items()):
            sql = identifier(name) if name in source.columns else "NULL::VARCHAR"
            if sql_type == "VARCHAR":
                sql = emptied(sql, options)
            wanted = self._mapping.columns.get(name, "text" if sql_type == "VARCHAR" else None)
            value = sql if wanted is None else converted(sql, sql_type, wanted, options)
            made.append(f"{value} AS {identifier(name)}")
            if wanted in _NOT:
                raw = f"_raw{position}"
                made.append(f"{sql} AS {raw}")
                filled = converted(raw, sql_type, "text", options)
                checks.add(name, f"{identifier(name)} IS NULL AND {filled} IS NOT NULL", _NOT[wanted], filled)
        if self._mapping.each:
            made += ["_element", "_other"]
        listed = ", ".join([*map(identifier, kept), "_row", "_fault", "_value"])
        rows = checks.applied(f"SELECT {', '.join(made)} FROM ({relation})")
        into = "CREATE TABLE lines AS" if number == 0 else "INSERT INTO lines"
        made_rows = self._connection.execute(f"{into} SELECT {listed} FROM ({rows})").fetchone()
        rejected = source.rejected(self._connection)
        self._rejected.append([row for row, _, _ in rejected])
        self.count += (made_rows[0] if made_rows else 0) + len(rejected)
        by_reason: dict[tuple[str | None, str], list[int]] = {}
        for row, column, reason in rejected:
            by_reason.setdefault((column, error_line(reason)), []).append(row)
        self.faults += [
            Fault(source.name, rows[0], column, reason, None, len(rows)) for (column, reason), rows in by_reason.items()
        ]
        self.faults += checks.collect(self._connection, "lines", self.placed)

    def _elements(self, relation: str, source: SourceFile, checks: Checks) -> str:
        """Return SQL with a row for each element of the list that the mapping names, numbered by `_element`."""
        list_column = self._mapping.each
        if list_column not in source.columns:
            return f"SELECT *, 1 AS _element, false AS _other FROM ({relation})"
        most = (1 << _ELEMENT_BITS) - 1
        items, other = elements(identifier(list_column), source.columns[list_column])
        checks.add(list_column, "_other", "not a list", identifier(list_column))
        checks.add(list_column, f"_element > {most}", f"of more than {most:,} elements")
        return (
            f"SELECT * EXCLUDE ({identifier(list_column)}, _list), unnest(_list) AS {identifier(list_column)}, "
            f"unnest(range(1, len(_list) + 1)) AS _element FROM (SELECT *, {items} AS _list, {other} AS _other "
            f"FROM ({relation}))"
        )
