"""A file to import, as a relation of DuckDB: CSV, JSON or Parquet, compressed, in any encoding, here or in a bucket.

Or a table, which is a folder or has an address (`data.importers.tables`).
"""

import codecs
import csv
import glob
import io
import zlib
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from data.errors import ConfigurationError, DataError
from data.importers.beginning import (
    PACKED,
    SAMPLE,
    beginning_of,
    csv_records,
    file_format,
    refuse_other_kinds,
    unpacked,
)
from data.importers.convert import literal
from data.importers.mapping import FileOptions
from data.importers.tables import is_table, open_table

__all__ = ["SourceFile", "error_line", "expand_names", "open_source"]

_CHUNK = 1 << 20
_PIECES, _PIECE = 16, SAMPLE // 32
"""Number of pieces of a sample besides a file's beginning, and the bytes of each."""

_LONGEST_HEADER = 64 * 1024
_MOST_REJECTS = 100_000
_OWN_NAMES = {"_row", "_broken", "_number", "_element", "_list", "_fault", "_value", "_reason", "_local", "_time"} | {
    "_when"
}
"""Names of columns that a source may not have."""


@dataclass(frozen=True)
class SourceFile:
    """A file's columns with their DuckDB types, and SQL that reads it.

    `relation` has the columns and `_broken`, whether a row could not be read. `first_row` is the number of the first
    row. `rejects` is the table of rows that a CSV reader leaves out. `is_copied` is whether our own copy is
    read, `is_sparse` whether it may lack columns of other files, `is_beginning` whether only its beginning is.
    """

    name: str
    columns: dict[str, str]
    relation: str
    first_row: int
    rejects: str = ""
    is_copied: bool = False
    is_sparse: bool = False
    is_beginning: bool = False

    def rejected(self, connection: duckdb.DuckDBPyConnection) -> list[tuple[int, str | None, str]]:
        """Return row, column and reason of every row that was left out in reading."""
        if not self.rejects:
            return []
        return connection.execute(
            f"SELECT line, min_by(column_name, column_idx), min_by(error_message, column_idx) FROM {self.rejects} "
            "GROUP BY line ORDER BY line"
        ).fetchall()


def expand_names(names: list[str]) -> list[str]:
    """Return the files that names stand for: globs are expanded, sorted by name.

    Raises DataError where a glob matches no file.
    """
    files: list[str] = []
    for name in names:
        if "://" in name or not glob.has_magic(name) or Path(name).exists():
            files.append(name)
            continue
        matching = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        if not matching:
            raise DataError(f"{name}: no file is called so")
        files += matching
    return list(dict.fromkeys(files))


def open_source(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    options: FileOptions,
    scratch: Path,
    *,
    copy: bool = False,
    sample: bool = False,
) -> SourceFile:
    """Return a file that can be read. What DuckDB does not read by itself, or with `copy`, is copied into `scratch`.

    With `sample`, only some lines of a text are copied.

    Raises DataError in one line that names the file, ConfigurationError where its format is unknown.
    """
    number = len(list(scratch.iterdir()))
    if is_table(name):
        (scratch / f"{number}.table").touch()
        return _table(connection, name, f"table_{number}")
    form = file_format(name, options)
    start = beginning_of(name, _LONGEST_HEADER)
    refuse_other_kinds(name, form, start)
    target = scratch / f"{number}.{form}"
    try:
        is_utf8 = codecs.lookup(options.encoding).name in {"utf-8", "utf-8-sig"}
        in_place = (
            not (copy or (sample and form != "parquet")) and "://" not in name and Path(name).suffix not in PACKED
        )
        if in_place and form != "parquet":
            in_place = is_utf8 and not (form == "json" and start.startswith(codecs.BOM_UTF8))
        encoding = "utf-8-sig" if is_utf8 else options.encoding
        is_beginning = False
        if sample and form != "parquet" and not start.lstrip(codecs.BOM_UTF8).startswith(b"["):  # an array has no lines
            is_beginning = _copy_sample(name, target, encoding, beginning_of(name), is_csv=form == "csv")
        elif not in_place:
            _copy(name, target, encoding, is_text=form != "parquet")
        path = Path(name) if in_place else target
        target.touch()
        with path.open("rb") as file:
            start = file.read(_LONGEST_HEADER).removeprefix(codecs.BOM_UTF8)
        match form:
            case "csv":
                source = _csv(name, path, start, options, f"rejects_{number}")
            case "json":
                source = _json(connection, name, path, start)
            case _:
                scan = f"read_parquet({_path(path)})"
                columns = _columns(connection, scan)
                _check_names(name, list(columns))
                source = SourceFile(name, columns, f"(SELECT *, false AS _broken FROM {scan})", 1)
        return replace(source, is_copied=not in_place, is_beginning=is_beginning)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise DataError(f"{name}: cannot be read ({error}); is it there, and whole?") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name}: not text in {options.encoding} ({error.reason}); say its encoding under [file]"
        ) from error
    except duckdb.Error as error:
        raise DataError(f"{name}: cannot be read as {form}: {error_line(error)}") from error


