"""The event log as workers and readers use it, wherever it stores its events.

`data.log.event_log` stores them in files, `data.log.memory` in this process; `tests/contracts/test_log_contract.py`
tests both against this protocol.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

import pyarrow as pa

from data.log.compaction import Compacted
from data.log.event_table import columns_of
from data.log.person import Person
from data.log.removal import Removed
from data.log.segments import Coverage, Hole
from data.log.suppression import Suppression
from data.schema import Schema

__all__ = ["Log", "check_consumed", "check_range"]


class Log(Protocol):
    """Events by source, partition and offset, each offset once. Thread-safe.

    Ranges of offsets have step 1. `schema` declares the columns that its readers see. Events that `suppression` refuses
    are neither written nor passed to a fold.
    """

    schema: Schema
    suppression: Suppression

    # What there is; never refused.

    def sources(self) -> list[str]:
        """Return the names of the sources, oldest first."""

    def coverage(self, source: str) -> dict[int, Coverage]:
        """Return what a source accounts for, by partition."""

    def ends(self, source: str) -> dict[int, int]:
        """Return the last consumed offset of each partition of a source."""
        return {partition: coverage.consumed[-1].stop - 1 for partition, coverage in self.coverage(source).items()}

    def covered(self, source: str, partition: int) -> list[range]:
        """Return the consumed offsets of a partition, as maximal ranges."""
        coverage = self.coverage(source).get(partition)
        return coverage.consumed if coverage else []

    def unknown(self, source: str, partition: int) -> list[range]:
        """Return offsets beside files of the old naming: dead letters or lost events, which only the topic can tell."""
        coverage = self.coverage(source).get(partition)
        return coverage.unknown if coverage else []

    def holes(self, source: str | None = None) -> list[Hole]:
        """Return the offsets that are not accounted for, of one source or of all."""
        return [
            Hole(name, partition, hole)
            for name in self.sources()
            if source in {None, name}
            for partition, coverage in self.coverage(name).items()
            for hole in coverage.holes
        ]

    # Reading: refused where the log has a hole.

    def tables(self, source: str | None = None) -> Iterator[pa.Table]:
        """Yield every event once, of one source or of all, as tables of the columns of the log.

        Sources come oldest first, then partitions and offsets ascend. Raises LogHoleError, or DataError where events
        cannot be read.
        """

    def read(self, source: str, partition: int, offsets: range) -> Iterator[pa.Table]:
        """Yield the events of a partition among `offsets`, every offset once and in order, as tables.

        Raises LogHoleError where a hole lies among `offsets`, DataError where events cannot be read.
        """

    def count(self) -> int:
        """Return the number of events.

        Raises LogHoleError, or DataError where events cannot be read.
        """

    # Writing.

    def append(self, source: str, partition: int, consumed: range, events: pa.Table) -> object:
        """Write the events among the `consumed` offsets of a partition, all or nothing.

        `events` has the columns of an event and `offset`, ascending; it may have no rows. Offsets without a row
        are dead letters. A range that is written again replaces what it was.
        """

    def mark_consumed(self, source: str, partition: int, offsets: range) -> object:
        """Record that all `offsets` of a partition are dead letters; return the file's path."""
        return self.append(source, partition, offsets, columns_of(self.schema).placed.empty_table())

    def mark_lost(self, source: str, partition: int, offsets: range) -> object:
        """Record that the events at `offsets` of a partition are lost for good, so that the hole is no longer refused.

        Events that the log holds nevertheless are read.
        """

    def write_history(self, source: str, batches: Iterable[pa.Table]) -> int:
        """Write a whole history (tables of events' columns) as one source, all or nothing; return its number of rows.

        Offsets are row numbers. A source of that name is replaced. Raises DataError where there are no events.
        """

    # Keeping it in few pieces.

    def compact(self, source: str, partition: int | None = None) -> Compacted:
        """Join runs of small pieces of a partition (None: of each), unnoticed by readers and workers."""

    # One person's events.

    def events_of(self, person: Person) -> Iterator[pa.Table]:
        """Yield a person's events, each once. Raises DataError where events cannot be read."""

    def remove(self, person: Person) -> Removed:
        """Take a person's events out; the offsets stay consumed. Raises DataError where events cannot be read."""


def check_consumed(consumed: range, events: pa.Table) -> None:
    """Raise ValueError unless these events lie among these consumed offsets, in ascending order."""
    check_range("consumed", consumed)
    offsets = events.column("offset").to_numpy()
    if len(offsets) and not (
        consumed.start <= offsets[0] and offsets[-1] < consumed.stop and (offsets[1:] > offsets[:-1]).all()
    ):
        raise ValueError(f"offsets of events do not ascend within {consumed}")


def check_range(what: str, offsets: range) -> None:
    """Raise ValueError, naming them `what`, unless offsets are a range upwards from 0."""
    if not offsets or offsets.step != 1 or offsets.start < 0:
        raise ValueError(f"{what} offsets are {offsets}, not a range upwards from 0 with step 1")
