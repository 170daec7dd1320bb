"""Removal of rows from the log's files, a person's or all old ones: each file is rewritten under its name.

Its range of offsets is still what was consumed for it, so there is no hole; an offset without a row is like a dead
letter. A process that is killed leaves some files rewritten and others not; running it again does the rest.
"""

import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from data.filesystem.storage import Storage
from data.log.compaction import delete_leftovers
from data.log.log_file import count_rows, read_columns, read_rows, times_of, write_file
from data.log.person import Person
from data.log.segments import segments_of, unfinished_of
from data.units import from_micros

__all__ = ["Removed", "drop_before", "remove_rows", "rows_of"]

_ABANDONED_S = 60.0
"""An unfinished file that is older than this, outside of a compaction, has lost its writer."""


class Removed(NamedTuple):
    """Numbers of files that were rewritten, and of rows that were removed."""

    files: int = 0
    rows: int = 0

    def __add__(self, other: object) -> "Removed":
        if not isinstance(other, Removed):
            return NotImplemented
        return Removed(self.files + other.files, self.rows + other.rows)


def remove_rows(folder: Storage, names: Iterable[str], person: Person) -> Removed:
    """Take a person's rows out of all files of a source, including those that nobody reads any more.

    No compaction may be at work. Raises DataError, which names the file, where one cannot be read; it stays as it is.
    """
    names = list(names)
    delete_leftovers(folder, unfinished_of(names), time.time() - _ABANDONED_S)
    done = Removed()
    for name in names:
        rows = sum(map(len, rows_of(folder.local(name), person))) if segments_of([name]) else 0
        if rows:
            folder.put(name, partial(_without, folder.local(name), person))
            done += Removed(1, rows)
    return done


def drop_before(folder: Storage, names: Iterable[str], before_us: int, slack_us: int = 0) -> Removed:
    """Take what happened before a time out of the files of a source, whose names still say what was consumed.

    A file with newer events too waits until its oldest event is `slack_us` older than that: files that were joined span
    long times, and rewriting one for each event would be expensive. No compaction may be at work. Raises DataError,
    which names the file, where one cannot be read; it stays as it is.
    """
    done = Removed()
    for name in (name for name in names if segments_of([name])):
        path = folder.local(name)
        times = times_of(path)
        if times is None or (times[1] >= before_us and times[0] >= before_us - slack_us):
            continue
        rows = count_rows(path)
        folder.put(name, partial(_since, path, before_us))
        done += Removed(1, rows - count_rows(folder.local(name)))
    return done


def rows_of(path: Path, person: Person) -> Iterator[pa.Table]:
    """Yield a person's rows of a file, as they are there."""
    columns = read_columns(path)
    if person.key not in columns.names:
        return
    key_values = (table.column(person.key) for table in read_rows(path, columns=[person.key, "offset"]))
    if not any(pc.any(pc.equal(values, person.value)).as_py() for values in key_values):
        return
    for table in read_rows(path):
        rows = table.filter(pc.equal(table.column(person.key), person.value))
        if rows.num_rows:
            yield rows


def _since(old: Path, before_us: int, new: Path) -> None:
    before = pa.scalar(from_micros(before_us), pa.timestamp("us", "UTC"))
    tables = (table.filter(pc.greater_equal(table.column("timestamp"), before)) for table in read_rows(old))
    write_file(new, tables, read_columns(old))


def _without(old: Path, person: Person, new: Path) -> None:
    write_file(new, _others(old, person), read_columns(old))


def _others(path: Path, person: Person) -> Iterator[pa.Table]:
    for table in read_rows(path):
        yield table.filter(pc.not_equal(table.column(person.key), person.value))
