"""The archive of predictions, kept until their outcome is known: the topic `predictions` in Parquet, by offset range.

    root/<topic id>/0000-000000000120-000000000180.parquet      partition 0, offsets 120 to 180

The archive itself records where to go on: nothing is committed to Kafka, and a prediction kept twice counts once, by
its id. A
file that cannot be read is set aside (`….parquet.damaged`), and all others are read on.
"""

import logging
import re
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import dataset

from data.atomic import whole_file
from data.default_shop import SHOP
from data.lock import file_lock
from data.log.person import Person
from data.log.removal import Removed
from data.schema import Schema
from events.predictions.message import LIVE, Prediction

__all__ = ["Kept", "PredictionArchive"]

_log = logging.getLogger(__name__)


@cache
def _columns_of(schema: Schema) -> pa.Schema:
    """The columns of a prediction; `features` and `receipt` are JSON.

    `origin` is null in files older than it: live. So is `receipt`.
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
"""A file that is joined no more: each would be written anew again and again."""

_ABANDONED_S = 3600.0
"""A file that was begun so long ago has lost its writer."""

_UNBOUNDED = 2**63


class Kept(NamedTuple):
    """A prediction with its partition and offset."""

    partition: int
    offset: int
    prediction: Prediction


class PredictionArchive:
    """The files under one folder. Opening it touches nothing.

    Appending keeps them within `most_bytes`: the oldest are deleted, except the last file of each partition, which says
    where to go on.
    """

    def __init__(self, root: Path, *, most_bytes: int = _UNBOUNDED, schema: Schema = SHOP) -> None:
        self.root = root
        self._columns = _columns_of(schema)
        self._most_bytes = most_bytes

    def files(self) -> list[Path]:
        """Return the files, by topic, partition and offset."""
        return sorted(path for path in self.root.glob("*/*.parquet") if _FILE.fullmatch(path.name))

    def ends(self, topic: str) -> dict[int, int]:
        """Return the last offset kept of each partition of a topic, given by its id (hexadecimal)."""
        ends: dict[int, int] = {}
        for partition, _, last, _ in self._stretches(topic):
            ends[partition] = max(last, ends.get(partition, -1))
        return ends

    def append(self, topic: str, kept: Sequence[Kept]) -> None:
        """Write predictions of a topic, in offset order per partition."""
        by_partition: dict[int, list[Kept]] = {}
        for one in kept:
            by_partition.setdefault(one.partition, []).append(one)
        for partition, some in by_partition.items():
            rows = [_row(one.prediction, self._columns) for one in some]
            table = pa.Table.from_pylist(rows, self._columns)
            _write(self._path(topic, partition, some[0].offset, some[-1].offset), [table], self._columns)
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
        found = self._select(self._columns.names, where).sort_by([("timestamp", "ascending"), ("id", "ascending")])
        return found.slice(max(0, found.num_rows - count))

    def _select(self, columns: Sequence[str], where: Any) -> pa.Table:
        with self._locked(shared=True):
            files = self.files()
            if not files:
                return self._columns.empty_table().select(columns)
            names = list(dict.fromkeys(["id", *columns]))
            try:
                found = self._table(files, names, where)
            except _UNREADABLE:
                found = self._table(_readable(files, self._columns), names, where)
        ids = found.column("id").to_pylist()
        first = list({name: row for row, name in reversed(list(enumerate(ids)))}.values())
        return (found if len(first) == len(ids) else found.take(sorted(first))).select(columns)

    def predictions_of(self, person: Person) -> list[dict[str, Any]]:
        """Return all predictions about a person, as they are kept."""
        with self._locked(shared=True):
            tables = (self._rows_of(path, person) for path in self.files())
            return [row for table in tables if table is not None for row in table.to_pylist()]

    def remove(self, person: Person) -> Removed:
        """Take the predictions about a person out of all files, each replaced whole; a damaged one is set aside."""
        done = Removed()
        with self._locked(shared=False):
            for path in _readable(self.files(), self._columns):
                mine = self._rows_of(path, person)
                if mine is not None and mine.num_rows:
                    table = pq.read_table(path, page_checksum_verification=True)
                    _write(path, [table.filter(pc.not_equal(table.column(person.key), person.value))], table.schema)
                    done += Removed(1, mine.num_rows)
        return done

    def drop_before(self, before: datetime) -> Removed:
        """Delete the files whose predictions were all given before that, except the last one of each partition."""
        done = Removed()
        with self._locked(shared=False):
            for folder in (path for path in sorted(self.root.glob("*")) if path.is_dir()):
                stretches = self._stretches(folder.name)
                lasts = {partition: path for partition, _, _, path in stretches}.values()
                for *_, path in stretches:
                    given = pq.read_table(path, columns=["timestamp"]).column("timestamp")
                    if path not in lasts and given.length() and pc.max(given).as_py() < before:
                        path.unlink()
                        done += Removed(1, given.length())
        return done

    def damaged(self) -> list[Path]:
        """Return the files that could not be read, and were set aside."""
        return sorted(self.root.glob("*/*.parquet.damaged"))

    @staticmethod
    def _rows_of(path: Path, person: Person) -> pa.Table | None:
        """Return a file's predictions about a person; None where no prediction names such a key."""
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if person.key not in file.schema_arrow.names:
                return None
            named = file.read([person.key]).column(person.key)
            is_in = pc.any(pc.equal(named, person.value)).as_py()
            table = file.read() if is_in else file.schema_arrow.empty_table()
        return table.filter(pc.equal(table.column(person.key), person.value))

    def _join(self, topic: str, partition: int) -> None:
        """Join the files of a partition into one, since every file costs a reader an open."""
        found = [stretch for stretch in self._stretches(topic) if stretch[0] == partition]
        large = [place for place, (*_, path) in enumerate(found) if path.stat().st_size >= _LARGE_BYTES]
        found = found[large[-1] + 1 if large else 0 :]
        if len(found) < _MANY:
            return
        whole = self._path(topic, partition, found[0][1], max(last for _, _, last, _ in found))
        with self._locked(shared=False):
            paths = _readable([path for *_, path in found], self._columns)
            _write(whole, (pq.read_table(path, page_checksum_verification=True) for path in paths), self._columns)
            for path in paths:
                if path != whole:
                    path.unlink(missing_ok=True)

    def _forget(self) -> None:
        """Delete what is too much, the oldest first, and what a writer that died had begun."""
        topics = sorted((folder for folder in self.root.iterdir() if folder.is_dir()), key=_changed)
        stretches = [one for folder in topics for one in sorted(self._stretches(folder.name), key=itemgetter(1))]
        lasts = {(path.parent, partition): path for partition, _, _, path in stretches}.values()
        sizes = {path: path.stat().st_size for *_, path in stretches}
        excess = sum(sizes.values()) - self._most_bytes
        if excess > 0:
            with self._locked(shared=False):
                for path, size in sizes.items():
                    if excess > 0 and path not in lasts:
                        path.unlink(missing_ok=True)
                        excess -= size
        for path in self.root.glob("*/.*.parquet.*"):
            if time.time() - path.stat().st_mtime > _ABANDONED_S:
                path.unlink(missing_ok=True)

    def _table(self, files: Sequence[Path], columns: list[str], where: Any) -> pa.Table:
        if not files:
            return self._columns.empty_table().select(columns)
        found = dataset.dataset(files, schema=self._columns, format=_CHECKED)
        return found.to_table(columns=columns, filter=where)

    def _locked(self, *, shared: bool) -> AbstractContextManager[Any]:
        """Lock the files: readers share the lock, deletion holds it exclusively."""
        return file_lock(self.root / ".lock", shared=shared)

    def _stretches(self, topic: str) -> list[tuple[int, int, int, Path]]:
        found = []
        for path in (self.root / topic).glob("*.parquet"):
            match = _FILE.fullmatch(path.name)
            if match:
                partition, first, last = map(int, match.groups())
                found.append((partition, first, last, path))
        return sorted(found)

    def _path(self, topic: str, partition: int, first: int, last: int) -> Path:
        return self.root / topic / f"{partition:04d}-{first:012d}-{last:012d}.parquet"


def _readable(files: Sequence[Path], columns: pa.Schema) -> list[Path]:
    """Those of the files that can be read; the others are set aside."""
    found = []
    for path in files:
        try:
            pq.read_table(path, schema=columns, page_checksum_verification=True)
            found.append(path)
        except FileNotFoundError:
            continue
        except _UNREADABLE as error:
            path.replace(path.with_name(f"{path.name}.damaged"))
            _log.error("predictions: %s cannot be read and is set aside: %s", path, error)
    return found


def _changed(path: Path) -> float:
    return path.stat().st_mtime


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


def _write(path: Path, tables: "Iterator[pa.Table] | Sequence[pa.Table]", columns: pa.Schema) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        whole_file(path) as scratch,
        pq.ParquetWriter(scratch, columns, compression="zstd", write_page_checksum=True) as writer,
    ):
        for table in tables:
            writer.write_table(table)
