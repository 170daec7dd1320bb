"""The event log as a table of Apache Iceberg, for Spark, Trino and other engines.

Its files are the log's own; nothing is copied: a snapshot names the files that a reader of the log would read now, and
its properties hold the last offset of each partition. A file that is read only in part, or whose columns are of an
older schema with other types or defaults, is there as a copy, beside the log.

The log replaces files: joined files are deleted after an hour, and files from which rows were taken are rewritten under
their name. So a snapshot can be read until then, and the next one is to be made before.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, RESTError
from pyiceberg.io.pyarrow import parquet_files_to_data_files
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot
from sqlalchemy.exc import SQLAlchemyError

from data.clock import Clock, wall_clock
from data.errors import ConfigurationError, UnavailableError
from data.filesystem.storage import Storage
from data.log.event_log import COPIES, EventLog, LogFile
from data.log.event_table import columns_of, declared
from data.log.log_file import count_rows, read_columns, read_rows, write_file
from data.log.segments import Segment, segments_of
from data.printable import one_line
from data.units import from_micros

__all__ = ["LogTable", "Synced", "address_of"]

_LOCK = ".iceberg.lock"
_LOG = "encore.log"
"""The property of a table that says which log it is of."""

_OFFSETS = "encore.offsets"
_COLUMNS = "encore.columns"
"""The property that holds the columns and defaults for which files were found readable as they are."""

_MAPPING = "schema.name-mapping.default"
_KEPT = timedelta(hours=1)
"""How long a joined file is kept, and so how long a snapshot can be read for certain."""

_PROPERTIES = {
    # Bounds of a column are values of it: no ids of people or products leave the log's own files.
    "write.metadata.metrics.default": "none",
    **{f"write.metadata.metrics.column.{name}": "full" for name in ("timestamp", "source", "partition", "offset")},
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "10",
}


class Synced(NamedTuple):
    """Files and rows of the table, and how many files were added, were removed, and are copies."""

    files: int
    rows: int
    added: int
    removed: int
    copies: int


class LogTable:
    """One log's table in a catalog; `name` is NAMESPACE.TABLE. Constructing it does no I/O."""

    def __init__(self, log: EventLog, catalog: Catalog, name: str, clock: Clock = wall_clock) -> None:
        self._log = log
        self._catalog = catalog
        self._name = name
        self._clock = clock
        self._log_columns = columns_of(log.schema).log
        defaults = columns_of(log.schema).missing
        self._declared = ", ".join(
            f"{field.name} {field.type} {defaults.get(field.name)}" for field in self._log_columns
        )
        self._columns = pa.schema([field.with_nullable(True) for field in self._log_columns])

    def sync(self, tell: Callable[[str], None] = lambda _: None) -> Synced:
        """Make the table name the files that the log has now, in one snapshot; write nothing where it does already.

        Raises BlockingIOError where another process does so, LogHoleError where the log has a hole, DataError where a
        file cannot be read, ConfigurationError where the table is another log's or its columns have other types, and
        UnavailableError where its catalog cannot be reached or another writer commits to it.
        """
        with self._log.storage.lock(_LOCK, wait=False), self._log.keeping_rows():
            with self._translated():
                table = self._table()
            files = self._log.files()
            present = {str(file.file_path): file for file in _data_files(table)}
            tell(f"{len(files):,} files of the log, {len(present):,} of the table")
            wanted = self._wanted(files, present if table.properties.get(_COLUMNS) == self._declared else {})
            same = {
                path for path, size in wanted.items() if path in present and size == present[path].file_size_in_bytes
            }
            added = [path for path in wanted if path not in same]
            removed = [file for path, file in present.items() if path not in same]
            with self._translated():
                self._commit(table, added, removed, _offsets(files))
            copies = self._drop_copies(wanted)
            current = _data_files(table) if added or removed else present.values()
            return Synced(len(wanted), sum(file.record_count for file in current), len(added), len(removed), copies)

    def _table(self) -> Table:
        try:
            table = self._catalog.load_table(self._name)
        except NoSuchTableError:
            self._catalog.create_namespace_if_not_exists(self._name.rpartition(".")[0])
            properties = {**_PROPERTIES, _LOG: str(self._log.storage)}
            return self._catalog.create_table(self._name, self._columns, properties=properties)
        if (other := table.properties.get(_LOG)) != str(self._log.storage):
            raise ConfigurationError(
                f"the table {self._name} is {'no log of Encore' if other is None else f'of the log in {other}'}: name "
                "another one by --table"
            )
        try:
            with table.update_schema() as change:
                change.union_by_name(self._columns)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"the table {self._name} has columns of other types ({one_line(error)}): name another one by --table"
            ) from error
        return table

    def _wanted(self, files: list[LogFile], present: dict[str, DataFile]) -> dict[str, int]:
        """Return the files that the table should name, with their bytes; copies that are missing are made."""
        marks = {storage: storage.marks() for storage in {file.source: file.storage for file in files}.values()}
        wanted = {}
        for file in files:
            storage, name = file.storage, file.segment.name
            listed = marks[storage].get(name)
            address = f"{address_of(storage)}/{name}"
            data_file = present.get(address)
            if (
                listed is not None
                and file.is_whole
                and data_file is not None
                and data_file.file_size_in_bytes == listed.size
            ):
                wanted[address] = listed.size
            elif file.is_whole and self._fits(read_columns(file.path)):
                wanted[address] = file.path.stat().st_size
            else:
                storage = self._log.storage / COPIES / file.source
                name = Segment(file.segment.partition, file.start, file.segment.stop).name
                mark = storage.mark(name)
                if mark is None or count_rows(storage.local(name)) != file.count():
                    storage.put(name, partial(self._copy, file))
                    mark = storage.mark(name)
                wanted[f"{address_of(storage)}/{name}"] = 0 if mark is None else mark.size
        return wanted

    def _fits(self, columns: pa.Schema) -> bool:
        """Return whether a reader that knows no defaults reads a file with these columns as the schema declares."""
        missing = columns_of(self._log.schema).missing
        return all(
            columns.field(field.name).type == field.type
            if field.name in columns.names
            else missing.get(field.name) is None
            for field in self._log_columns
        ) and set(columns.names) <= set(self._log_columns.names)

    def _copy(self, file: LogFile, path: Path) -> None:
        tables = (declared(table, self._log_columns, self._log.schema) for table in read_rows(file.path, file.start))
        write_file(path, tables, self._log_columns)

    def _commit(
        self, table: Table, added: list[str], removed: list[DataFile], offsets: dict[str, dict[int, int]]
    ) -> None:
        # The log's files have names of columns and no numbers.
        properties = {_MAPPING: table.schema().name_mapping.model_dump_json(), _COLUMNS: self._declared}
        summary = {_OFFSETS: msgspec.json.encode(offsets).decode()}
        with table.transaction() as change:
            if not properties.items() <= table.properties.items():
                change.set_properties(properties)
            if added or removed:
                snapshot = change.update_snapshot(summary).overwrite()
                for file in removed:
                    snapshot.delete_data_file(file)
                for file in parquet_files_to_data_files(table.io, change.table_metadata, iter(added)):
                    snapshot.append_data_file(file)
                snapshot.commit()
        self._expire(table)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise our own errors for a catalog's, and for conflicts with other writers."""
        try:
            yield
        except CommitFailedException as error:
            raise UnavailableError(
                f"the table {self._name} was changed by somebody else meanwhile ({error}); run this again"
            ) from error
        except (OSError, RESTError, SQLAlchemyError) as error:
            raise UnavailableError(
                f"the table {self._name} cannot be reached ({one_line(error)}); see that its catalog answers, and lets "
                "us write"
            ) from error

    def _expire(self, table: Table) -> None:
        """Expire snapshots whose files the log may have deleted, and delete the metadata that only they name."""
        before = from_micros(self._clock()) - _KEPT
        current = table.current_snapshot()
        old = [
            snapshot
            for snapshot in table.snapshots()
            if snapshot != current and datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC) < before
        ]
        if not old:
            return
        needed = {
            path for snapshot in table.snapshots() if snapshot not in old for path in _metadata_of(table, snapshot)
        }
        useless = {path for snapshot in old for path in _metadata_of(table, snapshot)} - needed
        table.maintenance.expire_snapshots().by_ids([snapshot.snapshot_id for snapshot in old]).commit()
        for path in useless:
            with suppress(OSError):
                table.io.delete(path)

    def _drop_copies(self, wanted: Collection[str]) -> int:
        """Delete copies that no readable snapshot needs any more; return how many are needed."""
        before_s = self._clock() / 1e6 - _KEPT.total_seconds()
        place, needed = self._log.storage / COPIES, 0
        for storage in (place / source for source in place.folders()):
            for name, mark in storage.marks().items():
                if f"{address_of(storage)}/{name}" in wanted:
                    needed += 1
                elif segments_of([name]) and mark.modified_ns / 1e9 < before_s:
                    storage.delete(name)
        return needed


def address_of(storage: Storage) -> str:
    """Return a storage's address in the form of Iceberg's readers, most of which take it literally.

    Raises ConfigurationError where some would misread its name.
    """
    address = str(storage) if storage.is_remote else f"file://{storage}"
    if any(sign in address for sign in "#?%"):
        raise ConfigurationError(
            f"{storage}: no '#', '?' or '%' can be in the name of a log that is a table of Iceberg"
        )
    return address


def _offsets(files: Sequence[LogFile]) -> dict[str, dict[int, int]]:
    """Return the last offset that the files reach, by source and partition."""
    ends: dict[str, dict[int, int]] = {}
    for file in files:
        last_offsets = ends.setdefault(file.source, {})
        last_offsets[file.segment.partition] = max(file.segment.stop - 1, last_offsets.get(file.segment.partition, 0))
    return ends


def _data_files(table: Table) -> Iterator[DataFile]:
    return (task.file for task in table.scan().plan_files())


def _metadata_of(table: Table, snapshot: Snapshot) -> set[str]:
    """Return the metadata files of a snapshot."""
    return {snapshot.manifest_list, *(manifest.manifest_path for manifest in snapshot.manifests(table.io))}