def error_line(error: object) -> str:
    """Return DuckDB's message in one line, without the query."""
    return " ".join(str(error).partition("\nLINE ")[0].split("\nPossible")[0].split()).removesuffix(".")


def _copy(name: str, target: Path, encoding: str, *, is_text: bool) -> None:
    """Copy a file unpacked; text becomes UTF-8 with one kind of line ends.

    Invalid bytes in a file of UTF-8 are kept, so that the reader can report their row.
    """
    errors = _errors(encoding)
    decoder: Any = codecs.getincrementaldecoder(encoding)(errors)
    decoder = io.IncrementalNewlineDecoder(decoder, translate=True)
    with ExitStack() as stack:
        out = stack.enter_context(target.open("wb"))
        source = unpacked(stack, name)
        while chunk := source.read(_CHUNK):
            out.write(decoder.decode(chunk).encode(errors=errors) if is_text else chunk)
        if is_text:
            out.write(decoder.decode(b"", final=True).encode(errors=errors))


def _errors(encoding: str) -> str:
    return "surrogateescape" if encoding == "utf-8-sig" else "strict"


def _copy_sample(name: str, target: Path, encoding: str, start: bytes, *, is_csv: bool) -> bool:
    """Copy the beginning of a text and, where one can seek, pieces from all over it; return whether only the beginning.

    Pieces would tear a record that spans lines, which is recognized by its quotes.
    """
    is_whole = len(start) < SAMPLE
    text = codecs.getincrementaldecoder(encoding)(_errors(encoding)).decode(start, is_whole)
    text = text if is_whole else text[: text.rfind("\n") + 1]
    pieces: list[bytes] = []
    is_torn = is_csv and any(line.count('"') % 2 for line in text.split("\n"))
    can_seek = "://" not in name and Path(name).suffix not in PACKED and encoding in {"utf-8-sig", "cp1252", "latin-1"}
    if not is_whole and can_seek and not is_torn:
        text = text[: text.rfind("\n", 0, len(text) // 2) + 1]
        with Path(name).open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            for number in range(_PIECES):
                file.seek(len(start) // 2 + (size - len(start) // 2) * (number + 1) // _PIECES - _PIECE)
                lines = file.read(_PIECE)
                pieces.append(lines[lines.find(b"\n") + 1 : lines.rfind(b"\n") + 1])
    text += b"".join(pieces).decode(encoding, _errors(encoding))
    target.write_bytes(text.replace("\r\n", "\n").replace("\r", "\n").encode(errors=_errors(encoding)))
    return not (is_whole or pieces)


def _csv(name: str, path: Path, start: bytes, options: FileOptions, rejects: str) -> SourceFile:
    text = start.decode("utf-8", "surrogateescape")
    try:
        header, _ = next(csv_records(text, options), ([], 0))
    except csv.Error as error:
        raise DataError(f"{name}: row {options.skip + 1}: this is no CSV text in UTF-8 ({error})") from error
    names = [column.strip() or f"column{number}" for number, column in enumerate(header, 1)]
    if options.names and header:
        if len(header) != len(options.names):
            raise ConfigurationError(
                f"{name}: row {options.skip + 1} has {len(header)} columns, and there are {len(options.names)} names "
                "for them under [file]"
            )
        names = list(options.names)
    if not all(column.isprintable() for column in names):
        raise DataError(f"{name}: row {options.skip + 1}: this is no CSV text in UTF-8; say its encoding under [file]")
    if not names:
        raise DataError(f"{name}: row {options.skip + 1}: there is no header; the file is empty")
    _check_names(name, names)
    columns = dict.fromkeys(names, "VARCHAR")
    listed = ", ".join(f"{literal(column)}: 'VARCHAR'" for column in columns)
    scan = (
        f"read_csv({_path(path)}, columns = {{{listed}}}, auto_detect = false, "
        f"header = {not options.names}, skip = {options.skip}, "
        f"delim = {literal(options.delimiter)}, quote = '\"', escape = {literal(options.escape)}, "
        f"compression = 'none', "
        f"store_rejects = true, rejects_table = '{rejects}', rejects_scan = '{rejects}_scan', "
        f"rejects_limit = {_MOST_REJECTS})"
    )
    first_row = options.skip + (1 if options.names else 2)
    return SourceFile(name, columns, f"(SELECT *, false AS _broken FROM {scan})", first_row, rejects)


def _json(connection: duckdb.DuckDBPyConnection, name: str, path: Path, start: bytes) -> SourceFile:
    shape = "array" if start.lstrip().startswith(b"[") else "newline_delimited"
    ignored = ", ignore_errors = true" if shape == "newline_delimited" else ""
    scan = f"read_json_objects({_path(path)}, format = '{shape}', compression = 'uncompressed'{ignored})"
    is_object = "coalesce(json_type(json) = 'OBJECT', false)"
    keys = connection.execute(
        f"SELECT key FROM (SELECT unnest(json_keys(json)) AS key FROM {scan} WHERE {is_object}) "
        "GROUP BY key ORDER BY count(*) DESC, key"
    ).fetchall()
    names = [key for (key,) in keys]
    _check_names(name, names)
    columns = dict.fromkeys(names, "VARCHAR")
    structure = literal(msgspec.json.encode(columns).decode())
    parts = f"unnest(json_transform(json, {structure}))" if columns else "NULL AS column1"
    return SourceFile(name, columns, f"(SELECT {parts}, NOT {is_object} AS _broken FROM {scan})", 1, is_sparse=True)


def _table(connection: duckdb.DuckDBPyConnection, name: str, registered: str) -> SourceFile:
    connection.register(registered, open_table(name))
    try:
        columns = _columns(connection, registered)
    except duckdb.Error as error:
        raise DataError(f"{name}: this table cannot be read: {error_line(error)}") from error
    _check_names(name, list(columns))
    return SourceFile(name, columns, f"(SELECT *, false AS _broken FROM {registered})", 1)


def _check_names(name: str, columns: list[str]) -> None:
    """Raise DataError where names of columns differ at most in case, which SQL ignores, or are the importer's own."""
    seen: dict[str, str] = {}
    for column in columns:
        folded = column.lower()
        if folded in seen:
            raise DataError(
                f"{name}: two columns are called {column!r}; rename one, or give all columns other names under [file]: "
                "names = [...], and skip the header"
            )
        if folded in _OWN_NAMES:
            raise DataError(f"{name}: a column is called {column!r}, which is a name of the importer's; rename it")
        seen[folded] = column


def _columns(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    return {row[0]: row[1] for row in described}


def _path(path: Path) -> str:
    """Return a path as a literal, with the characters escaped that are wildcards to DuckDB."""
    return literal("".join(f"[{character}]" if character in "*?[" else character for character in str(path)))
