"""States of the whole log, merged from partials and from files without one; byte for byte those that the log gives.

    partials of files of the log  ─┐
    what is in small, new files   ─┴─▶ sorted by entity ─▶ merged ─▶ distinct counts, firsts, what was seen ─▶ state

Slots, tiles and lists merge to the last bit in any order. Three things do not follow from an entity's parts alone:
distinct counts are counted over the parts of those that see them; the first event of a pair has no offset where one
came before the topic; and seen events are put in again in the order of their offsets. That requires arrivals to be in
order but for an hour: where a topic's are not, the states that remember are made from the log.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import DataError, GoneError
from data.log.event_log import LogFile
from data.log.sources import is_topic, newest_topic, topic_ids
from features.batch.backfill import Backfilled
from features.batch.engine import MEMORY, DuckDBEngine, sql_list
from features.partials.making import SLACK_S, arrivals_in, slots_of_firsts, write_partials
from features.partials.partials import Partials, Wanted
from features.plan.plan import EntityPlan, Plan
from features.seen import Seen
from features.state.algebra import Algebra, State
from features.state.fence import Fence
from features.state.states import EntityKey

__all__ = ["Merged"]

_ROWS = 20_000

_HISTORY, _EARLIER, _NEWEST = range(3)
"""Whether a partial is of a history, of a topic before the newest one, or of the newest one."""


class _File(NamedTuple):
    kind: int
    path: Path


class _Row(NamedTuple):
    """A row of a partial, as the query returns it; the numbers of distinct counts follow."""

    kind: int
    partition: int
    offset: int
    last_us: int
    state: bytes


class Merged:
    """The states of a log as it is when this is entered, under one plan. A context manager; it makes missing partials.

    Entering raises DataError where the log is empty or a file cannot be read, LogHoleError where one is missing.
    """

    def __init__(self, partials: Partials, plan: Plan, *, memory: str = MEMORY) -> None:
        self._partials = partials
        self._plan = plan
        self._memory = memory
        self._files: dict[str, list[_File]] = {entity.entity: [] for entity in plan.entities}
        self._stack = ExitStack()
        self._newest = ""
        self.read = 0
        """Offsets of the log that were read, since no partial has them."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            log = self._partials.log
            self._engine = stack.enter_context(DuckDBEngine(log, memory=self._memory))
            self._scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="encore-partials-")))
            listed = self._partials.listed(self._plan)
            if not (listed.kept or listed.missing or listed.small):
                raise DataError(f"event log: nothing in {log}; make history with `encore generate` or `encore import`")
            self._newest = newest_topic(log.sources())
            missing = [*listed.missing]
            for partial in listed.kept:
                path = self._whole(partial)
                if path is None:
                    missing.append(partial)
                else:
                    self._files[partial.plan.entity].append(_File(self._kind(partial.file.source), path))
            missing.sort(key=lambda partial: (partial.file.source, partial.file.segment.name))
            self._make(missing, listed.small)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def entities(self) -> dict[str, int]:
        """Return how many entities of each kind the log has."""
        counts = {}
        for plan in self._plan.entities:
            keys = _keys(plan)
            query = f"SELECT count(*) FROM (SELECT DISTINCT {keys} FROM {self._scan(plan)})"  # noqa: S608 - ours
            [[counts[plan.entity]]] = self._engine.connection.raw_sql(query).fetchall()
        return counts

    def states(self, entity_plan: EntityPlan) -> Iterator[Backfilled]:
        """Yield the state of every entity of a kind."""
        plan = self._plan.of(entity_plan.entity)
        if plan.remembers_s and not self._in_order(plan):
            yield from self._engine.states(plan)
            return
        topic = next(iter(topic_ids([self._newest])), b"")
        merge, ids, rows = _Merge(plan, topic), (), list[tuple[Any, ...]]()
        width = len(plan.join_keys)
        for row in self._rows(plan):
            if row[:width] != ids:
                if rows:
                    yield merge.backfilled(ids, rows)
                ids, rows = row[:width], []
            rows.append(row[width:])
        if rows:
            yield merge.backfilled(ids, rows)

    def _rows(self, plan: EntityPlan) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of all partials of a kind, those of an entity in a run, with its distinct counts."""
        keys = _keys(plan)
        counts = [
            self._distincts(plan, slot) for slot, aggregate in enumerate(plan.slots) if aggregate.kind == "distinct"
        ]
        joins = "".join(f" LEFT JOIN ({query}) AS c{place} USING ({keys})" for place, query in enumerate(counts))
        numbers = "".join(f", coalesce(c{place}.number, 0)" for place in range(len(counts)))
        query = (
            f'SELECT {keys}, kind, partition, "offset", last_us, state{numbers} '  # noqa: S608 - ours
            f"FROM {self._scan(plan)}{joins} ORDER BY {keys}"
        )
        reader = self._engine.connection.raw_sql(query).to_arrow_reader(_ROWS)
        for batch in reader:
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    def _distincts(self, plan: EntityPlan, slot: int) -> str:
        """Return SQL of a distinct count: for each entity, how many of those that see for it met its condition."""
        aggregate = plan.slots[slot]
        seer = self._plan.seen_by(plan, aggregate)
        places = [seer.join_keys.index(key) for key in plan.join_keys]
        own_keys = ", ".join(f"key_{place} AS key_{number}" for number, place in enumerate(places))
        pairs = f"SELECT DISTINCT {_keys(seer)} FROM {self._scan(seer)} WHERE met_{seer.firsts.index(aggregate.where)}"  # noqa: S608 - ours
        grouping = ", ".join(f"key_{place}" for place in places)
        return f"SELECT {own_keys}, count(*) AS number FROM ({pairs}) GROUP BY {grouping}"  # noqa: S608 - ours

    def _scan(self, plan: EntityPlan) -> str:
        files = self._files[plan.entity]
        scans = [
            f"SELECT *, {kind} AS kind FROM read_parquet({sql_list(paths)})"  # noqa: S608 - ours
            for kind in (_HISTORY, _EARLIER, _NEWEST)
            if (paths := [file.path for file in files if file.kind == kind])
        ]
        return f"({' UNION ALL BY NAME '.join(scans)})"

    def _whole(self, partial: Wanted) -> Path | None:
        """Return where a partial can be read, every page verified; None where it is gone or damaged, and deleted."""
        try:
            path = self._partials.path(partial)
            with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
                for group in range(parquet.num_row_groups):
                    parquet.read_row_group(group)
        except (GoneError, OSError, pa.ArrowException):
            self._partials.delete(partial)
            return None
        return path

    def _make(self, missing: Iterable[Wanted], small: Sequence[LogFile]) -> None:
        """Make what no partial has, as temporary ones."""
        lacking: dict[tuple[str, tuple[EntityPlan, ...]], list[LogFile]] = {}
        for file in small:
            lacking.setdefault((file.source, self._plan.entities), []).append(file)
        for file, group in groupby(missing, lambda partial: partial.file):
            lacking.setdefault((file.source, tuple(partial.plan for partial in group)), []).append(file)
        for number, ((source, plans), files) in enumerate(lacking.items()):
            targets = [(plan, self._scratch / f"{plan.entity}-{number}.parquet") for plan in plans]
            write_partials(self._partials.log, source, files, targets)
            self.read += sum(file.segment.stop - file.start for file in files)
            for plan, path in targets:
                self._files[plan.entity].append(_File(self._kind(source), path))

    def _kind(self, source: str) -> int:
        if not is_topic(source):
            return _HISTORY
        return _NEWEST if source == self._newest else _EARLIER

    def _in_order(self, plan: EntityPlan) -> bool:
        """Return whether events of the newest topic arrived in the order of their offsets, or nearly."""
        files = (file for file in self._files[plan.entity] if file.kind == _NEWEST)
        arrivals = sorted((item for file in files for item in arrivals_in(file.path)), key=lambda item: item.first)
        latest_s: dict[int, int] = {}
        for item in arrivals:
            before_s = latest_s.get(item.partition, item.least_s)
            if item.disorder_s > SLACK_S or before_s - item.least_s > SLACK_S:
                return False
            latest_s[item.partition] = max(before_s, item.most_s)
        return True


class _Merge:
    """Merges the rows of an entity."""

    def __init__(self, plan: EntityPlan, topic: bytes) -> None:
        self._plan = plan
        self._topic = topic
        self._algebra = Algebra(plan)
        self._firsts = slots_of_firsts(plan)
        self._distincts = [slot for slot, aggregate in enumerate(plan.slots) if aggregate.kind == "distinct"]
        self._is_plain = not self._distincts and not plan.remembers_s

    def backfilled(self, ids: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> Backfilled:
        """Return the state of an entity of these rows."""
        offsets: dict[int, int] = {}
        for kind, partition, offset, *_ in rows:
            if kind == _NEWEST:
                offsets[partition] = max(offset, offsets.get(partition, -1))
        if len(rows) == 1 and self._is_plain and rows[0][0] != _EARLIER:
            state: bytes = rows[0][4]  # merging would give the same
        else:
            state = self._algebra.encode(self._merged([_Row(*row[:5]) for row in rows], rows[0][5:]))
        key = EntityKey(self._plan.entity, ids)
        return Backfilled(key, state, Fence(self._topic, offsets), max(row[3] for row in rows))

    def _merged(self, rows: Sequence[_Row], distincts: Sequence[int]) -> State:
        states = [self._algebra.decode(row.state) for row in rows]
        before = [state for row, state in zip(rows, states, strict=True) if row.kind != _NEWEST]
        for state in before:
            state.firsts = [None] * len(state.firsts)
        merged = self._algebra.merge_unseen(states)
        for place, slot in enumerate(self._firsts):
            if any(state.slots[slot] for state in before):
                merged.firsts[place] = None
        for slot, number in zip(self._distincts, distincts, strict=True):
            merged.slots[slot] = number
        if self._plan.remembers_s:
            newest = [state.seen for row, state in zip(rows, states, strict=True) if row.kind == _NEWEST]
            merged.seen = _replayed(newest, self._plan.remembers_s)
        return merged


def _replayed(parts: Sequence[Mapping[int, Seen]], within_s: int) -> dict[int, Seen]:
    """Return what all parts have seen, put in again in the order of offsets."""
    merged: dict[int, Seen] = {}
    for partition in sorted({number for part in parts for number in part}):
        seen_parts = [part[partition] for part in parts if partition in part]
        seen = merged[partition] = Seen(max(seen_part.forgotten for seen_part in seen_parts))
        for token, offset, at_s in sorted(
            (entry for seen_part in seen_parts for entry in seen_part), key=lambda entry: entry.offset
        ):
            if offset > seen.forgotten:
                seen.add(token, offset, at_s, within_s)
    return merged


def _keys(plan: EntityPlan) -> str:
    return ", ".join(f"key_{place}" for place in range(len(plan.join_keys)))
