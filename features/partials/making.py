"""Making partials: the events of a file of the log, folded and split by day, as files beside the log.

A file of the log is small enough for that at any length of the history, so the work of a day is that day's.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.log.event_log import EventLog, LogFile
from data.log.sources import is_topic
from features.collector import paused_collector
from features.partials.folding import Folded, arrivals_of, fold_parts
from features.partials.partials import Partials
from features.plan.plan import Aggregate, EntityPlan, Plan
from features.state.algebra import Algebra

__all__ = ["SLACK_S", "Arrivals", "Made", "arrivals_in", "make_partials", "slots_of_firsts", "write_partials"]

SLACK_S = 3_600
"""How much earlier than one before it an event may have arrived, s, so that seen events can be merged from partials.

Partials remember events for so much longer than states do: one that a part may forget is forgotten by the whole state
too, whatever came before that part.
"""

_ARRIVALS = "encore.arrivals"


class Made(NamedTuple):
    """Numbers of partials that were made, and of stale ones that were deleted."""

    made: int
    deleted: int


class Arrivals(msgspec.Struct, frozen=True, array_like=True):
    """When events of a file arrived, s: earliest, latest, and by how much at most one arrived before an earlier one."""

    partition: int
    first: int
    least_s: int
    most_s: int
    disorder_s: int


def make_partials(partials: Partials, plan: Plan, *, tell: Callable[[str], None] = lambda _: None) -> Made:
    """Make the partials that are missing, and delete those that are stale. A process that is killed leaves whole ones.

    Raises LogHoleError, or DataError where a file of the log cannot be read.
    """
    log, made = partials.log, 0
    missing = partials.listed(plan).missing
    for file, group in groupby(missing, lambda partial: partial.file):
        wanted = list(group)
        tell(f"{file.source}, {made:,} of {len(missing):,} partials")
        # Rows that are taken out of the log meanwhile would stay in the partial.
        with log.keeping_rows(), partials.scratch() as scratch:
            write_partials(log, file.source, [file], [(partial.plan, scratch / partial.name) for partial in wanted])
            for partial in wanted:
                partials.put(partial, (scratch / partial.name).rename)
        made += len(wanted)
    return Made(made, partials.delete_stale(plan))


def write_partials(
    log: EventLog, source: str, files: Sequence[LogFile], targets: Sequence[tuple[EntityPlan, Path]]
) -> None:
    """Write the states of kinds of entities from some files of a source, each to its path."""
    noted = _Noted()
    with ExitStack() as stack, paused_collector():
        writers = {plan.entity: stack.enter_context(_Writer(plan, path)) for plan, path in targets}
        tables = noted.passing(log.tables_of(files))
        plans = [plan for plan, _ in targets]
        for folded in fold_parts(tables, plans, in_topic=is_topic(source), longer_s=SLACK_S):
            writers[folded.entity].write(folded)
        if is_topic(source):
            for writer in writers.values():
                writer.note(noted.arrivals)


def arrivals_in(path: Path) -> list[Arrivals]:
    """Return when the events arrived that a partial was made of; empty where that does not matter."""
    encoded = (pq.read_metadata(path).metadata or {}).get(_ARRIVALS.encode(), b"[]")
    return msgspec.json.decode(encoded, type=list[Arrivals])


def slots_of_firsts(plan: EntityPlan) -> list[int]:
    """Return the slots that count the events of each condition whose first event others count."""
    return [plan.slots.index(Aggregate("count", where=where)) for where in plan.firsts]


class _Noted:
    """Notes when the events of files arrived, as their tables pass."""

    def __init__(self) -> None:
        self.arrivals: list[Arrivals] = []

    def passing(self, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """Yield the tables, each of which is noted like a file."""
        for table in tables:
            at_s = arrivals_of(table)
            disorder_s = (np.maximum.accumulate(at_s) - at_s).max()
            numbers = map(int, (at_s.min(), at_s.max(), disorder_s))
            first, partition = table["offset"][0].as_py(), table["partition"][0].as_py()
            self.arrivals.append(Arrivals(partition, first, *numbers))
            yield table


class _Writer:
    """Writes one partial: keys, partition and day of each state, and what is queried without decoding.

    `offset` is the last one of the events, `met_…` whether the entity met a condition of `firsts`.
    """

    def __init__(self, plan: EntityPlan, path: Path) -> None:
        self._algebra = Algebra(plan)
        self._firsts = slots_of_firsts(plan)
        self._remembers = plan.remembers_s > 0
        self._schema = pa.schema(
            [
                *(pa.field(f"key_{place}", pa.string(), nullable=False) for place in range(len(plan.join_keys))),
                pa.field("partition", pa.int32(), nullable=False),
                pa.field("day", pa.int32(), nullable=False),
                pa.field("offset", pa.int64(), nullable=False),
                pa.field("last_us", pa.int64(), nullable=False),
                *(pa.field(f"met_{place}", pa.bool_(), nullable=False) for place in range(len(plan.firsts))),
                pa.field("state", pa.binary(), nullable=False),
            ]
        )
        self._file = pq.ParquetWriter(path, self._schema, compression="zstd", write_page_checksum=True)

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def note(self, arrivals: Sequence[Arrivals]) -> None:
        """Keep when the events arrived, where that matters."""
        if self._remembers:
            self._file.add_key_value_metadata({_ARRIVALS: msgspec.json.encode(arrivals).decode()})

    def write(self, folded: Folded) -> None:
        """Write the parts of a partition and a day."""
        parts, algebra = folded.parts, self._algebra
        if not parts:
            return
        states = [part.state for part in parts]
        columns: list[Any] = [
            *zip(*(part.ids for part in parts), strict=True),
            [folded.partition] * len(parts),
            [folded.day] * len(parts),
            [part.offset for part in parts],
            [algebra.last_event(state) for state in states],
            *([state.slots[slot] > 0 for state in states] for slot in self._firsts),
            [algebra.encode(state) for state in states],
        ]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._file.write_table(pa.table(arrays, schema=self._schema))
