"""Making states anew that cannot be read, from the event log, which has every event of theirs."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice

from data.log.event_log import EventLog
from features.batch.engine import MEMORY, DuckDBEngine
from features.plan.plan import Plan
from features.state.fence import Fence
from features.state.redis import OnlineStates
from features.state.states import EntityKey

__all__ = ["remake"]

_AT_ONCE = 5_000
"""Entities whose events are gathered at once."""


def remake(plan: Plan, states: OnlineStates, log: EventLog, keys: Iterable[EntityKey], *, memory: str = MEMORY) -> int:
    """Make the states of entities anew from the log; how many. One that the log knows nothing of has none then.

    For use while all workers stand still with all that they folded in the log: what it lacks would be lost to these
    states. Raises DataError, with states as they were, where the log has a hole or cannot be read.
    """
    waiting: dict[str, list[EntityKey]] = defaultdict(list)
    for key in keys:
        waiting[key.entity].append(key)
    made = 0
    with DuckDBEngine(log, memory=memory) as engine:
        for entity, of_entity in waiting.items():
            rest = iter(of_entity)
            while some := list(islice(rest, _AT_ONCE)):
                made += _remake(engine, plan, states, entity, some)
    return made


def _remake(engine: DuckDBEngine, plan: Plan, states: OnlineStates, entity: str, keys: Sequence[EntityKey]) -> int:
    rebuilt = {one.key: one for one in engine.states_of(plan.of(entity), [key.ids for key in keys])}
    before = {key: Fence.decode_or_new(stored.fence) for key, stored in zip(keys, states.read(keys), strict=True)}
    states.discard([key for key in keys if key not in rebuilt])
    states.replace(
        {
            # Another generation: a worker that read the old state must not write over this one.
            key: (
                one.state,
                Fence(one.fence.topic, one.fence.offsets, before[key].generation + 1),
            )
            for key, one in rebuilt.items()
        }
    )
    states.take_back(keys)
    return len(rebuilt)
