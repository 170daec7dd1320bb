"""The archive of predictions, kept until their outcome is known: the topic `predictions` in Parquet, by offset range.

    root/<topic id>/0000-000000000120-000000000180.parquet      partition 0, offsets 120 to 180

The archive itself records where to go on: nothing is committed to Kafka, and a prediction kept twice counts once, by
its id. A file that cannot be read is set aside (`….parquet.damaged`), and the others are read nevertheless.
"""

import logging
import re
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import dataset

from data.atomic import whole_file
from data.default_shop import SHOP
from data.errors import GoneError
from data.filesystem.folder import Folder
from data.filesystem.storage import Storage
from data.log.person import Person
from data.log.removal import Removed
from data.schema import Schema
from events.predictions.message import LIVE, Prediction

__all__ = ["Archived", "PredictionArchive"]

_log = logging.getLogger(__name__)


@cache
def _columns_of(schema: Schema) -> pa.Schema:
    """Return the columns of a prediction; `features` and `receipt` are JSON.

    `origin` and `receipt` are null in files older than them; such predictions are live.
    """
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("timestamp", _TIME, nullable=False),
            pa.field("as_of", _TIME, nullable=False),
            pa.field("target", pa.string(), nullable=False),
            *(pa.field(name, pa.string(), nullable=name in schema.labels) for name in schema.asked_keys),
            pa.field("model", pa.string(), nullable=False),
            pa.field("role", pa.string(), nullable=False),
            pa.field("score", pa.float64(), nullable=False),
            pa.field("threshold", pa.float64(), nullable=False),
            pa.field("cold_start", pa.bool_(), nullable=False),
            pa.field("shadow_model", pa.string()),
            pa.field("shadow_score", pa.float64()),
            pa.field("shadow_threshold", pa.float64()),
            pa.field("features", pa.string(), nullable=False),
            pa.field("origin", pa.string()),
            pa.field("receipt", pa.string()),
        ]
    )


_CHECKED = dataset.ParquetFileFormat(
    default_fragment_scan_options=dataset.ParquetFragmentScanOptions(page_checksum_verification=True)
)
"""Pages have checksums, which are verified."""

_TIME = pa.timestamp("us", "UTC")

_FILE = re.compile(r"(\d{4,})-(\d{12,})-(\d{12,})\.parquet")
_MANY = 64
"""The least number of files that are worth joining."""

_UNREADABLE = (pa.ArrowException, OSError)

_LARGE_BYTES = 64 * 2**20
"""A file of this size is joined no more: it would be rewritten again and again."""

_ABANDONED_S = 3600.0
"""An unfinished file that is older than this has lost its writer."""

_UNBOUNDED = 2**63

_LOCK = ".lock"


class Archived(NamedTuple):
    """A prediction with its partition and offset."""

    partition: int
    offset: int
    prediction: Prediction


class _Stretch(NamedTuple):
    """One file: its partition, first and last offset, its topic and its name; sorted in this order."""

    partition: int
    first: int
    last: int
    topic: str
    name: str


