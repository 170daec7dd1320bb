"""Rebuilds states that cannot be read, beside workers that go on folding.

    an entity's events in the log ─▶ state ─▶ folded on with what the topic holds beyond the log ─▶ compare-and-set
                                                  ▲────────── again where a worker was further ◀──────┘

A new state may be ahead of the workers: its fence covers what they bring. What one of them could not fold into the
damaged state after that, it sets aside again (`features.state.online.aside`), and the state is rebuilt once more.
Repeats, and the first event of a pair, are told by the stored states of other entities, which are whole.

A state without which nothing can be folded, since it tells repeats, is made of the log alone: the workers, which have
passed none of its events since, read again what is not committed.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice

from data.errors import LayoutError, OvertakenError, UnavailableError, UnsettledError
from data.log.event_log import EventLog
from features.batch.engine import MEMORY, DuckDBEngine
from features.facts import touches
from features.plan.plan import Plan
from features.state.algebra import DAMAGE, Algebra
from features.state.editions.behind import ends_of
from features.state.fence import Fence
from features.state.fold import Fold, Settled, Sourced
from features.state.memory import MemoryStates
from features.state.states import NOTHING, EntityKey, States, Stored

__all__ = ["Newer", "remake", "remake_logged"]

Newer = Callable[[], Sequence[Sourced]]
"""Returns what the topic holds past the log, and past what the call before returned, in offset order per partition.

