"""States as they were when they were read: folded from the event log up to the fences that were read beside them.

A fence says exactly which events a state holds: all of the sources before its topic, and of each of that topic's
partitions those up to an offset. The log has partition and offset of every event, and states merge to the last bit. So
one pass over the log folds each entity's part of each partition, keeping what it is at every offset that a fence names;
the state at a fence is these parts merged. Ten thousand fences cost one pass.

    partition 0   e e | e   e |          parts at the offsets of two fences
    partition 1     e |  e    e   e |    state at a fence = history + part of 0 + part of 1
"""

import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import attrgetter
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from data.log.event_table import placed_events
from data.log.log import Log
from data.log.sources import is_topic, topic_source
from features.facts import Fact, fact_maker, touches
from features.plan.distincts import Distincts
from features.plan.plan import Plan
from features.state.algebra import Algebra, State
from features.state.fence import Fence
from features.state.states import EntityKey

__all__ = ["Logged", "Past", "Reads"]

Reads = Mapping[EntityKey, Iterable[Fence]]
"""Entities, and the fences with which their states were read."""

_WHOLE = sys.maxsize
"""The offset that stands for all of a source's partition."""

_offset = attrgetter("offset")

_Place = tuple[str, int]
"""A source and a partition."""


class Logged(NamedTuple):
    """An event of an entity as the log has it; `distincts` are the slots of its state that count it as a first."""

    source: str
    partition: int
    offset: int
    fact: Fact
    distincts: Sequence[int]


class _Part:
    """An entity's events of one partition, folded up to the offsets that are wanted, in ascending order."""

    __slots__ = ("_next", "_state", "_wanted", "events", "taken")

    def __init__(self, wanted: Sequence[int]) -> None:
        self.events: list[Logged] = []
        self.taken: dict[int, bytes] = {}
        self._wanted = wanted
        self._next = 0
        self._state: State | None = None

    def fold(self, algebra: Algebra, event: Logged) -> None:
        self.take(algebra, event.offset)
        if self._next < len(self._wanted):
            if self._state is None:
                self._state = algebra.empty()
            algebra.update(self._state, event.fact, event.distincts)

    def take(self, algebra: Algebra, before: int) -> None:
        """Keep what the part is at the wanted offsets that lie before this one."""
        while self._next < len(self._wanted) and self._wanted[self._next] < before:
            self.taken[self._wanted[self._next]] = b"" if self._state is None else algebra.encode(self._state)
            self._next += 1