class PredictionArchive:
    """The files in a storage, or under one folder. Opening it does no I/O.

    Appending keeps them within `most_bytes`: the oldest are deleted, except the last file of each partition, which says
    where to go on.
    """

    def __init__(self, root: Path | Storage, *, most_bytes: int = _UNBOUNDED, schema: Schema = SHOP) -> None:
        self._storage: Storage = Folder(root) if isinstance(root, Path) else root
        self._columns = _columns_of(schema)
        self._most_bytes = most_bytes

    def __str__(self) -> str:
        return str(self._storage)

    def files(self) -> list[Path]:
        """Return the files, or copies of them on this machine, by topic, partition and offset."""
        return [path for stretch in self._all() if (path := self._local(stretch)) is not None]

    def ends(self, topic: str) -> dict[int, int]:
        """Return the last offset kept of each partition of a topic, given by its id (hexadecimal)."""
        ends: dict[int, int] = {}
        for stretch in self._stretches(topic):
            ends[stretch.partition] = max(stretch.last, ends.get(stretch.partition, -1))
        return ends

    def append(self, topic: str, kept: Sequence[Archived]) -> None:
        """Write predictions of a topic, in offset order per partition."""
        by_partition: dict[int, list[Archived]] = {}
        for item in kept:
            by_partition.setdefault(item.partition, []).append(item)
        for partition, items in by_partition.items():
            rows = [_row(item.prediction, self._columns) for item in items]
            table = pa.Table.from_pylist(rows, self._columns)
            name = _name(partition, items[0].offset, items[-1].offset)
            (self._storage / topic).put(name, partial(_write, tables=[table], columns=self._columns))
            self._join(topic, partition)
        self._forget()

    def read(self, columns: Sequence[str], *, target: str, since: datetime | None = None) -> pa.Table:
        """Return live predictions of a target with `as_of` from `since` on: some columns, unordered, each id once."""
        origin = dataset.field("origin")
        where = (dataset.field("target") == target) & (origin.is_null() | (origin == LIVE))
        if since is not None:
            where &= dataset.field("as_of") >= pa.scalar(since, _TIME)
        return self._select(columns, where)

    def find(self, ids: Collection[str]) -> pa.Table:
        """Return the predictions of these ids, of any target and origin: all columns, unordered, each once."""
        return self._select(self._columns.names, dataset.field("id").isin(list(ids)))

    def newest(self, count: int, target: str | None = None) -> pa.Table:
        """Return the newest predictions that have a receipt, of one target or all: all columns, oldest first."""
        where = dataset.field("receipt").is_valid()
        if target is not None:
            where &= dataset.field("target") == target
        times = self._select(["timestamp"], where)["timestamp"]
        if len(times) > count:
            where &= dataset.field("timestamp") >= times.take(pc.sort_indices(times))[-count]
        rows = self._select(self._columns.names, where).sort_by([("timestamp", "ascending"), ("id", "ascending")])
        return rows.slice(max(0, rows.num_rows - count))

    def _select(self, columns: Sequence[str], where: Any) -> pa.Table:
        with self._reading():
            files = self.files()
            if not files:
                return self._columns.empty_table().select(columns)
            names = list(dict.fromkeys(["id", *columns]))
            try:
                table = self._table(files, names, where)
            except _UNREADABLE:
                table = self._table(self._readable(self._all()), names, where)
        ids = table.column("id").to_pylist()
        first = list({name: row for row, name in reversed(list(enumerate(ids)))}.values())
        return (table if len(first) == len(ids) else table.take(sorted(first))).select(columns)

    def predictions_of(self, person: Person) -> list[dict[str, Any]]:
        """Return all predictions about a person, as they are kept."""
        with self._reading():
            tables = (self._rows_of(path, person) for path in self.files())
            return [row for table in tables if table is not None for row in table.to_pylist()]

    def remove(self, person: Person) -> Removed:
        """Take the predictions about a person out of all files, each replaced whole; a damaged one is set aside."""
        done = Removed()
        with self._alone():
            for stretch in self._all():
                for path in self._readable([stretch]):
                    rows = self._rows_of(path, person)
                    if rows is not None and rows.num_rows:
                        table = pq.read_table(path, page_checksum_verification=True)
                        others = table.filter(pc.not_equal(table.column(person.key), person.value))
                        self._folder(stretch).put(stretch.name, partial(_write, tables=[others], columns=table.schema))
                        done += Removed(1, rows.num_rows)
        return done

    def drop_before(self, before: datetime, slack: timedelta = timedelta()) -> Removed:
        """Take out predictions from before a time; of a file with newer ones too, once some are `slack` older.

        Files without newer ones are deleted, except the last one of each partition.
        """
        done = Removed()
        with self._alone():
            for topic in self._storage.folders():
                stretches = self._stretches(topic)
                lasts = {stretch.partition: stretch for stretch in stretches}.values()
                for stretch in stretches:
                    path = self._local(stretch)
                    if path is None:
                        continue
                    times = pq.read_table(path, columns=["timestamp"]).column("timestamp")
                    is_old = not times.length() or pc.max(times).as_py() < before
                    if is_old and stretch not in lasts:
                        self._folder(stretch).delete(stretch.name)
                        done += Removed(1, times.length())
                    elif times.length() and (is_old or pc.min(times).as_py() < before - slack):
                        table = pq.read_table(path, page_checksum_verification=True)
                        newer = table.filter(pc.greater_equal(table.column("timestamp"), pa.scalar(before, _TIME)))
                        self._folder(stretch).put(stretch.name, partial(_write, tables=[newer], columns=table.schema))
                        done += Removed(1, table.num_rows - newer.num_rows)
        return done

    def damaged(self) -> list[Path]:
        """Return the files that could not be read, and were set aside."""
        sources = [self._storage / topic for topic in self._storage.folders()]
        return sorted(
            source.path(name) for source in sources for name in source.names() if name.endswith(".parquet.damaged")
        )

    @staticmethod
    def _rows_of(path: Path, person: Person) -> pa.Table | None:
        """Return a file's predictions about a person; None where no prediction names such a key."""
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if person.key not in file.schema_arrow.names:
                return None
            values = file.read([person.key]).column(person.key)
            is_in = pc.any(pc.equal(values, person.value)).as_py()
            table = file.read() if is_in else file.schema_arrow.empty_table()
        return table.filter(pc.equal(table.column(person.key), person.value))

    def _join(self, topic: str, partition: int) -> None:
        """Join the files of a partition into one, since every file costs a reader an open."""
        stretches = [stretch for stretch in self._stretches(topic) if stretch.partition == partition]
        if len(stretches) < _MANY:
            return
        marks = (self._storage / topic).marks()
        large = [
            index
            for index, stretch in enumerate(stretches)
            if stretch.name in marks and marks[stretch.name].size >= _LARGE_BYTES
        ]
        stretches = stretches[large[-1] + 1 if large else 0 :]
        if len(stretches) < _MANY:
            return
        whole = _name(partition, stretches[0].first, max(stretch.last for stretch in stretches))
        with self._alone():
            paths = self._readable(stretches)
            tables = (pq.read_table(path, page_checksum_verification=True) for path in paths)
            (self._storage / topic).put(whole, partial(_write, tables=tables, columns=self._columns))
            kept = {path.name for path in paths}
            for stretch in stretches:
                if stretch.name in kept and stretch.name != whole:
                    self._folder(stretch).delete(stretch.name)

    def _forget(self) -> None:
        """Delete the oldest files beyond `most_bytes`, and unfinished files of writers that died."""
        marks = {topic: (self._storage / topic).marks() for topic in self._storage.folders()}
        topics = sorted(marks, key=lambda topic: max((mark.modified_ns for mark in marks[topic].values()), default=0))
        stretches = [
            stretch
            for topic in topics
            for stretch in sorted(_stretches(topic, marks[topic]), key=lambda stretch: stretch.first)
        ]
        lasts = {(stretch.topic, stretch.partition): stretch for stretch in stretches}.values()
        excess = sum(marks[stretch.topic][stretch.name].size for stretch in stretches) - self._most_bytes
        if excess > 0:
            with self._alone():
                for stretch in stretches:
                    if excess > 0 and stretch not in lasts:
                        self._folder(stretch).delete(stretch.name)
                        excess -= marks[stretch.topic][stretch.name].size
        before_ns = (time.time() - _ABANDONED_S) * 1e9
        for topic, topic_marks in marks.items():
            for name, mark in topic_marks.items():
                if name.startswith(".") and ".parquet." in name and mark.modified_ns < before_ns:
                    (self._storage / topic).delete(name)

    def _table(self, files: Sequence[Path], columns: list[str], where: Any) -> pa.Table:
        if not files:
            return self._columns.empty_table().select(columns)
        source = dataset.dataset(files, schema=self._columns, format=_CHECKED)
        return source.to_table(columns=columns, filter=where)

    def _alone(self) -> AbstractContextManager[object]:
        """Return a lock of the files for one that deletes some."""
        return self._storage.lock(_LOCK)

    def _reading(self) -> AbstractContextManager[object]:
        """Return a lock of the files against deletion; none where copies are read."""
        return nullcontext() if self._storage.is_remote else self._storage.lock(_LOCK, shared=True)

    def _all(self) -> list[_Stretch]:
        return [stretch for topic in self._storage.folders() for stretch in sorted(self._stretches(topic))]

    def _stretches(self, topic: str) -> list[_Stretch]:
        return sorted(_stretches(topic, (self._storage / topic).names()))

    def _folder(self, stretch: _Stretch) -> Storage:
        return self._storage / stretch.topic

    def _local(self, stretch: _Stretch) -> Path | None:
        """Return the path of a file, or of a copy; None where it is gone."""
        with suppress(GoneError):
            return self._folder(stretch).local(stretch.name)
        return None

    def _readable(self, files: Sequence[_Stretch]) -> list[Path]:
        """Return the paths of those of the files that can be read; the others are set aside."""
        paths = []
        for stretch in files:
            path = self._local(stretch)
            reason = None if path is None else self._reason(path)
            if path is not None and reason is not None and self._storage.is_remote:
                path.unlink(missing_ok=True)  # perhaps only the copy is damaged
                path = self._local(stretch)
                reason = None if path is None else self._reason(path)
            if path is None or isinstance(reason, FileNotFoundError):
                continue
            if reason is None:
                paths.append(path)
                continue
            self._folder(stretch).put(f"{stretch.name}.damaged", partial(shutil.copyfile, path))
            self._folder(stretch).delete(stretch.name)
            _log.error(
                "predictions: %s/%s cannot be read and is set aside: %s", self._folder(stretch), stretch.name, reason
            )
        return paths

    def _reason(self, path: Path) -> Exception | None:
        """Return why a file cannot be read; None where it can."""
        try:
            pq.read_table(path, schema=self._columns, page_checksum_verification=True)
        except _UNREADABLE as error:
            return error
        return None


def _stretches(topic: str, names: Iterable[str]) -> Iterator[_Stretch]:
    for name in names:
        if match := _FILE.fullmatch(name):
            partition, first, last = map(int, match.groups())
            yield _Stretch(partition, first, last, topic, name)


def _name(partition: int, first: int, last: int) -> str:
    return f"{partition:04d}-{first:012d}-{last:012d}.parquet"


def _row(prediction: Prediction, columns: pa.Schema) -> dict[str, object]:
    shadow = prediction.shadow
    names = [name for name in columns.names if not name.startswith(("shadow", "features", "receipt"))]
    return {
        **{name: getattr(prediction, name) for name in names},
        "shadow_model": shadow and shadow.model,
        "shadow_score": shadow and shadow.score,
        "shadow_threshold": shadow and shadow.threshold,
        "features": bytes(prediction.features).decode(),
        "receipt": prediction.receipt and msgspec.json.encode(prediction.receipt).decode(),
    }


def _write(path: Path, tables: Iterable[pa.Table], columns: pa.Schema) -> None:
    with (
        whole_file(path) as scratch,
        pq.ParquetWriter(scratch, columns, compression="zstd", write_page_checksum=True) as writer,
    ):
        for table in tables:
            writer.write_table(table)
