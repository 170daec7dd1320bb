"""Taking rows out of the log's files, a person's or all that are old: each file is written anew, under its name.

Its range of offsets stays what was consumed for it, so there is no hole; an offset without a row is like a dead letter.
Whoever is killed leaves files of before and files of after, and whoever does it again finds the rest.
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
from data.log.segments import segments_of
from data.units import from_micros

__all__ = ["Removed", "drop_before", "remove_rows", "rows_of"]

_ABANDONED_S = 60.0
"""A file that was begun so long ago, outside of a compaction, has lost its writer."""


class Removed(NamedTuple):
    """Files that were written anew, and rows that they had and have no more."""

    files: int = 0
    rows: int = 0

    def __add__(self, other: object) -> "Removed":
        if not isinstance(other, Removed):
            return NotImplemented
        return Removed(self.files + other.files, self.rows + other.rows)


def remove_rows(folder: Storage, names: Iterable[str], person: Person) -> Removed:
    """Take a person's rows out of all files of a source, those that nobody reads any more among them.

    No compaction may be at work. Raises DataError, by name, where one cannot be read; it stays as it is.
    """
    names = list(names)
    halves = [name for name in names if name[0] == "." and segments_of([name[1:].rpartition(".")[0]])]
    delete_leftovers(folder, halves, time.time() - _ABANDONED_S)
    done = Removed()
    for name in names:
        rows = sum(map(len, rows_of(folder.local(name), person))) if segments_of([name]) else 0
        if rows:
            folder.put(name, partial(_without, folder.local(name), person))
            done += Removed(1, rows)
    return done


def drop_before(folder: Storage, names: Iterable[str], before_us: int, slack_us: int = 0) -> Removed:
    """Take what happened before a time out of the files of a source, which go on saying what they consumed.

    A file in which something happened since waits until its oldest event is `slack_us` older than that: files that
    were joined span long times, and writing one anew for each event would be dear. No compaction may be at work.
    Raises DataError, by name, where one cannot be read; it stays as it is.
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
    named = (table.column(person.key) for table in read_rows(path, columns=[person.key, "offset"]))
    if not any(pc.any(pc.equal(values, person.value)).as_py() for values in named):
        return
    for table in read_rows(path):
        mine = table.filter(pc.equal(table.column(person.key), person.value))
        if mine.num_rows:
            yield mine


def _since(old: Path, before_us: int, new: Path) -> None:
    before = pa.scalar(from_micros(before_us), pa.timestamp("us", "UTC"))
    tables = (table.filter(pc.greater_equal(table.column("timestamp"), before)) for table in read_rows(old))
    write_file(new, tables, read_columns(old))


def _without(old: Path, person: Person, new: Path) -> None:
    write_file(new, _others(old, person), read_columns(old))


def _others(path: Path, person: Person) -> Iterator[pa.Table]:
    for table in read_rows(path):
        yield table.filter(pc.not_equal(table.column(person.key), person.value))
