"""The event log: every accepted event in Parquet, the truth from which states can be rebuilt.

    root/0000-shop-1f3a/        a source: a generated or imported history (partition 0, offsets = row numbers)
    root/0001-kafka-<topic id>/ a source: one Kafka topic, as the stream worker accepted it
        0003-000000000120-000000000180.parquet    partition 3, offsets 120 to 180

A file is written beside its place and renamed into it, so a reader never meets half a file. A file's name is its
partition and offset range: writing a range again replaces the same file, and where ranges overlap (a worker that
crashed between writing and committing) a reader takes every offset once.
"""

import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import DataError
from data.log.event_table import EVENT_COLUMNS

__all__ = ["LOG_COLUMNS", "LOG_VERSION", "EventLog", "LogFile"]

LOG_VERSION = 1
_VERSION_KEY = b"encore.log_version"

LOG_COLUMNS = pa.schema(
    [
        *EVENT_COLUMNS,
        pa.field("source", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
    ],
    metadata={_VERSION_KEY: str(LOG_VERSION).encode()},
)
"""An event's columns and where it came from."""

_SOURCE_NAME = re.compile(r"(\d{4})-([A-Za-z0-9_.-]+)")
_FILE_NAME = re.compile(r"(\d{4,})-(\d{12,})-(\d{12,})\.parquet")


class LogFile(NamedTuple):
    """One file of the log; offsets at or below `after` are already in files before it."""

    path: Path
    source: str
    partition: int
    first: int
    last: int
    after: int


class EventLog:
    """The log under one folder. Opening it touches nothing; the folder appears with the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def sources(self) -> list[str]:
        """Names of the sources, oldest first."""
        return [name for name, _ in self._source_folders()]

    def files(self) -> list[LogFile]:
        """The files to read, sources oldest first, then by partition and offset; covered files left out."""
        found: list[LogFile] = []
        for source, folder in self._source_folders():
            ranges = []
            for path in folder.iterdir():
                match = _FILE_NAME.fullmatch(path.name)
                if match:
                    partition, first, last = map(int, match.groups())
                    ranges.append((partition, first, -last, path))
            covered: dict[int, int] = {}
            for partition, first, minus_last, path in sorted(ranges):
                after = covered.get(partition, -1)
                if -minus_last > after:
                    found.append(LogFile(path, source, partition, first, -minus_last, after))
                    covered[partition] = -minus_last
        return found

    def ends(self, source: str) -> dict[int, int]:
        """The last offset kept of each partition of a source."""
        return {file.partition: file.last for file in self.files() if file.source == source}

    def read(self, source: str, partition: int, offsets: range) -> Iterator[pa.Table]:
        """What the log holds of a partition among `offsets` (step 1), every offset once, a table per file."""
        for file in self.files():
            if (file.source, file.partition) == (source, partition) and file.first < offsets.stop:
                start = max(offsets.start, file.after + 1)
                if start <= file.last:
                    inside = [("offset", ">=", start), ("offset", "<", offsets.stop)]
                    yield pq.read_table(file.path, filters=inside).sort_by("offset")

    def count(self) -> int:
        """How many events the log holds, from its files' footers."""
        return sum(min(pq.read_metadata(file.path).num_rows, file.last - file.after) for file in self.files())

    def append(self, source: str, partition: int, events: pa.Table) -> Path:
        """Write events of one partition, in offset order, as one file named by their range.

        `events` has the columns of `EVENT_COLUMNS` and `offset`; at least one row.
        """
        offsets = events.column("offset")
        first, last = offsets[0].as_py(), offsets[-1].as_py()
        folder = self._source_folder(source)
        path = folder / f"{partition:04d}-{first:012d}-{last:012d}.parquet"
        _write(path, [_with_origin(events, source, partition)])
        return path

    def write_history(self, source: str, batches: Iterable[pa.Table], *, rows_per_file: int = 2_000_000) -> int:
        """Write a whole history (tables of `EVENT_COLUMNS`) as one source, all of it or nothing; its number of rows.

        Offsets are row numbers. A source of that name is replaced.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        scratch = self.root / f".{source}.{uuid.uuid4().hex}"
        scratch.mkdir()
        try:
            rows = 0
            for chunk in _chunks(batches, rows_per_file):
                offsets = pa.array(range(rows, rows + chunk.num_rows), pa.int64())
                table = _with_origin(chunk.append_column("offset", offsets), source, 0)
                _write(scratch / f"0000-{rows:012d}-{rows + chunk.num_rows - 1:012d}.parquet", [table])
                rows += chunk.num_rows
            if rows == 0:
                raise DataError(f"history {source}: no events; nothing was written")
            folder = self._source_folder(source)
            old = scratch.with_name(f"{scratch.name}.old")
            folder.rename(old)
            scratch.rename(folder)
            shutil.rmtree(old)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        return rows

    def compact(self, source: str, *, at_least: int = 16) -> int:
        """Join a source's small files into one per partition where there are `at_least`; how many files went."""
        removed = 0
        by_partition: dict[int, list[LogFile]] = {}
        for file in self.files():
            if file.source == source:
                by_partition.setdefault(file.partition, []).append(file)
        for partition, files in by_partition.items():
            if len(files) < at_least:
                continue
            first, last = files[0].first, files[-1].last
            whole = f"{partition:04d}-{first:012d}-{last:012d}.parquet"
            _write(files[0].path.with_name(whole), (_read(file) for file in files))
            for path in files[0].path.parent.glob(f"{partition:04d}-*.parquet"):
                # A worker may have appended past `last` meanwhile: what the whole does not hold stays.
                match = _FILE_NAME.fullmatch(path.name)
                if match and path.name != whole and first <= int(match.group(2)) and int(match.group(3)) <= last:
                    path.unlink()
                    removed += 1
        return removed

    def check(self) -> None:
        """Refuse, by name, a file that cannot be read as this version of the log."""
        for file in self.files():
            try:
                metadata = pq.read_schema(file.path).metadata or {}
            except (pa.ArrowException, OSError) as error:
                raise DataError(
                    f"event log: {file.path} cannot be read ({error}); restore it from a copy, or remove it and "
                    "run `encore rebuild` (its events are then lost)"
                ) from error
            version = metadata.get(_VERSION_KEY, b"none").decode()
            if version != str(LOG_VERSION):
                raise DataError(
                    f"event log: {file.path} has version {version}; this Encore reads version {LOG_VERSION}; "
                    "use the Encore that wrote it"
                )

    def _source_folders(self) -> list[tuple[str, Path]]:
        if not self.root.is_dir():
            return []
        found = []
        for path in sorted(self.root.iterdir()):
            match = _SOURCE_NAME.fullmatch(path.name)
            if match and path.is_dir():
                found.append((match.group(2), path))
        return found

    def _source_folder(self, source: str) -> Path:
        """The folder of a source, made with the next number where there is none (several workers may ask at once)."""
        while True:
            folders = self._source_folders()
            for name, path in folders:
                if name == source:
                    return path
            number = 1 + int(folders[-1][1].name[:4]) if folders else 0
            try:
                (self.root / f"{number:04d}-{source}").mkdir(parents=True)
            except FileExistsError:
                continue


def _with_origin(events: pa.Table, source: str, partition: int) -> pa.Table:
    rows = events.num_rows
    events = events.append_column("source", pa.array([source], pa.string()).take(pa.array([0] * rows, pa.int32())))
    events = events.append_column("partition", pa.array([partition] * rows, pa.int32()))
    return events.select(LOG_COLUMNS.names).cast(LOG_COLUMNS)


def _write(path: Path, tables: Iterable[pa.Table]) -> None:
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with pq.ParquetWriter(scratch, LOG_COLUMNS, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table, row_group_size=250_000)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _read(file: LogFile) -> pa.Table:
    return pq.read_table(file.path, filters=[("offset", ">", file.after)])


def _chunks(batches: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Regroup tables into ones of about `rows` rows."""
    waiting: list[pa.Table] = []
    count = 0
    for batch in batches:
        if batch.num_rows:
            waiting.append(batch)
            count += batch.num_rows
        if count >= rows:
            yield pa.concat_tables(waiting)
            waiting, count = [], 0
    if waiting:
        yield pa.concat_tables(waiting)
