"""The event log: every accepted event in Parquet, from which states can be rebuilt.

    root/0000-shop-1f3a/        a source: a generated or imported history (partition 0, offsets = row numbers)
    root/0001-kafka-<topic id>/ a source: one Kafka topic, as the stream worker accepted it
        0003-000000000120..000000000181.parquet    partition 3, offsets 120 to 180 (`data.log.segments` has the names)

A file is named by the range of offsets that were consumed for it: each is a row or a dead letter. A lost file therefore
shows as a hole, a range of offsets that no file accounts for, and readers refuse a log with holes. A file is written
whole or not at all (`data.filesystem`), so a reader never meets half a file. Writing a range again replaces the same
file, and where ranges overlap (a worker that crashed between writing and committing) a reader takes every offset once.
"""

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from data.default_shop import SHOP
from data.errors import DataError, GoneError, LogHoleError
from data.filesystem.folder import Folder
from data.filesystem.storage import Storage
from data.log.compaction import Compacted, compact_partition, delete_leftovers, runs_to_join
from data.log.event_table import columns_of, declared, with_origin
from data.log.listings import Listings
from data.log.log import Log, check_consumed, check_range
from data.log.log_file import check_file, check_pages, count_rows, read_last, read_rows, write_file
from data.log.person import Person
from data.log.removal import Removed, drop_before, remove_rows, rows_of
from data.log.segments import Coverage, Hole, Segment, unfinished_of
from data.log.sources import SOURCE_NAME, check_source
from data.log.suppression import Suppression
from data.schema import Schema

__all__ = ["COPIES", "EventLog", "LogFile"]

_SOURCE_FOLDER = re.compile(rf"(\d{{4}})-({SOURCE_NAME})")

_UNFINISHED = Segment(0, 10**15, 10**15 + 1, "lost")
"""Marks a history while its files are replaced one by one: the hole before it makes readers refuse the part."""

_REWRITING = ".rewriting.lock"
"""Lock in the log's storage: shared by those that join files, exclusive for those that take rows out of them."""

COPIES = "iceberg"
"""Folder of the copies of files, by source, that a table needs (`data.lake.log_table`)."""

_T = TypeVar("_T")


class LogFile(msgspec.Struct, frozen=True, gc=False):
    """One file to read; its rows below offset `start` are in files before it."""

    source: str
    storage: Storage
    segment: Segment
    start: int

    @property
    def path(self) -> Path:
        """Path at which the file can be read: its own, or that of a copy, which is fetched where it is absent."""
        return self.storage.local(self.segment.name)

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
        path = self.path
        try:
            check_file(path, needed)
            if pages:
                check_pages(path)
        except GoneError:
            raise
        except DataError as error:
            if not self.storage.is_remote:
                raise
            path.unlink(missing_ok=True)  # fetched again at the next attempt
            raise DataError(f"{error} (the copy of {self.storage}/{self.segment.name})") from error


