"""Convert a CSV file of a known format to events in time order.

DuckDB does the work, so rows never become Python objects; what exceeds its memory is spilled to the system's temporary
folder. The first event is yielded only after the whole file was read and checked.
"""

import csv
import gzip
import io
import tempfile
import uuid
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa

from data.errors import ConfigurationError, DataError
from data.importers.csv_format import CsvFormat
from data.importers.online_retail import ONLINE_RETAIL
from data.importers.rees46 import REES46
from data.importers.report import ImportReport
from data.importers.retailrocket import RETAILROCKET
from data.log.event_table import EVENT_COLUMNS

__all__ = ["FORMATS", "import_file"]

_FORMATS = {each.name: each for each in (ONLINE_RETAIL, RETAILROCKET, REES46)}

FORMATS = tuple(_FORMATS)
"""Names of the formats that `import_file` reads."""

_LONGEST_HEADER = 4096
_CHUNK = 1 << 20


def import_file(format: str, path: Path) -> tuple[Iterator[pa.Table], ImportReport]:  # noqa: A002 (the CLI's word)
    """Return the events of a CSV file, plain or .gz, and a report of what became of its rows.

    The events come as tables of `EVENT_COLUMNS` in time order.

    Raises `ConfigurationError` for an unknown format, `DataError` in one line for a file that is not of its format,
    with the row (the header is row 1) and the column.
    """
    if format not in _FORMATS:
        raise ConfigurationError(f"import: unknown format {format!r}; choose one of {', '.join(FORMATS)}")
    described = _FORMATS[format]
    _check_file(described, path)
    connection = duckdb.connect(
        config={"temp_directory": str(Path(tempfile.gettempdir()) / f"encore-import-{uuid.uuid4().hex}")}
    )
    try:
        rows = _read_lines(connection, described, path)
        _check_lines(connection, described, path)
        report = _make_events(connection, described, path, rows)
    except duckdb.Error as error:
        connection.close()
        raise DataError(f"{path}: cannot be read as {format}: {_first_line(error)}") from error
    except BaseException:
        connection.close()
        raise
    return _in_time_order(connection), report


def _check_file(described: CsvFormat, path: Path) -> None:
    """Check the header, and that a .gz is complete (DuckDB 1 reads a truncated one without an error)."""
    try:
        with gzip.open(path) if _is_gzip(path) else path.open("rb") as file:
            start = file.readline(_LONGEST_HEADER).decode("utf-8-sig")
            header = next(csv.reader(io.StringIO(start)), [])
            while _is_gzip(path) and file.read(_CHUNK):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); is it there, and whole?") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: row 1: this is no CSV text in UTF-8 ({error})") from error
    for number, column in enumerate(described.columns):
        found = header[number] if number < len(header) else ""
        if found != column:
            raise DataError(
                f"{path}: row 1, column {number + 1}: the header says {found!r} where {described.name} has {column!r}; "
                f"its header is {','.join(described.columns)}"
            )
    if len(header) > len(described.columns):
        raise DataError(f"{path}: row 1: the header has {len(header)} columns; {described.name} has fewer")


def _read_lines(connection: duckdb.DuckDBPyConnection, described: CsvFormat, path: Path) -> int:
    """Read the file into the table `lines`; return its number of rows.

    Raises `DataError` at the first row that does not parse.
    """
    connection.execute(
        f"""
        CREATE TABLE lines AS SELECT * FROM read_csv(
            ?, columns = {dict(described.columns)}, auto_detect = false, header = true, delim = ',', quote = '"',
            escape = '"', compression = '{"gzip" if _is_gzip(path) else "none"}', store_rejects = true,
            rejects_limit = 1000)
        """,  # noqa: S608 (made of a format's constants)
        [_literally(path)],
    )
    reject = connection.execute(
        "SELECT line, column_name, error_message FROM reject_errors ORDER BY line, column_idx LIMIT 1"
    ).fetchone()
    if reject is not None:
        row, column, message = reject
        where = f"row {row}, column {column}" if column else f"row {row}"
        raise DataError(f"{path}: {where}: {_first_line(message)}")
    return _one(connection, "SELECT count(*) FROM lines")[0]


def _check_lines(connection: duckdb.DuckDBPyConnection, described: CsvFormat, path: Path) -> None:
    """Raise `DataError` at the first value that parses but is not allowed."""
    for column, condition, expected in described.wrong:
        found = connection.execute(
            f'SELECT rowid + 2, "{column}" FROM lines WHERE ({condition}) IS NOT FALSE ORDER BY rowid LIMIT 1'  # noqa: S608
        ).fetchone()
        if found is not None:
            value = "empty" if found[1] is None else repr(found[1])
            raise DataError(f"{path}: row {found[0]}, column {column}: {value} is not {expected}")


def _make_events(connection: duckdb.DuckDBPyConnection, described: CsvFormat, path: Path, rows: int) -> ImportReport:
    """Make the view `events` of `lines`."""
    reasons = " ".join(f"WHEN {condition} THEN '{reason}'" for reason, condition in described.dropped)
    connection.execute(
        f"CREATE VIEW judged AS SELECT *, rowid AS line, CASE {reasons} END AS reason FROM lines"  # noqa: S608
    )
    counts = dict(connection.execute("SELECT reason, count(*) FROM judged GROUP BY reason").fetchall())
    dropped = {reason: counts[reason] for reason, _ in described.dropped if reason in counts}
    connection.execute(
        "CREATE TABLE kept AS SELECT * EXCLUDE (line, reason), min(line) AS line FROM judged "
        "WHERE reason IS NULL GROUP BY ALL"
    )
    kept = _one(connection, "SELECT count(*) FROM kept")[0]
    if counts.get(None, 0) > kept:
        dropped["equal to an earlier row"] = counts[None] - kept
    connection.execute("DROP VIEW judged; DROP TABLE lines")
    connection.execute(f"CREATE VIEW events AS {described.events}")
    events, users, products, first_us, last_us = _one(
        connection,
        "SELECT count(*), count(DISTINCT user_id), count(DISTINCT product_id), min(timestamp_us), max(timestamp_us) "
        "FROM events",
    )
    if events == 0:
        left_out = "; ".join(f"{reason}: {count}" for reason, count in dropped.items())
        raise DataError(f"{path}: no events in {rows} rows ({left_out or 'the file ends after its header'})")
    return ImportReport(
        format=described.name,
        path=path,
        rows=rows,
        events=events,
        merged=kept - events,
        dropped=dropped,
        users=users,
        products=products,
        first_us=first_us,
        last_us=last_us,
    )


def _in_time_order(connection: duckdb.DuckDBPyConnection) -> Iterator[pa.Table]:
    with closing(connection):
        ordered = connection.sql(
            "SELECT * EXCLUDE (line, timestamp_us), timestamp_us AS timestamp FROM events ORDER BY timestamp_us, line"
        )
        for batch in pa.RecordBatchReader.from_stream(ordered):
            yield pa.Table.from_batches([batch]).select(EVENT_COLUMNS.names).cast(EVENT_COLUMNS)


def _is_gzip(path: Path) -> bool:
    return path.suffix == ".gz"


def _literally(path: Path) -> str:
    """Escape the characters of a path that DuckDB would read as a glob pattern."""
    return "".join(f"[{each}]" if each in "*?[" else each for each in str(path))


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None  # noqa: S101 - an aggregate has a row
    return row


def _first_line(error: object) -> str:
    return str(error).strip().splitlines()[0]
