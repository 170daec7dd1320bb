"""The event log: every accepted event in Parquet, from which states can be rebuilt.

    root/0000-shop-1f3a/        a source: a generated or imported history (partition 0, offsets = row numbers)
    root/0001-kafka-<topic id>/ a source: one Kafka topic, as the stream worker accepted it
        0003-000000000120..000000000181.parquet    partition 3, offsets 120 to 180 (`data.log.segments` has the names)

A file is named by the range of offsets that were consumed for it: each is a row or a dead letter. A lost file therefore
shows as a hole, a range of offsets that no file accounts for, and readers refuse a log with holes. A file is written
beside its place and renamed into it, so a reader never meets half a file. Writing a range again replaces the same file,
and where ranges overlap (a worker that crashed between writing and committing) a reader takes every offset once.
"""

import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from data.atomic import replace_folder, scratch_folder
from data.default_shop import SHOP
from data.errors import DataError, GoneError, LogHoleError
from data.lock import file_lock
from data.log.compaction import Compacted, compact_partition, delete_leftovers
from data.log.event_table import columns_of, declared, with_origin
from data.log.log import Log, check_consumed, check_range
from data.log.log_file import check_file, check_pages, count_rows, read_last, read_rows, write_file
from data.log.person import Person
from data.log.removal import Removed, drop_before, remove_rows, rows_of
from data.log.segments import Coverage, Hole, Segment, cover_all, segments_of
from data.log.sources import SOURCE_NAME, check_source
from data.log.suppression import Suppression
from data.schema import Schema

__all__ = ["EventLog", "LogFile"]

_SOURCE_FOLDER = re.compile(rf"(\d{{4}})-({SOURCE_NAME})")

_REWRITING = ".rewriting.lock"
"""The lock, in the log's folder, of who joins files (shared) or takes rows out of them (alone)."""

_T = TypeVar("_T")


class LogFile(msgspec.Struct, frozen=True, gc=False):
    """One file to read; its rows below offset `start` are in files before it."""

    source: str
    folder: Path
    segment: Segment
    start: int

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self.folder / self.segment.name

    @property
    def is_whole(self) -> bool:
        """Whether all of its rows are to be read."""
        return self.start == self.segment.first

    def count(self) -> int:
        """Return the number of events to read. Raises DataError where the file cannot be read."""
        return count_rows(self.path, None if self.is_whole else self.start)

    def check(self, *, pages: bool = False, needed: Collection[str] = ()) -> None:
        """Raise DataError where this version of the log cannot read the file; `pages` verifies every page.

        `needed`: columns that it must have.
        """
        check_file(self.path, needed)
        if pages:
            check_pages(self.path)


