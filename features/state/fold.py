"""Fold a micro-batch into the states that it touches, so that every event counts once however often it is delivered.

    read the states ─▶ fold in memory, skipping what a fence covers ─▶ compare-and-set each ─▶ again where one moved

A fence says how far a state is folded, and so implies that nothing before is missing. After a failover of Redis a state
may be older than it was, and the next event's fence would cover the lost ones. So each state that is read again must be
as far as this fold has seen it since replicas last had everything.

A distinct count needs to know whether an event is the first of its kind of a pair, say of a user and a product. The
pair's state remembers the offset of its first event, so an event that is delivered again gets the same answer. So
states of more keys are folded before those of fewer.

A state that cannot be read is left as it is and, where that is asked for, set aside, and all others go on; it is made
anew from its events in log and topic (`features.batch.repair`). A pair's takes along the states whose distinct counts
it was to be asked for.
"""

import gc
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import NamedTuple

from data.errors import FailedOverError, LayoutError, UnavailableError
from data.jitter import jitter
from features.facts import Fact, Touch, touches
from features.plan.distincts import Distincts
from features.plan.plan import Plan
from features.state.algebra import DAMAGE, Algebra
from features.state.fence import Fence
from features.state.redis import OnlineStates
from features.state.states import EntityKey, States, Stored

__all__ = ["Fold", "FoldCounts", "Sourced"]

_log = logging.getLogger(__name__)

_MOST_TRIES = 50
"""Rounds of compare-and-set before giving up; each lost round means that another worker's write succeeded."""


class Sourced(NamedTuple):
    """A fact, and its partition and offset in the topic."""

    fact: Fact
    partition: int
    offset: int


class FoldCounts(NamedTuple):
    """Counts of one micro-batch: its events, those that some state lacked, states written, writes that were retried.

    `aside`: entities whose states could not be read, and those whose distinct counts are one short for it.
    """

    events: int
    folded: int
    states: int
    conflicts: int
    aside: frozenset[EntityKey] = frozenset()


class _Held:
    """The state and fence of one entity while a micro-batch is folded."""

    __slots__ = ("fence", "state")

    def __init__(self, algebra: Algebra, before: Stored, topic: bytes) -> None:
        self.state = algebra.decode(before.state) if before.state else algebra.empty()
        self.fence = Fence.decode(before.fence) if before.fence else Fence(topic)
        if self.fence.topic != topic:
            # Another topic counts from 0 again: the old fence does not apply, nor do the offsets of firsts.
            self.fence = Fence(topic, generation=self.fence.generation + 1)
            self.state.firsts = [None] * len(self.state.firsts)


class _Batch:
    """A micro-batch while it is folded.

    Per event: of what it is the first (bits of `Distincts`), and whether some state lacked it. In total: states
    written, conflicts, states created by entity, entities set aside. `watch`: whether to remember how far states are.
    """

    def __init__(self, events: Sequence[Sourced], watch: bool) -> None:
        self.events = events
        self.watch = watch
        self.firsts = [0] * len(events)
        self.lacked = [False] * len(events)
        self.states = self.conflicts = 0
        self.created: dict[str, int] = {}
        self.aside = set[EntityKey]()


_NOTHING: Mapping[int, int] = {}

_Places = list[int]
"""Indices into a batch of one entity's events, ascending."""


