"""One file of the event log: Parquet with a checksum for every page, written atomically."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.atomic import whole_file
from data.errors import DataError, GoneError
from data.log.event_table import LOG_VERSIONS, VERSION_KEY
from data.units import to_micros

__all__ = [
    "ROW_GROUP",
    "check_file",
    "check_pages",
    "count_rows",
    "read_columns",
    "read_last",
    "read_rows",
    "times_of",
    "write_file",
]

ROW_GROUP = 250_000
"""Rows of a row group: readers hold one at a time."""

_LOST_KEY = b"encore.lost"


def write_file(path: Path, tables: Iterable[pa.Table], columns: pa.Schema, *, lost: bool = False) -> None:
    """Write tables of the log's `columns` as one file. `lost` records in it that the events of its range are lost."""
    schema = columns.with_metadata({**columns.metadata, _LOST_KEY: b"true"}) if lost else columns
    with (
        whole_file(path) as scratch,
        pq.ParquetWriter(scratch, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        for table in _regrouped(tables):
            writer.write_table(table, row_group_size=ROW_GROUP)


def read_rows(
    path: Path, start: int = 0, stop: int | None = None, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Yield the rows of offsets from `start` up to `stop`, in order, as tables of bounded size; pages are verified.

    Raises GoneError where the file does not exist, DataError where it cannot be read.
    """
    names = None if columns is None else list(columns)
    with _opened(path) as parquet:
        for group in range(parquet.num_row_groups):
            table = parquet.read_row_group(group, columns=names)
            offsets = table.column("offset").to_numpy()
            first = int(offsets.searchsorted(start))
            end = len(offsets) if stop is None else int(offsets.searchsorted(stop))
            if first < end:
                yield table.slice(first, end - first)


def count_rows(path: Path, start: int | None = None) -> int:
    """Return a file's number of rows, from its footer, or of those from offset `start` on; raises as `read_rows`."""
    if start is not None:
        return sum(table.num_rows for table in read_rows(path, start, columns=["offset"]))
    with _opened(path) as parquet:
        rows: int = parquet.metadata.num_rows
        return rows


def read_last(path: Path, columns: Sequence[str]) -> dict[str, Any] | None:
    """Return some columns of the last row; None where there is no row. Raises as `read_rows` does."""
    with _opened(path) as parquet:
        if not parquet.metadata.num_rows:
            return None
        rows = parquet.read_row_group(parquet.num_row_groups - 1, columns=list(columns))
        row: dict[str, Any] = rows.slice(rows.num_rows - 1).to_pylist()[0]
        return row


def times_of(path: Path) -> tuple[int, int] | None:
    """Return the oldest and the newest time of a file's events, µs, by its footer; None where it has none.

    Raises as `read_rows` does.
    """
    with _opened(path) as parquet:
        column = parquet.schema_arrow.names.index("timestamp")
        groups = range(parquet.num_row_groups)
        statistics = [parquet.metadata.row_group(number).column(column).statistics for number in groups]
        if not statistics:
            return None
        return min(to_micros(group.min) for group in statistics), max(to_micros(group.max) for group in statistics)


def read_columns(path: Path) -> pa.Schema:
    """Return the columns of a file. Raises as `read_rows` does."""
    with _opened(path) as parquet:
        return parquet.schema_arrow


def check_file(path: Path, needed: Collection[str] = ()) -> None:
    """Raise DataError where this version of the log cannot read a file, or it lacks a column that is `needed`."""
    columns = read_columns(path)
    version = (columns.metadata or {}).get(VERSION_KEY, b"none").decode()
    if version not in map(str, LOG_VERSIONS):
        raise DataError(
            f"event log: {path} has version {version}; this Encore reads versions {LOG_VERSIONS[0]} to "
            f"{LOG_VERSIONS[-1]}; use the Encore that wrote it"
        )
    if absent := [name for name in needed if name not in columns.names]:
        raise DataError(
            f"event log: {path} has no column {', '.join(absent)}, which the schema says that every event has; give it "
            "a default there, or this schema a log of its own"
        )


def check_pages(path: Path) -> None:
    """Verify the checksum of every page, once in a process unless the file was written since.

    Raises DataError where one is wrong, GoneError where the file is absent.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise _gone(path) from error
    _verify(path, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=100_000)
def _verify(path: Path, *_identity: int) -> None:
    for _ in read_rows(path):
        pass


def _gone(path: Path) -> GoneError:
    return GoneError(
        f"event log: {path} was there when the log was listed and is gone (compacted, or moved away); run again"
    )


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
            yield parquet
    except FileNotFoundError as error:
        raise _gone(path) from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"event log: {path} cannot be read ({error}); restore it from a copy, or remove it: what to do about the "
            "hole `encore log check` then says"
        ) from error


def _regrouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the same rows in tables of whole row groups: many small groups would make a file large and slow."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        if rows >= ROW_GROUP:
            together = pa.concat_tables(waiting)
            rest = rows % ROW_GROUP
            yield together.slice(0, rows - rest)
            waiting, rows = [together.slice(rows - rest)], rest
    if rows:
        yield pa.concat_tables(waiting)