class EventLog(Log):
    """The log under one folder. Opening it touches nothing; the folder is made by the first write."""

    def __init__(self, root: Path, schema: Schema = SHOP) -> None:
        self.root = root
        self.schema = schema
        self.suppression = Suppression(root)
        self._columns = columns_of(schema).log

    def __str__(self) -> str:
        return str(self.root)

    # From file names only, and never refused.

    def sources(self) -> list[str]:
        """Return the names of the sources, oldest first."""
        return [name for name, _ in self._source_folders()]

    def coverage(self, source: str) -> dict[int, Coverage]:
        """Return what the files of a source account for, by partition."""
        return next((_coverage(folder) for name, folder in self._source_folders() if name == source), {})

    def listing(self, source: str | None = None) -> list[LogFile]:
        """List the files as `files` does, without refusing a log that has holes."""
        return self._listed(source)[0]

    def last_event(self, columns: Sequence[str]) -> dict[str, Any] | None:
        """Return some columns of the last event of the last file that has any; None for an empty log.

        Raises DataError where the file cannot be read.
        """
        last = (read_last(file.path, columns) for file in reversed(self.listing()))
        return next((row for row in last if row is not None), None)

    # Reading, refused where the log has a hole.

    def files(self, source: str | None = None) -> list[LogFile]:
        """List the files to read of one source or of all: sources oldest first, then by partition and offset.

        Raises LogHoleError where one is missing.
        """
        files, holes = self._listed(source)
        if holes:
            raise LogHoleError(self, holes)
        return files

    def tables(self, source: str | None = None) -> Iterator[pa.Table]:
        """Yield every event once, in the order of `files`, as tables of the log's columns, of bounded size.

        Raises LogHoleError, or DataError where a file cannot be read.
        """
        for file in self.files(source):
            for table in read_rows(file.path, file.start):
                yield declared(table, self._columns, self.schema)

    def read(self, source: str, partition: int, offsets: range) -> Iterator[pa.Table]:
        """Yield the events of a partition among `offsets` (step 1), every offset once and in order, as tables.

        Raises LogHoleError where a hole lies among `offsets`, DataError where a file cannot be read.
        """
        for name, folder in self._source_folders():
            found = _coverage(folder).get(partition) if name == source else None
            if found is None:
                continue
            if holes := found.holes_among(offsets):
                raise LogHoleError(self, [Hole(source, partition, hole) for hole in holes])
            for segment, start in found.read_among(offsets):
                for table in read_rows(folder / segment.name, max(start, offsets.start), offsets.stop):
                    yield self.suppression.without(declared(table, self._columns, self.schema))

    def count(self) -> int:
        """Return the number of events, from the files' footers.

        Raises LogHoleError, or DataError where a file cannot be read.
        """
        return sum(self._each_file(LogFile.count))

    def check(self, *, pages: bool = False) -> list[LogFile]:
        """Check that this version can read every file, and return the files.

        `pages` reads all of every file and verifies the checksum of every page: once in a process, unless the file was
        written since. Raises DataError, naming a file.
        """
        missing = columns_of(self.schema).missing
        needed = [name for name in self._columns.names if name not in missing]

        def look(file: LogFile) -> LogFile:
            file.check(pages=pages, needed=needed)
            return file

        return self._each_file(look)

    # Writing.

    def append(self, source: str, partition: int, consumed: range, events: pa.Table) -> Path:
        """Write the events among the `consumed` offsets of a partition (step 1) as one file; return its path.

        `events` has the columns of an event and `offset`, ascending; it may have no rows. Offsets without a row
        are dead letters. A range that is written again replaces its file. Raises ValueError where offsets are not so.
        """
        check_consumed(consumed, events)
        self.suppression.look()  # now: who has slept since these events came would bring somebody back
        events = self.suppression.without(events)
        path = self._place(source, Segment(partition, consumed.start, consumed.stop))
        write_file(path, [with_origin(events, source, partition, self.schema)], self._columns)
        return path

    def mark_lost(self, source: str, partition: int, offsets: range) -> Path:
        """Record that the events at `offsets` of a partition are lost for good, so that the hole is no longer refused.

        Files that hold some of them all the same are read. Raises ValueError where `offsets` is no range of step 1.
        """
        check_range("lost", offsets)
        path = self._place(source, Segment(partition, offsets.start, offsets.stop, "lost"))
        write_file(path, [], self._columns, lost=True)
        return path

    def write_history(self, source: str, batches: Iterable[pa.Table], *, rows_per_file: int = 2_000_000) -> int:
        """Write a whole history (tables of events' columns) as one source, atomically; return its number of rows.

        Offsets are row numbers. A source of that name is replaced. Raises DataError where there are no events.
        """
        check_source(source)
        rows = 0
        with scratch_folder(self.root / source) as scratch:
            for chunk in _chunks(map(self.suppression.without, batches), rows_per_file):
                stop = rows + chunk.num_rows
                placed = chunk.append_column("offset", pa.array(range(rows, stop), pa.int64()))
                table = with_origin(placed, source, 0, self.schema)
                write_file(scratch / Segment(0, rows, stop).name, [table], self._columns)
                rows = stop
            if rows == 0:
                raise DataError(f"history {source}: no events; nothing was written")
            replace_folder(scratch, self._source_folder(source))
        return rows

    # Compaction.

    def compact(
        self, source: str, partition: int | None = None, *, grace_s: float = 3600.0, now_s: float | None = None
    ) -> Compacted:
        """Join runs of small files of a partition (None: of each), and delete files joined `grace_s` seconds ago.

        Safe beside workers, readers and other compactions: a joined file is put in place atomically, readers prefer it
        from then on, and its parts stay for those that listed them before. `runs_to_join` decides, from names alone,
        what is worth joining. `now_s` is the file system's time (Unix time), by default this machine's.

        Raises DataError where a part cannot be read; nothing is lost then.
        """
        folder = next((folder for name, folder in self._source_folders() if name == source), None)
        if folder is None:
            return Compacted()
        try:
            with file_lock(self.root / _REWRITING, shared=True, wait=False):
                return self._compact(folder, partition, grace_s, now_s)
        except BlockingIOError:  # somebody's rows are being taken out: this is for another minute
            return Compacted()

    def _compact(self, folder: Path, partition: int | None, grace_s: float, now_s: float | None) -> Compacted:
        before_s = (time.time() if now_s is None else now_s) - grace_s
        halves = [name for name in _names(folder) if name[0] == "." and segments_of([name[1:].rpartition(".")[0]])]
        done = Compacted(deleted=delete_leftovers(folder, halves, before_s))
        for number, found in _coverage(folder).items():
            if partition in {None, number}:
                done += compact_partition(folder, found, before_s)
        return done

    # Taking events out.

    def events_of(self, person: Person) -> Iterator[pa.Table]:
        """Yield a person's events, each once, as `tables` does.

        Raises DataError where a file cannot be read; holes are none of this.
        """
        for file in self.listing():
            for table in rows_of(file.path, person):
                mine = table if file.is_whole else table.filter(pc.greater_equal(table.column("offset"), file.start))
                yield declared(mine, self._columns, self.schema)

    def remove(self, person: Person) -> Removed:
        """Take a person's rows out of every file, each of which is replaced whole, under its name.

        Compactions wait meanwhile. Raises DataError, by name, where a file cannot be read.
        """
        with file_lock(self.root / _REWRITING):
            folders = (folder for _, folder in self._source_folders())
            return sum((remove_rows(folder, _names(folder), person) for folder in folders), Removed())

    def drop_before(self, before_us: int) -> Removed:
        """Empty the files in which nothing happened from then on (UTC µs); what they consumed stays accounted for.

        Compactions wait meanwhile. Raises DataError, by name, where a file cannot be read.
        """
        with file_lock(self.root / _REWRITING):
            folders = (folder for _, folder in self._source_folders())
            return sum((drop_before(folder, _names(folder), before_us) for folder in folders), Removed())

    def _listed(self, source: str | None) -> tuple[list[LogFile], list[Hole]]:
        files: list[LogFile] = []
        holes: list[Hole] = []
        for name, folder in self._source_folders():
            if source not in {None, name}:
                continue
            for partition, found in _coverage(folder).items():
                files += [LogFile(name, folder, segment, start) for segment, start in found.read]
                holes += [Hole(name, partition, hole) for hole in found.holes]
        return files, holes

    def _each_file(self, look: Callable[[LogFile], _T]) -> list[_T]:
        """Apply `look` to each file.

        Once more with a new list where a file is gone, since compaction may have deleted it.
        """
        try:
            return [look(file) for file in self.files()]
        except GoneError:
            return [look(file) for file in self.files()]

    def _place(self, source: str, segment: Segment) -> Path:
        return self._source_folder(source) / segment.name

    def _source_folders(self) -> list[tuple[str, Path]]:
        if not self.root.is_dir():
            return []
        found = []
        for path in sorted(self.root.iterdir()):
            match = _SOURCE_FOLDER.fullmatch(path.name)
            if match and path.is_dir():
                found.append((match.group(2), path))
        return found

    def _source_folder(self, source: str) -> Path:
        """Return a source's folder, made with the next number if it is missing; several workers may do so at once."""
        check_source(source)
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


def _coverage(folder: Path) -> dict[int, Coverage]:
    return cover_all(segments_of(_names(folder)))


def _names(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name


def _chunks(batches: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Regroup tables into tables of about `rows` rows."""
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