class EventLog(Log):
    """The log in a storage, or under one folder. Opening it writes nothing; its folder is made by the first write."""

    def __init__(self, root: Path | Storage, schema: Schema = SHOP) -> None:
        self.storage: Storage = Folder(root) if isinstance(root, Path) else root
        self.schema = schema
        self.suppression = Suppression(self.storage)
        self._listings = Listings()
        self._columns = columns_of(schema).log

    def __str__(self) -> str:
        return str(self.storage)

    # From file names only, and never refused.

    def sources(self) -> list[str]:
        """Return the names of the sources, oldest first."""
        return [name for name, _ in self._source_folders()]

    def coverage(self, source: str) -> dict[int, Coverage]:
        """Return what the files of a source account for, by partition."""
        return next((self._coverage(name, folder) for name, folder in self._source_folders() if name == source), {})

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
        yield from self.tables_of(self.files(source))

    def tables_of(self, files: Iterable[LogFile]) -> Iterator[pa.Table]:
        """Yield the events of some files, each once, as `tables` does; a table is of one partition."""
        for file in files:
            file.check()
            for table in read_rows(file.path, file.start):
                yield declared(table, self._columns, self.schema)

    def read(self, source: str, partition: int, offsets: range) -> Iterator[pa.Table]:
        """Yield the events of a partition among `offsets` (step 1), every offset once and in order, as tables.

        Raises LogHoleError where a hole lies among `offsets`, DataError where a file cannot be read.
        """
        for name, folder in self._source_folders():
            coverage = self._coverage(name, folder).get(partition) if name == source else None
            if coverage is None:
                continue
            if holes := coverage.holes_among(offsets):
                raise LogHoleError(self, [Hole(source, partition, hole) for hole in holes])
            for segment, start in coverage.read_among(offsets):
                for table in read_rows(folder.local(segment.name), max(start, offsets.start), offsets.stop):
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
        self.suppression.look(now=True)  # a worker that has slept meanwhile would bring back a forgotten person
        events = self.suppression.without(events)
        segment = Segment(partition, consumed.start, consumed.stop)
        return self._put(source, segment, [with_origin(events, source, partition, self.schema)])

    def mark_lost(self, source: str, partition: int, offsets: range) -> Path:
        """Record that the events at `offsets` of a partition are lost for good, so that the hole is no longer refused.

        Files that hold some of them nevertheless are read. Raises ValueError where `offsets` is no range of step 1.
        """
        check_range("lost", offsets)
        return self._put(source, Segment(partition, offsets.start, offsets.stop, "lost"), [])

    def write_history(self, source: str, batches: Iterable[pa.Table], *, rows_per_file: int = 2_000_000) -> int:
        """Write a whole history (tables of events' columns) as one source, atomically; return its number of rows.

        Offsets are row numbers. A source of that name is replaced. Raises DataError where there are no events.
        """
        check_source(source)
        rows = 0
        with self.storage.scratch(source) as scratch:
            for chunk in _chunks(map(self.suppression.without, batches), rows_per_file):
                stop = rows + chunk.num_rows
                placed = chunk.append_column("offset", pa.array(range(rows, stop), pa.int64()))
                table = with_origin(placed, source, 0, self.schema)
                write_file(scratch / Segment(0, rows, stop).name, [table], self._columns)
                rows = stop
            if rows == 0:
                raise DataError(f"history {source}: no events; nothing was written")
            name = self._source_folder(source)
            self._listings.forget(source)
            self.storage.replace(name, scratch, unfinished=_UNFINISHED.name)
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
            if folder.is_remote and not self._has_work(source, folder):
                return Compacted()  # a lock there takes several requests
            with self.storage.lock(_REWRITING, shared=True, wait=False):
                return self._compact(source, folder, partition, grace_s, now_s)
        except BlockingIOError:  # rows are being taken out: compaction can wait
            return Compacted()

    def _has_work(self, source: str, storage: Storage) -> bool:
        return any(coverage.spare or runs_to_join(coverage) for coverage in self._coverage(source, storage).values())

    def _compact(
        self, source: str, storage: Storage, partition: int | None, grace_s: float, now_s: float | None
    ) -> Compacted:
        before_s = (time.time() if now_s is None else now_s) - grace_s
        done = Compacted(deleted=delete_leftovers(storage, unfinished_of(storage.names()), before_s))
        for number, coverage in self._coverage(source, storage).items():
            if partition in {None, number}:
                done += compact_partition(storage, coverage, before_s)
        return done

    # Taking events out.

    def events_of(self, person: Person) -> Iterator[pa.Table]:
        """Yield a person's events, each once, as `tables` does.

        Raises DataError where a file cannot be read; holes are ignored.
        """
        for file in self.listing():
            for table in rows_of(file.path, person):
                rows = table if file.is_whole else table.filter(pc.greater_equal(table.column("offset"), file.start))
                yield declared(rows, self._columns, self.schema)

    def remove(self, person: Person) -> Removed:
        """Take a person's rows out of every file, each of which is replaced whole, under its name.

        Compactions wait meanwhile. Raises DataError, which names the file, where one cannot be read.
        """
        with self.storage.lock(_REWRITING):
            return sum(
                (remove_rows(folder, folder.names(), person) for folder in self._folders_with_copies()), Removed()
            )

    def drop_before(self, before_us: int, slack_us: int = 0) -> Removed:
        """Take out events from before a time (UTC µs); of a file with newer ones too, once some is `slack_us` older.

        What was consumed stays accounted for. Compactions wait meanwhile. Raises DataError, which names the file, where
        one cannot be read.
        """
        with self.storage.lock(_REWRITING):
            removed = (
                drop_before(folder, folder.names(), before_us, slack_us) for folder in self._folders_with_copies()
            )
            return sum(removed, Removed())

    def keeping_rows(self) -> AbstractContextManager[object]:
        """Keep rows from being taken out within a `with` block, and wait while they are."""
        return self.storage.lock(_REWRITING, shared=True)

    def _listed(self, source: str | None) -> tuple[list[LogFile], list[Hole]]:
        files: list[LogFile] = []
        holes: list[Hole] = []
        for name, folder in self._source_folders():
            if source not in {None, name}:
                continue
            for partition, coverage in self._coverage(name, folder).items():
                files += [LogFile(name, folder, segment, start) for segment, start in coverage.read]
                holes += [Hole(name, partition, hole) for hole in coverage.holes]
        return files, holes

    def _each_file(self, look: Callable[[LogFile], _T]) -> list[_T]:
        """Apply `look` to each file; again to a new list where one is gone, which compaction may have deleted."""
        try:
            return [look(file) for file in self.files()]
        except GoneError:
            return [look(file) for file in self.files()]

    def _put(self, source: str, segment: Segment, tables: list[pa.Table]) -> Path:
        place = self.storage / self._source_folder(source)
        lost = segment.kind == "lost"
        path = place.put(segment.name, lambda path: write_file(path, tables, self._columns, lost=lost))
        self._listings.note(source, segment.partition, segment.stop)
        return path

    def _coverage(self, source: str, storage: Storage) -> dict[int, Coverage]:
        return self._listings.coverage(source, storage)

    def _source_folders(self) -> list[tuple[str, Storage]]:
        return [(name, self.storage / folder) for name, folder in self._source_names()]

    def _folders_with_copies(self) -> list[Storage]:
        """Return the folders of sources, and those of a table's copies (`data.lake.log_table`)."""
        copies = self.storage / COPIES
        return [*(folder for _, folder in self._source_folders()), *(copies / name for name in copies.folders())]

    def _source_names(self) -> list[tuple[str, str]]:
        """Return each source and the name of its folder. Raises DataError where one has two."""
        matches = filter(None, map(_SOURCE_FOLDER.fullmatch, self.storage.folders()))
        folders = [(match.group(2), match.group()) for match in matches]
        if len({name for name, _ in folders}) < len(folders):
            names = [name for name, _ in folders]
            twice = [folder for name, folder in folders if names.count(name) > 1]
            raise DataError(
                f"event log: {self} has {' and '.join(twice)} of one source; move the files of the later one into the "
                "first, and remove it"
            )
        return folders

    def _source_folder(self, source: str) -> str:
        """Return a source's folder, made with the next number if it is missing; several workers may do so at once."""
        check_source(source)
        while True:
            folders = self._source_names()
            if source in (folder_of := dict(folders)):
                return folder_of[source]
            number = 1 + int(folders[-1][1][:4]) if folders else 0
            name = f"{number:04d}-{source}"
            if (self.storage / name).make():
                return name


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