class Past:
    """What the log says of entities at fences. Everything is read by the constructor.

    `listed`: keep the events of the entities too, also those past the fences. `later`: a history that came into the log
    after a fence's topic belongs to its states, which were rebuilt from the log since.

    Raises DataError where events cannot be read, or are missing (LogHoleError).
    """

    def __init__(self, plan: Plan, log: Log, reads: Reads, *, listed: bool = False, later: bool = False) -> None:
        self._log = log
        self._later = later
        self._coverage = {source: log.coverage(source) for source in log.sources()}
        self._algebras = {entity.entity: Algebra(entity) for entity in plan.entities}
        self._distincts = Distincts(plan)
        self._touches = touches(plan.schema)
        self._seers = [touch for touch in self._touches if plan.of(touch.entity.name).firsts]
        self._firsts = set[tuple[str, tuple[str, ...], int]]()
        self._schema = plan.schema
        self._parts: dict[EntityKey, dict[_Place, _Part]] = {}
        self._merged: dict[tuple[EntityKey, bytes], bytes] = {}
        self._begins: dict[_Place, int] = {}
        """Of each partition that was read, the offset of the first event that the log has."""
        wanted = self._wanted(reads)
        for source, partitions in self._coverage.items():
            for partition in partitions:
                offsets = wanted.get((source, partition), {})
                if listed:
                    offsets = {key: offsets.get(key, set()) for key in reads}
                if offsets:
                    self._read((source, partition), offsets, listed)

    @property
    def has_later_histories(self) -> bool:
        """Whether a history came into the log after a topic."""
        sources = list(self._coverage)
        first = next((place for place, name in enumerate(sources) if is_topic(name)), len(sources))
        return not all(map(is_topic, sources[first:]))

    def state(self, key: EntityKey, fence: Fence) -> State | None:
        """Return an entity's state at a fence of those that it was read with; None where it holds no event."""
        cache_key = key, fence.encode()
        if cache_key not in self._merged:
            algebra, parts = self._algebras[key.entity], self._parts.get(key, {})
            encoded_parts = [parts[place].taken[offset] for place, offset in self._extent(fence) if place in parts]
            states = [algebra.decode(data) for data in encoded_parts if data]
            self._merged[cache_key] = algebra.encode(reduce(algebra.merge, states)) if states else b""
        data = self._merged[cache_key]
        return self._algebras[key.entity].decode(data) if data else None

    def events(self, key: EntityKey, fence: Fence | None) -> tuple[list[Logged], list[Logged]]:
        """Return the events of an entity that a state with this fence holds, and the others, in the log's order.

        Without a fence it holds none. Needs `listed`.
        """
        extent = {} if fence is None else dict(self._extent(fence))
        included: list[Logged] = []
        others: list[Logged] = []
        for place, part in self._parts.get(key, {}).items():
            upto = bisect_right(part.events, extent.get(place, -1), key=_offset)
            included += part.events[:upto]
            others += part.events[upto:]
        return included, others

    def lacks(self, fence: Fence) -> str:
        """Return, in words, what the log lacks of the events that a state with this fence holds; empty for nothing.

        Events that are missing from the beginning of a partition are reported, though whether the state held one of
        them is not known.
        """
        if not fence.topic:
            return ""
        source = topic_source(fence.topic)
        if source not in self._coverage:
            return f"the event log has nothing of the topic {fence.topic.hex()}"
        coverage = self._coverage[source]
        for partition, offset in sorted(fence.offsets.items()):
            consumed = coverage[partition].consumed if partition in coverage else []
            if not consumed or consumed[-1].stop <= offset:
                return f"the event log does not have partition {partition} up to offset {offset} yet"
            first = self._begins.get((source, partition), offset + 1)
            if first > 0:
                return f"the event log has no events of partition {partition} before offset {first} any more"
        return ""

    def _extent(self, fence: Fence) -> Iterator[tuple[_Place, int]]:
        """Yield the places of the events that a state with this fence holds, and up to which offset."""
        source, is_before = topic_source(fence.topic) if fence.topic else "", True
        for name, partitions in self._coverage.items():
            is_before &= name != source
            if (is_before and bool(source)) or (not is_topic(name) and (self._later or not source)):
                yield from (((name, partition), _WHOLE) for partition in partitions)
        yield from (((source, partition), offset) for partition, offset in sorted(fence.offsets.items()))

    def _wanted(self, reads: Reads) -> dict[_Place, dict[EntityKey, set[int]]]:
        offsets: dict[_Place, dict[EntityKey, set[int]]] = {}
        for key, fences in reads.items():
            for fence in fences:
                for place, offset in self._extent(fence):
                    offsets.setdefault(place, {}).setdefault(key, set()).add(offset)
        return offsets

    def _read(self, place: _Place, wanted: Mapping[EntityKey, set[int]], listed: bool) -> None:
        """Fold the events of one partition into the parts of the entities that are wanted."""
        parts: dict[str, dict[tuple[str, ...], _Part]] = {}
        for key, offsets in wanted.items():
            part = _Part(sorted(offsets))
            self._parts.setdefault(key, {})[place] = part
            parts.setdefault(key.entity, {})[key.ids] = part
        touched = [touch for touch in self._touches if touch.entity.name in parts]
        upto = _WHOLE if listed else max(map(max, wanted.values()))
        make, (source, partition) = fact_maker(self._schema), place
        tables = self._log.read(source, partition, range(min(upto, _WHOLE - 1) + 1))
        concerns = _concerns(wanted, {touch.entity.name: touch.entity.join_keys for touch in touched})
        for table in tables:
            self._begins.setdefault(place, table["offset"][0].as_py())
            for offset, event, _ in placed_events(table.filter(concerns(table)), self._schema):
                fact = make(event)
                firsts = self._firsts_of(fact)
                for touch in touched:
                    ids, name = touch.of(fact), touch.entity.name
                    if ids is not None and (entity_part := parts[name].get(ids)) is not None:
                        logged = Logged(source, partition, offset, fact, self._distincts.slots(name, firsts))
                        entity_part.fold(self._algebras[name], logged)
                        if listed:
                            entity_part.events.append(logged)
        for key in wanted:
            self._parts[key][place].take(self._algebras[key.entity], _WHOLE + 1)

    def _firsts_of(self, fact: Fact) -> int:
        """Return which firsts an event is, as the bits of `Distincts`; called in the order of the log."""
        bits = 0
        for touch in self._seers:
            ids, name = touch.of(fact), touch.entity.name
            if ids is None:
                continue
            for first, _ in self._algebras[name].firsts_of(fact):
                if (name, ids, first) not in self._firsts:
                    self._firsts.add((name, ids, first))
                    bits |= self._distincts.bits(name)[first]
        return bits


def _concerns(wanted: Iterable[EntityKey], columns: Mapping[str, Sequence[str]]) -> Callable[[pa.Table], Any]:
    """Return a function that selects rows of the log that may be of these entities; it leaves out none of theirs."""
    ids: dict[str, list[tuple[str, ...]]] = {}
    for key in wanted:
        ids.setdefault(key.entity, []).append(key.ids)
    values = {
        name: [
            (column, pa.array({entity_ids[place] for entity_ids in ids[name]}, pa.string()))
            for place, column in enumerate(join_keys)
        ]
        for name, join_keys in columns.items()
    }

    def concerns(table: pa.Table) -> Any:
        return reduce(
            pc.or_,
            (
                reduce(pc.and_, (pc.is_in(table[name], allowed) for name, allowed in columns))
                for columns in values.values()
            ),
        )

    return concerns
