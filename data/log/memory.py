"""An event log in memory: the twin of the one in files, for tests of definitions and our own tests."""

import threading
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from data.default_shop import SHOP
from data.errors import DataError, LogHoleError
from data.log.compaction import Compacted, runs_to_join
from data.log.event_table import columns_of, with_origin
from data.log.log import Log, check_consumed, check_range
from data.log.person import Person
from data.log.removal import Removed
from data.log.segments import Coverage, Hole, Segment, cover_all
from data.log.sources import check_source
from data.log.suppression import Suppression
from data.schema import Schema

__all__ = ["MemoryLog"]


class MemoryLog(Log):
    """Implements `data.log.log.Log` with tables that are lost with this object."""

    def __init__(self, schema: Schema = SHOP) -> None:
        self.schema = schema
        self.suppression = Suppression(None)
        self._sources: dict[str, dict[Segment, pa.Table]] = {}
        self._lock = threading.RLock()

    def __str__(self) -> str:
        return "in memory"

    def sources(self) -> list[str]:
        """Return the names of the sources, oldest first."""
        with self._lock:
            return list(self._sources)

    def coverage(self, source: str) -> dict[int, Coverage]:
        """Return what a source accounts for, by partition."""
        with self._lock:
            return cover_all(self._sources.get(source, ()))

    def tables(self, source: str | None = None) -> Iterator[pa.Table]:
        """Yield every event once, as tables of the log's columns. Raises LogHoleError where some are missing."""
        with self._lock:
            if holes := self.holes(source):
                raise LogHoleError(self, holes)
            selected = [
                _between(tables[segment], start, segment.stop)
                for name, tables in self._sources.items()
                if source in {None, name}
                for coverage in self.coverage(name).values()
                for segment, start in coverage.read
            ]
        return (table for table in selected if table.num_rows)

    def read(self, source: str, partition: int, offsets: range) -> Iterator[pa.Table]:
        """Yield the events of a partition among `offsets`. Raises LogHoleError where a hole lies among them."""
        with self._lock:
            coverage = self.coverage(source).get(partition)
            if coverage is None:
                return iter(())
            if holes := coverage.holes_among(offsets):
                raise LogHoleError(self, [Hole(source, partition, hole) for hole in holes])
            selected = [
                _between(self._sources[source][segment], max(start, offsets.start), min(segment.stop, offsets.stop))
                for segment, start in coverage.read_among(offsets)
            ]
        return (kept for table in selected if (kept := self.suppression.without(table)).num_rows)

    def count(self) -> int:
        """Return the number of events. Raises LogHoleError where some are missing."""
        return sum(table.num_rows for table in self.tables())

    def append(self, source: str, partition: int, consumed: range, events: pa.Table) -> Segment:
        """Write the events among the `consumed` offsets of a partition, all or nothing."""
        check_consumed(consumed, events)
        events = self.suppression.without(events)
        segment = Segment(partition, consumed.start, consumed.stop)
        return self._put(source, segment, with_origin(events, source, partition, self.schema))

    def mark_lost(self, source: str, partition: int, offsets: range) -> Segment:
        """Record that the events at `offsets` of a partition are lost for good."""
        check_range("lost", offsets)
        return self._put(
            source, Segment(partition, offsets.start, offsets.stop, "lost"), columns_of(self.schema).log.empty_table()
        )

    def write_history(self, source: str, batches: Iterable[pa.Table]) -> int:
        """Write a whole history as one source, all or nothing; return its number of rows."""
        check_source(source)
        history = pa.concat_tables([columns_of(self.schema).event.empty_table(), *batches])
        history = self.suppression.without(history)
        rows: int = history.num_rows
        if not rows:
            raise DataError(f"history {source}: no events; nothing was written")
        placed = history.append_column("offset", pa.array(range(rows), pa.int64()))
        table = with_origin(placed, source, 0, self.schema)
        with self._lock:
            self._sources[source] = {Segment(0, 0, rows): table}
        return rows

    def compact(self, source: str, partition: int | None = None) -> Compacted:
        """Join runs of small segments of a partition (None: of each). Parts go at once: readers keep what they read."""
        done = Compacted()
        with self._lock:
            for number, coverage in self.coverage(source).items():
                if partition not in {None, number}:
                    continue
                tables = self._sources[source]
                spare = [tables.pop(part) for part, _ in coverage.spare]
                for run in runs_to_join(coverage):
                    starts = [run[0].first, *(segment.stop for segment in run[:-1])]
                    parts = [
                        _between(tables.pop(segment), start, segment.stop)
                        for segment, start in zip(run, starts, strict=True)
                    ]
                    tables[Segment(number, run[0].first, run[-1].stop)] = pa.concat_tables(parts)
                    done += Compacted(len(parts), 1, len(parts))
                done += Compacted(deleted=len(spare))
        return done

    def events_of(self, person: Person) -> Iterator[pa.Table]:
        """Yield a person's events, each once."""
        filtered = (table.filter(pc.equal(table.column(person.key), person.value)) for table in self.tables())
        return (table for table in filtered if table.num_rows)

    def remove(self, person: Person) -> Removed:
        """Take a person's rows out of every segment."""
        done = Removed()
        with self._lock:
            for tables in self._sources.values():
                for segment, table in tables.items():
                    others = table.filter(pc.not_equal(table.column(person.key), person.value))
                    if others.num_rows < table.num_rows:
                        done += Removed(1, table.num_rows - others.num_rows)
                        tables[segment] = others
        return done

    def _put(self, source: str, segment: Segment, table: pa.Table) -> Segment:
        check_source(source)
        with self._lock:
            self._sources.setdefault(source, {})[segment] = table
        return segment


def _between(table: pa.Table, start: int, stop: int) -> pa.Table:
    """Return the rows of offsets from `start` up to `stop`."""
    offsets = table.column("offset").to_numpy()
    first = int(offsets.searchsorted(start))
    return table.slice(first, int(offsets.searchsorted(stop)) - first)