class Fold:
    """Folds micro-batches of one topic. Between two of them it keeps only how far it has seen states.

    `store`: where states that cannot be read are set aside, and new ones counted. Without it StateError refuses a batch
    that has a state which cannot be read.
    """

    def __init__(self, plan: Plan, states: States, topic: bytes, *, store: OnlineStates | None = None) -> None:
        self._store = store
        self._states = states
        self._topic = topic
        self._seen: dict[EntityKey, dict[int, int]] = {}
        """Per entity and partition, the last offset in its state when that was last read or written."""
        self._named = set[EntityKey]()
        """Entities of which the log has said lately that they are set aside."""
        self._algebras = {entity.entity: Algebra(entity) for entity in plan.entities}
        self._distincts = Distincts(plan)
        levels = groupby(touches(plan.schema), lambda touch: len(touch.entity.join_keys))
        self._levels = [list(level) for _, level in levels]

    def apply(self, events: Sequence[Sourced], *, watch: bool = False) -> FoldCounts:
        """Fold events, in offset order per partition, into Redis. On return each is in its states, once.

        `watch` remembers how far states are (a tenth of the work). Raises FailedOverError where a state is older than
        it was: then nothing may be folded before everything since the last `forget` is folded again, after another
        `forget`.
        """
        batch = _Batch(events, watch)
        with _paused_collector():
            for level in self._levels:
                known = len(batch.aside)
                self._settle(batch, _touched(events, level))
                if len(batch.aside) > known and self._store is not None:  # before anything is counted without them
                    counted = [one for key in batch.aside for one in self._distincts.counted_by(key.entity, key.ids)]
                    batch.aside |= {EntityKey(entity, ids) for entity, ids in counted}
                    self._store.aside.add(batch.aside)
        if batch.created and self._store is not None:
            self._store.inventory.add(batch.created)
        return FoldCounts(len(events), sum(batch.lacked), batch.states, batch.conflicts, frozenset(batch.aside))

    def forget(self) -> None:
        """Forget how far states are.

        To be called when replicas have all that was folded, so that no state can go back behind it; and before all that
        they may lack is folded again.
        """
        self._seen.clear()
        self._named.clear()

    def _settle(self, batch: _Batch, waiting: dict[EntityKey, _Places]) -> None:
        """Read each entity, fold its events and write it if it changed.

        Repeat for those that another writer changed.
        """
        for attempt in range(_MOST_TRIES):
            writes = {}
            damaged = []
            for (key, places), before in zip(waiting.items(), self._states.read(list(waiting)), strict=True):
                algebra = self._algebras[key.entity]
                try:
                    held = _Held(algebra, before, self._topic)
                    if batch.watch:
                        self._check(key, held.fence)
                    fold = self._fold_first if algebra.plan.firsts else self._fold_one
                    if fold(algebra, held, batch, places):
                        writes[key] = (before, algebra.encode(held.state), held.fence)
                except LayoutError:
                    raise  # all states are of other definitions, and none is damaged
                except DAMAGE as error:
                    if self._store is None:
                        raise
                    damaged.append((key, places))
                    if key not in self._named:
                        self._named.add(key)
                        _log.error("%s %s is set aside: %s", key.entity, "/".join(key.ids), error)
            for key, places in damaged:
                self._set_aside(batch, key, places)
                del waiting[key]
            lost = self._states.compare_and_set(writes)
            batch.states += len(writes) - len(lost)
            batch.conflicts += len(lost)
            for key in {key for key, (before, _, _) in writes.items() if not before.fence and not before.state} - set(
                lost
            ):
                batch.created[key.entity] = batch.created.get(key.entity, 0) + 1
            if batch.watch:
                self._see(batch, waiting if not lost else {key: waiting[key] for key in waiting.keys() - set(lost)})
            if not lost:
                return
            waiting = {key: waiting[key] for key in lost}
            _step_back(attempt)
        raise UnavailableError(f"Redis: {len(waiting)} states kept changing under {_MOST_TRIES} tries to write them")

    def _set_aside(self, batch: _Batch, key: EntityKey, places: _Places) -> None:
        batch.aside.add(key)
        others = ~self._distincts.all_of(key.entity)
        for place in places:  # of which it may have answered some before it broke
            batch.firsts[place] &= others

    def _check(self, key: EntityKey, fence: Fence) -> None:
        for partition, offset in self._seen.get(key, _NOTHING).items():
            if fence.offsets.get(partition, -1) < offset:
                raise FailedOverError(
                    f"Redis: the state of {key.entity} {'/'.join(key.ids)} is older than it was, so a primary was "
                    "replaced; what replicas may not have had is folded again",
                    nodes=(),
                )

    def _see(self, batch: _Batch, settled: Mapping[EntityKey, _Places]) -> None:
        events, seen = batch.events, self._seen
        for key, places in settled.items():
            offsets = seen.get(key)
            if offsets is None:
                offsets = seen[key] = {}
            for place in places:
                _, partition, offset = events[place]
                offsets[partition] = offset

    def _fold_first(self, algebra: Algebra, held: _Held, batch: _Batch, places: _Places) -> bool:
        """Fold an entity's events, and mark those that are the first of their kind.

        One that is delivered again is still a first.
        """
        state, offsets = held.state, held.fence.offsets
        entity = algebra.plan.entity
        bits, others = self._distincts.bits(entity), ~self._distincts.all_of(entity)
        changed = False
        for place in places:
            fact, partition, offset = batch.events[place]
            firsts = batch.firsts[place] & others
            if offset <= offsets.get(partition, -1):
                for first, _ in algebra.firsts_of(fact):
                    if state.firsts[first] == (partition, offset):
                        firsts |= bits[first]
                batch.firsts[place] = firsts
                continue
            for first, count in algebra.firsts_of(fact):
                if not state.slots[count]:
                    state.firsts[first] = (partition, offset)
                    firsts |= bits[first]
            batch.firsts[place] = firsts
            algebra.update(state, fact, self._distincts.slots(entity, firsts))
            offsets[partition] = offset
            batch.lacked[place] = changed = True
        return changed

    def _fold_one(self, algebra: Algebra, held: _Held, batch: _Batch, places: _Places) -> bool:
        """Fold the events of an entity that no distinct count depends on."""
        state, offsets, update = held.state, held.fence.offsets, algebra.update
        slots, entity = self._distincts.slots, algebra.plan.entity
        changed = False
        for place in places:
            fact, partition, offset = batch.events[place]
            if offset > offsets.get(partition, -1):
                firsts = batch.firsts[place]
                update(state, fact, slots(entity, firsts) if firsts else ())
                offsets[partition] = offset
                batch.lacked[place] = changed = True
        return changed


def _touched(events: Sequence[Sourced], level: Sequence[Touch]) -> dict[EntityKey, _Places]:
    """Return the entities that events touch, each with the places of its events."""
    found: dict[EntityKey, _Places] = {}
    for entity, pick, partly in level:
        of_entity: dict[tuple[str, ...], _Places] = {}
        for place, (fact, _, _) in enumerate(events):
            ids = pick(fact)
            if ids in of_entity:
                of_entity[ids].append(place)
            elif not (partly and None in ids):
                of_entity[ids] = [place]
        found |= {EntityKey(entity.name, ids): places for ids, places in of_entity.items()}
    return found


def _step_back(lost: int) -> None:
    """Sleep for a random time (ms) after a lost round, so that no worker starves on a product of several."""
    if lost:
        time.sleep(jitter(0, min(0.0005 * 2**lost, 0.02)))


@contextmanager
def _paused_collector() -> Iterator[None]:
    """Disable Python's cycle collector, which would traverse thousands of live states without cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
