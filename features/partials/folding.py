"""Folding the events of a file of the log by entity and day: the stream's own algebra, on Arrow's columns.

An entity has few events in a file. DuckDB, which collects them in groups, took nine times as long.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from data.schema import Schema
from data.units import DAY_US, MICROS
from features.facts import Fact, fact_class, touches
from features.plan.plan import EntityPlan
from features.seen import Seen, token_of
from features.state.algebra import Algebra, State

__all__ = ["Folded", "Part", "fold_parts"]

_EVENTS = 100_000
"""How many events are folded at once; a day with more has several rows."""


class Part(NamedTuple):
    """The state of some of an entity's events of one day, and the last of their offsets.

    The state counts nothing as distinct, since no part knows what the others have; and it forgets less of what it has
    seen than a whole state does.
    """

    ids: tuple[str, ...]
    state: State
    offset: int


class Folded(NamedTuple):
    """Parts of one kind of entities, partition and day."""

    entity: str
    partition: int
    day: int
    parts: list[Part]


def fold_parts(
    tables: Iterable[pa.Table], plans: Sequence[EntityPlan], *, in_topic: bool, longer_s: int
) -> Iterator[Folded]:
    """Yield the parts of rows of the log, each table of one partition, in the order of offsets.

    `in_topic`: first events and what was seen are noted by their offsets; the latter for `longer_s` more than states
    remember it.
    """
    kinds = [_Kind(plan, in_topic, longer_s) for plan in plans]
    schema = plans[0].schema
    for table in tables:
        for start in range(0, table.num_rows, _EVENTS):
            yield from _folded(table.slice(start, _EVENTS), schema, kinds)


def _folded(table: pa.Table, schema: Schema, kinds: Sequence["_Kind"]) -> Iterator[Folded]:
    days = table["timestamp"].cast(pa.int64()).to_numpy() // DAY_US
    order = np.argsort(days, kind="stable")  # within a day offsets ascend as they did
    table, days = table.take(order), days[order]
    partition: int = table["partition"][0].as_py()
    facts, offsets = _facts(table, schema), table["offset"].to_pylist()
    arrived_s = arrivals_of(table).tolist()
    ends = [*(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)]
    begin = 0
    for end in ends:
        span = slice(begin, end)
        for kind in kinds:
            parts = kind.fold(facts[span], offsets[span], arrived_s[span], partition)
            yield Folded(kind.entity, partition, int(days[begin]), parts)
        begin = end


def arrivals_of(table: pa.Table) -> Any:
    """Return when the rows of a table of the log arrived, s, as an array; at their own times where unknown."""
    arrived = table["arrived"].cast(pa.int64())
    return arrived.fill_null(-1).to_numpy() // MICROS if not arrived.null_count else _own_times(table, arrived)


def _own_times(table: pa.Table, arrived: pa.ChunkedArray) -> Any:
    arrived_us, own_us = arrived.fill_null(-1).to_numpy(), table["timestamp"].cast(pa.int64()).to_numpy()
    return np.where(arrived.is_null().to_numpy(), own_us, arrived_us) // MICROS


def _facts(table: pa.Table, schema: Schema) -> list[Fact]:
    """Return the facts of rows of the log, as `features.facts` makes them of events."""
    made: Any = fact_class(schema)
    measures = {measure.name: measure for measure in schema.measures}
    columns = []
    for name in made._fields:
        if name == "timestamp_us":
            columns.append(table["timestamp"].cast(pa.int64()).to_pylist())
            continue
        values = table[name].to_pylist()
        if name in measures and not measures[name].is_whole:
            unit = measures[name].unit
            values = [round(value * unit) for value in values]
        elif name in schema.labels:
            values = [value or None for value in values]
        columns.append(values)
    return list(map(made._make, zip(*columns, strict=True)))


class _Kind:
    """Folds the events of one kind of entities."""

    def __init__(self, plan: EntityPlan, in_topic: bool, longer_s: int) -> None:
        self.entity = plan.entity
        self._algebra = Algebra(plan)
        self._ids_of: Callable[[Fact], tuple[str, ...] | None] = next(
            touch.of for touch in touches(plan.schema) if touch.entity.name == plan.entity
        )
        self._notes_firsts = in_topic and bool(plan.firsts)
        self._seen_s = plan.remembers_s + longer_s if in_topic and plan.remembers_s else 0

    def fold(
        self, facts: Sequence[Fact], offsets: Sequence[int], arrived_s: Sequence[int], partition: int
    ) -> list[Part]:
        """Fold events of one partition and day."""
        algebra, ids_of = self._algebra, self._ids_of
        empty, update = algebra.empty, algebra.update
        states: dict[tuple[str, ...], State] = {}
        last: dict[tuple[str, ...], int] = {}
        for fact, offset, at_s in zip(facts, offsets, arrived_s, strict=True):
            ids = ids_of(fact)
            if ids is None:
                continue
            state = states.get(ids)
            if state is None:
                state = states[ids] = empty()
            update(state, fact)
            last[ids] = offset
            if self._notes_firsts:
                for place, _ in algebra.firsts_of(fact):
                    state.firsts[place] = state.firsts[place] or (partition, offset)
            if self._seen_s:
                seen = state.seen.setdefault(partition, Seen())
                seen.add(token_of(fact.event_id), offset, at_s, self._seen_s)
        return [Part(ids, state, last[ids]) for ids, state in states.items()]
