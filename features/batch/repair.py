"""Making states anew that cannot be read, beside workers that go on folding.

    an entity's events in the log ─▶ state ─▶ folded on with what the topic holds beyond the log ─▶ compare-and-set
                                                  ▲────────── again where a worker was further ◀──────┘

A new state may be ahead of the workers: its fence covers what they bring. What one of them could not fold into the
damaged state after that, it names as set aside anew (`features.state.aside`), and it is made anew once more.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from itertools import islice

from data.errors import UnavailableError
from data.log.event_log import EventLog
from features.batch.engine import MEMORY, DuckDBEngine
from features.facts import touches
from features.plan.plan import Plan
from features.state.fence import Fence
from features.state.fold import Fold, Sourced
from features.state.memory import MemoryStates
from features.state.states import NOTHING, EntityKey, States

__all__ = ["Newer", "remake"]

Newer = Callable[[], Sequence[Sourced]]
"""Returns what the topic holds past the log, and past what the call before returned, in offset order per partition."""

_AT_ONCE = 5_000
"""Entities whose events are gathered at once."""

_MOST_TRIES = 20
"""Rounds before giving up; in each of them a worker was further than this."""


def remake(
    plan: Plan,
    states: States,
    log: EventLog,
    topic: bytes,
    *,
    keys: Collection[EntityKey],
    newer: Newer,
    memory: str = MEMORY,
) -> None:
    """Make the states of entities anew from the log and `newer`; one without events has an empty state then.

    `topic` is the id of the topic that workers fold. What `newer` returns first must begin where the log ended before
    this call, or earlier. Raises DataError where the log has a hole or cannot be read, and UnavailableError where
    workers were always further.
    """
    with DuckDBEngine(log, memory=memory) as engine:
        work = _Remake(plan, engine, topic, keys)
        waiting = list(keys)
        for _ in range(_MOST_TRIES):
            work.fold(newer())
            waiting = work.write(states, waiting)
            if not waiting:
                return
    raise UnavailableError(f"states: {len(waiting)} kept changing under {_MOST_TRIES} tries to make them anew")


class _Remake:
    """The new states, in memory, with those of all entities that see the firsts of others."""

    def __init__(self, plan: Plan, engine: DuckDBEngine, topic: bytes, keys: Collection[EntityKey]) -> None:
        self._plan = plan
        self._engine = engine
        self._topic = topic
        self._touches = touches(plan.schema)
        self._made = MemoryStates(plan.schema)
        self._fold = Fold(plan, self._made, topic)
        self._gathered = set[EntityKey]()
        self._keys = frozenset(keys)
        self._gather(keys)

    def fold(self, events: Sequence[Sourced]) -> None:
        """Fold those of these events that concern the entities."""
        wanted = self._keys
        named = [(one, self._keys_of(one)) for one in events]
        concerned = [(one, its) for one, its in named if not wanted.isdisjoint(its)]
        self._gather({key for _, its in concerned for key in its if self._plan.of(key.entity).firsts})
        self._fold.apply([one for one, _ in concerned])

    def _keys_of(self, one: Sourced) -> list[EntityKey]:
        """Return the entities of an event."""
        named = ((touch.entity.name, touch.of(one.fact)) for touch in self._touches)
        return [EntityKey(name, ids) for name, ids in named if ids is not None]

    def write(self, states: States, keys: Sequence[EntityKey]) -> list[EntityKey]:
        """Put the new states in the place of the stored ones; return those of which a worker has folded more."""
        writes = {}
        ahead = []
        for key, before, new in zip(keys, states.read(keys), self._made.read(keys), strict=True):
            stored, made = Fence.decode_or_new(before.fence), Fence.decode_or_new(new.fence)
            if stored.topic == self._topic and stored.ahead_of(made if made.topic == self._topic else Fence()):
                ahead.append(key)
            else:
                # Another generation: a worker that read the old state must not write over this one.
                fence = Fence(made.topic, made.offsets, stored.generation + 1)
                writes[key] = (before, new.state, fence)
        return ahead + states.compare_and_set(writes)

    def _gather(self, keys: Collection[EntityKey]) -> None:
        """Take the states of entities from the log, each once."""
        waiting: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for key in set(keys) - self._gathered:
            waiting[key.entity].append(key.ids)
        self._gathered.update(keys)
        for entity, of_entity in waiting.items():
            rest = iter(of_entity)
            while some := list(islice(rest, _AT_ONCE)):
                rebuilt = self._engine.states_of(self._plan.of(entity), some)
                self._made.compare_and_set({one.key: (NOTHING, one.state, one.fence) for one in rebuilt})
