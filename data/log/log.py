"""What an event log promises to workers and readers, wherever it keeps its events.

`data.log.event_log` keeps them in files, `data.log.memory` in this process;
`tests/contracts/test_log_contract.py` holds both to it.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

import pyarrow as pa

from data.log.compaction import Compacted
from data.log.event_table import EVENT_COLUMNS
from data.log.segments import Coverage, Hole

__all__ = ["Log", "check_consumed", "check_range"]


class Log(Protocol):
    """Events by source, partition and offset, each offset once; it may be shared between threads.

    Ranges of offsets have step 1.
    """

    # What there is; never refused.

    def sources(self) -> list[str]:
        """Names of the sources, oldest first."""

    def coverage(self, source: str) -> dict[int, Coverage]:
        """What a source accounts for, by partition."""

    def ends(self, source: str) -> dict[int, int]:
        """The last offset consumed of each partition of a source."""
        return {partition: found.consumed[-1].stop - 1 for partition, found in self.coverage(source).items()}

    def covered(self, source: str, partition: int) -> list[range]:
        """The offsets consumed of a partition, in maximal ranges."""
        found = self.coverage(source).get(partition)
        return found.consumed if found else []

    def unknown(self, source: str, partition: int) -> list[range]:
        """Offsets beside files of the old naming that are dead letters, or are lost: the topic knows, no name does."""
        found = self.coverage(source).get(partition)
        return found.unknown if found else []

    def holes(self, source: str | None = None) -> list[Hole]:
        """Offsets that are not accounted for, of one source or of all."""
        return [
            Hole(name, partition, hole)
            for name in self.sources()
            if source in {None, name}
            for partition, found in self.coverage(name).items()
            for hole in found.holes
        ]

    # Reading: refused where the log has a hole.

    def tables(self, source: str | None = None) -> Iterator[pa.Table]:
        """Every event once, of one source or of all, in tables of `LOG_COLUMNS`.

        Sources come oldest first, then partitions and offsets ascend.

        Raises LogHoleError, or DataError where events cannot be read.
        """

    def read(self, source: str, partition: int, offsets: range) -> Iterator[pa.Table]:
        """What the log holds of a partition among `offsets`, every offset once and in order.

        Raises LogHoleError where a hole lies among `offsets`, DataError where events cannot be read.
        """

    def count(self) -> int:
        """How many events the log holds.

        Raises LogHoleError, or DataError where events cannot be read.
        """

    # Writing.

    def append(self, source: str, partition: int, consumed: range, events: pa.Table) -> object:
        """Write the events among the `consumed` offsets of a partition, all or nothing.

        `events` has the columns of `EVENT_COLUMNS` and `offset`, which ascends; it may have no rows. Offsets without a
        row are dead letters. A range that is written again replaces what it was.
        """

    def mark_consumed(self, source: str, partition: int, offsets: range) -> object:
        """Record that `offsets` of a partition are dead letters, all of them."""
        columns = pa.schema([*EVENT_COLUMNS, pa.field("offset", pa.int64(), nullable=False)])
        return self.append(source, partition, offsets, columns.empty_table())

    def mark_lost(self, source: str, partition: int, offsets: range) -> object:
        """Record that the events at `offsets` of a partition are lost for good: a hole is refused no longer.

        What the log holds of them all the same is read.
        """

    def write_history(self, source: str, batches: Iterable[pa.Table]) -> int:
        """Write a whole history (tables of `EVENT_COLUMNS`) as one source, all of it or nothing; its number of rows.

        Offsets are row numbers. A source of that name is replaced. Raises DataError where there are no events.
        """

    # Keeping it in few pieces.

    def compact(self, source: str, partition: int | None = None) -> Compacted:
        """Join runs of small pieces of a partition (None: of each): nothing changes that a reader or a worker sees."""


def check_consumed(consumed: range, events: pa.Table) -> None:
    """Raise ValueError where these events are not among these consumed offsets, in their order."""
    check_range("consumed", consumed)
    offsets = events.column("offset").to_numpy()
    if len(offsets) and not (
        consumed.start <= offsets[0] and offsets[-1] < consumed.stop and (offsets[1:] > offsets[:-1]).all()
    ):
        raise ValueError(f"offsets of events do not ascend within {consumed}")


def check_range(what: str, offsets: range) -> None:
    """Raise ValueError where offsets are no range upwards from 0; `what` they are is said."""
    if not offsets or offsets.step != 1 or offsets.start < 0:
        raise ValueError(f"{what} offsets are {offsets}, not a range upwards from 0 with step 1")