One that raises UnavailableError has returned nothing: the next call returns that as well.
"""

_AT_ONCE = 5_000
"""Entities whose events are gathered at once."""

_MOST_TRIES = 20
"""Rounds before giving up; in each of them a worker was further than this, or Redis or Kafka was away."""


def remake(
    plan: Plan,
    states: States,
    log: EventLog,
    topic: bytes,
    *,
    keys: Collection[EntityKey],
    newer: Newer,
    others: States | None = None,
    memory: str = MEMORY,
    again_s: float = 0.5,
) -> None:
    """Rebuild the states of entities from the log and `newer`; one without events has an empty state then.

    `topic` is the id of the topic that workers fold. What `newer` returns first must begin where the log ended before
    this call, or earlier; and no later than everything is folded into `others`, the states of those entities that are
    not set aside (None: theirs are made of the log as well). Where Redis or Kafka is away it is tried again after
    `again_s` seconds, 20 times: what was read from the log holds. Raises DataError where the log has a hole or cannot
    be read, and UnavailableError where they stay away, or workers were always further.
    """
    waiting = list(keys)
    away: UnavailableError | None = None
    with DuckDBEngine(log, memory=memory) as engine:
        logged = ends_of(log, topic)
        work = _Remake(plan, engine, topic, keys, logged, others=others)
        for _ in range(_MOST_TRIES):
            try:
                work.fold(newer())
                waiting, away = work.write(states, waiting), None
            except UnavailableError as error:
                away = error
                time.sleep(again_s)
            except OvertakenError as error:
                raise UnavailableError(f"the event log grew meanwhile: {error}") from error
            if not waiting:
                return
    raise away or UnavailableError(f"states: {len(waiting)} kept changing under {_MOST_TRIES} tries to make them anew")


def remake_logged(
    plan: Plan,
    states: States,
    log: EventLog,
    topic: bytes,
    *,
    found: Mapping[EntityKey, Stored],
    memory: str = MEMORY,
) -> frozenset[EntityKey]:
    """Rebuild states from the log alone; return those that still are what was `found`, which are replaced.

    For states that no worker can read, or passes an event of. To be called after another revision was begun
    (`features.state.online.inventory`), so that a worker that has folded more of them than the log holds reads that
    again. Raises DataError where the log has a hole or cannot be read.
    """
    if not log.listing():
        return frozenset(found).difference(_put(states, found, MemoryStates(plan.schema)))
    with DuckDBEngine(log, memory=memory) as engine:
        work = _Remake(plan, engine, topic, found.keys(), {})
        return frozenset(found).difference(_put(states, found, work.made))


class _Remake:
    """The new states, in memory, with those of all entities that see the firsts of others or tell repeats.

    `logged`: per partition, the end of the log. What is past it may be read again, and must not be forgotten.
    """

    def __init__(
        self,
        plan: Plan,
        engine: DuckDBEngine,
        topic: bytes,
        keys: Collection[EntityKey],
        logged: Mapping[int, int],
        *,
        others: States | None = None,
    ) -> None:
        self._plan = plan
        self._engine = engine
        self._others = others
        self._topic = topic
        self._touches = touches(plan.schema)
        self._algebras = {entity.entity: Algebra(entity) for entity in plan.entities}
        self.made = MemoryStates(plan.schema)
        self._fold = Fold(plan, self.made, topic)
        self._settled = Settled(logged, {})
        self._logged = logged
        self._newer: list[tuple[Sourced, list[EntityKey]]] = []
        self._gathered = set[EntityKey]()
        self._keys = frozenset(keys)
        self._gather(keys)

    def fold(self, events: Sequence[Sourced]) -> None:
        """Fold those of these and of earlier events that concern the entities, as far as workers may be."""
        wanted = self._keys
        self._newer += [(sourced, self._keys_of(sourced)) for sourced in events]
        concerned = [keys for _, keys in self._newer if not wanted.isdisjoint(keys)]
        sees = {entity.entity for entity in self._plan.entities if entity.firsts or entity.remembers_s}
        self._gather(self._not_stored({key for keys in concerned for key in keys if key.entity in sees}))
        # All events of entities that tell repeats: those of others are remembered too, and displace earlier ones.
        tells = {key for keys in concerned for key in keys if self._plan.of(key.entity).remembers_s}
        relevant = [
            sourced for sourced, keys in self._newer if not (wanted.isdisjoint(keys) and tells.isdisjoint(keys))
        ]
        try:
            self._fold.apply(relevant, settled=self._settled)
        except UnsettledError as error:
            # No worker passes this event before all earlier ones are in the log.
            self._fold.apply(relevant[: error.place], settled=self._settled)

    def _keys_of(self, sourced: Sourced) -> list[EntityKey]:
        """Return the entities of an event."""
        pairs = ((touch.entity.name, touch.of(sourced.fact)) for touch in self._touches)
        return [EntityKey(name, ids) for name, ids in pairs if ids is not None]

    def write(self, states: States, keys: Sequence[EntityKey]) -> list[EntityKey]:
        """Replace the stored states by the new ones; return those of which a worker has folded more."""
        replaced = {}
        ahead = []
        for key, before, new in zip(keys, states.read(keys), self.made.read(keys), strict=True):
            stored, made = Fence.decode_or_new(before.fence), Fence.decode_or_new(new.fence)
            if stored.topic == self._topic and stored.ahead_of(self._reach(made)):
                ahead.append(key)
            else:
                replaced[key] = before
        return ahead + _put(states, replaced, self.made)

    def _not_stored(self, keys: Collection[EntityKey]) -> list[EntityKey]:
        """Take the stored states of other entities; return those that cannot be read."""
        missing = [key for key in keys if key not in self._gathered]
        if self._others is None:
            return missing
        stored_states = {
            key: (NOTHING, stored.state, Fence.decode(stored.fence))
            for key, stored in zip(missing, self._others.read(missing), strict=True)
            if self._is_whole(key, stored)
        }
        self.made.compare_and_set(stored_states)
        self._gathered.update(stored_states)
        return [key for key in missing if key not in stored_states]

    def _is_whole(self, key: EntityKey, stored: Stored) -> bool:
        try:
            self._algebras[key.entity].decode(stored.state)
            return Fence.decode(stored.fence).topic == self._topic
        except LayoutError:
            raise
        except DAMAGE:
            return False

    def _reach(self, made: Fence) -> Fence:
        """Return how far a new state is: it has all that is logged, also where the last event of that was removed."""
        offsets = dict(made.offsets) if made.topic == self._topic else {}
        for partition, end in self._logged.items():
            offsets[partition] = max(end - 1, offsets.get(partition, -1))
        return Fence(self._topic, offsets)

    def _gather(self, keys: Collection[EntityKey]) -> None:
        """Take the states of entities from the log, each once."""
        waiting: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for key in set(keys) - self._gathered:
            waiting[key.entity].append(key.ids)
        self._gathered.update(keys)
        for entity, entity_ids in waiting.items():
            rest = iter(entity_ids)
            while chunk := list(islice(rest, _AT_ONCE)):
                rebuilt = self._engine.states_of(self._plan.of(entity), chunk)
                self.made.compare_and_set({item.key: (NOTHING, item.state, item.fence) for item in rebuilt})


def _put(states: States, replaced: Mapping[EntityKey, Stored], made: States) -> list[EntityKey]:
    """Replace states by those that are made; return those that were written meanwhile."""
    writes = {}
    for (key, before), new in zip(replaced.items(), made.read(list(replaced)), strict=True):
        fence = Fence.decode_or_new(new.fence)
        # Another generation: a worker that read the old state must not write over this one.
        fence = Fence(fence.topic, fence.offsets, Fence.decode_or_new(before.fence).generation + 1)
        writes[key] = (before, new.state, fence)
    return states.compare_and_set(writes)
