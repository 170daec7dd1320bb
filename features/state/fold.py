"""Fold a micro-batch into the states that it touches, so that every event counts once however often it is delivered.

    read the states ─▶ fold in memory, skipping what a fence covers ─▶ compare-and-set each ─▶ again where one moved

A fence says how far a state is folded, and so implies that nothing before is missing. After a failover of Redis a state
may be older than it was, and the next event's fence would cover the lost ones. So each state that is read again must be
as far as this fold has seen it since replicas last had everything.

A distinct count needs to know whether an event is the first of its kind of a pair, say of a user and a product. The
pair's state remembers the offset of its first event, so an event that is delivered again gets the same answer. So
states of more keys are folded before those of fewer.

An event that its client sent again is not folded. The state of the ordering key tells (`features.seen`), and is read
before all others. It must not forget an event that may be read again, since nothing could tell then what that was: the
batch is refused (UnsettledError) until earlier events are committed.

Of writers that fold into one state at once, as a product's, all but one have to read it again. What its batch adds is
then folded once more, by itself, and merged into what is read: a moment, however many events and writers there are.

A state that cannot be read is left as it is and, if there is a `store`, set aside, and all others go on; it is rebuilt
from its events in log and topic (`features.batch.repair`). A pair's takes along the states whose distinct counts depend
on it.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from data.errors import (
    FailedOverError,
    LayoutError,
    OvertakenError,
    UnavailableError,
    UndecidedError,
    UnsettledError,
)
from data.jitter import jitter
from data.units import MICROS
from features.collector import paused_collector
from features.facts import Sourced, Touch, touches
from features.plan.distincts import Distincts
from features.plan.plan import Plan
from features.seen import Seen, token_of
from features.state.algebra import DAMAGE, Algebra
from features.state.fence import Fence
from features.state.online.states import OnlineStates
from features.state.states import NOTHING, EntityKey, States, Stored

__all__ = ["Fold", "FoldCounts", "Settled", "Sourced"]

_log = logging.getLogger(__name__)

_FEW = 64
"""States that are read and written at once where other writers have them too, so that each is held for milliseconds."""

_MOST_TRIES = 50
"""Rounds of compare-and-set before giving up; each lost round means that another worker's write succeeded."""


class Settled(NamedTuple):
    """What is not read again: per partition, the offsets before which all is committed, and before which it is logged.

    What is logged and not committed may be read again, and is in the log as it was decided.
    """

    committed: Mapping[int, int]
    logged: Mapping[int, int]


class FoldCounts(NamedTuple):
    """Counts of one micro-batch: its events, those that some state lacked, states written, writes that were retried.

    `aside`: entities whose states could not be read, and those whose distinct counts lack one for it. `repeats`:
    places of events in the batch that were sent before, and are in no state.
    """

    events: int
    folded: int
    states: int
    conflicts: int
    aside: frozenset[EntityKey] = frozenset()
    repeats: frozenset[int] = frozenset()


class _WorkingState:
    """The state and fence of one entity while a micro-batch is folded."""

    __slots__ = ("fence", "state")

    def __init__(self, algebra: Algebra, before: Stored, topic: bytes) -> None:
        self.state = algebra.decode(before.state) if before.state else algebra.empty()
        self.fence = Fence.decode(before.fence) if before.fence else Fence(topic)
        if self.fence.topic != topic:
            # Another topic counts from 0 again: the old fence does not apply, nor do the offsets of firsts.
            self.fence = Fence(topic, generation=self.fence.generation + 1)
            self.state.firsts = [None] * len(self.state.firsts)
            self.state.seen = {}


class _Batch:
    """A micro-batch while it is folded.

    Per event: of what it is the first (bits of `Distincts`), and whether some state lacked it. In total: states
    written, conflicts, states created by entity, entities set aside. `watch`: whether to remember how far states are.
    `repeats`: places of events that were sent before; `tokens` are those of ids. `added`: what it adds to states that
    were lost, after these offsets, by entity's kind and first place.
    """

    def __init__(self, events: Sequence[Sourced], watch: bool, logged: bool, settled: Settled | None) -> None:
        self.events = events
        self.watch = watch
        self.logged = logged
        self.settled = settled
        self.repeats = set[int]()
        self.tokens: dict[int, bytes] = {}
        self.firsts = [0] * len(events)
        self.lacked = [False] * len(events)
        self.states = self.conflicts = 0
        self.created: dict[str, int] = {}
        self.added: dict[tuple[str, int], tuple[dict[int, int], _WorkingState]] = {}
        self.aside = set[EntityKey]()


_NOTHING: Mapping[int, int] = {}

_Places = list[int]
"""Indices into a batch of one entity's events, ascending."""

_Ready = Mapping[EntityKey, tuple[_Places, Stored, _WorkingState]]
"""By entity: the places of its events, what is stored, and the state in it to fold on."""

_NOT_READ: _Ready = {}


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
        self._reported = set[EntityKey]()
        """Entities of which it was lately logged that they are set aside."""
        self._algebras = {entity.entity: Algebra(entity) for entity in plan.entities}
        self._distincts = Distincts(plan)
        remembering = plan.remembering
        self._remembering = remembering.entity if remembering else ""
        self._within_s = remembering.remembers_s if remembering else 0
        self.undecided: Mapping[EntityKey, Stored] = {}
        """The states that the last batch was refused for with UndecidedError, as they were found."""
        all_touches = touches(plan.schema)
        self._telling = [touch for touch in all_touches if touch.entity.name == self._remembering]
        others = [touch for touch in all_touches if touch.entity.name != self._remembering]
        by_keys = groupby(others, lambda touch: (len(touch.entity.join_keys), touch.is_shared))
        self._levels = [(list(level), is_shared) for (_, is_shared), level in by_keys]
        """Whose states are settled together, those of more keys first, and whether other writers have them too."""

    def apply(
        self,
        events: Sequence[Sourced],
        *,
        watch: bool = False,
        logged: bool = False,
        settled: Settled | None = None,
    ) -> FoldCounts:
        """Fold events, in offset order per partition, into Redis. On return each is in its states, once.

        `watch` remembers how far states are (a tenth of the work). `logged`: the events are the log's, and none of them
        was sent before. `settled` says what is not read again (None: nothing is).

        Raises:
            FailedOverError: a state is older than it was: nothing may be folded before everything since the last
                `forget` is folded again, after another `forget`.
            UndecidedError: the states that tell repeats cannot be read, and are set aside.
            UnsettledError, OvertakenError: see there; only with `settled`.
        """
        batch = _Batch(events, watch, logged, settled)
        with paused_collector():
            ready = self._tell_repeats(batch)
            for level, is_shared in self._levels:
                before = len(batch.aside)
                self._settle(batch, _touched(batch, level), is_shared=is_shared)
                if len(batch.aside) > before and self._store is not None:  # before anything is counted without them
                    counted = [pair for key in batch.aside for pair in self._distincts.counted_by(key.entity, key.ids)]
                    batch.aside |= {EntityKey(entity, ids) for entity, ids in counted}
                    self._store.aside.add(batch.aside)
            # Last: a state of one key, which counts what others see for the first time.
            self._settle(batch, {key: places for key, (places, _, _) in ready.items()}, ready)
            del ready  # before the collector would traverse it
        if batch.created and self._store is not None:
            self._store.inventory.add(batch.created)
        aside, repeats = frozenset(batch.aside), frozenset(batch.repeats)
        return FoldCounts(len(events), sum(batch.lacked), batch.states, batch.conflicts, aside, repeats)

    def forget(self) -> None:
        """Forget how far states are.

        To be called when replicas have all that was folded, so that no state can go back behind it; and before all that
        they may lack is folded again.
        """
        self._seen.clear()
        self._reported.clear()

    def _tell_repeats(self, batch: _Batch) -> _Ready:
        """Note which events were sent before; return the states that tell so, which are read, and not folded on yet."""
        touched = _touched(batch, self._telling)
        ready, damaged, unsettled = {}, dict[EntityKey, Stored](), list[int]()
        for (key, places), before in zip(touched.items(), self._states.read(list(touched)), strict=True):
            try:
                ready[key] = places, before, self._read(batch, key, before, places)
            except UnsettledError as error:
                unsettled.append(error.place)
            except LayoutError:
                raise
            except DAMAGE as error:
                if self._store is None:
                    raise
                self._report(key, error)
                damaged[key] = before
        if damaged and self._store is not None:
            # Once, since a repairer takes them back only while they are not listed again.
            if not self.undecided.keys() >= damaged.keys():
                self._store.aside.add(damaged)
            self.undecided = damaged
            raise UndecidedError(
                f"Redis: {len(damaged)} {self._remembering} states that cannot be read would tell which events were "
                "sent before; they are made anew from the event log"
            )
        self.undecided = {}
        if unsettled:
            raise UnsettledError(min(unsettled))
        return ready

    def _read(self, batch: _Batch, key: EntityKey, before: Stored, places: _Places) -> _WorkingState:
        """Return a state to fold on; one that tells repeats notes them among its events, and remembers the others."""
        working = _WorkingState(self._algebras[key.entity], before, self._topic)
        if batch.watch:
            self._check(key, working.fence)
        if key.entity == self._remembering:
            self._tell(batch, working, places)
        return working

    def _tell(self, batch: _Batch, working: _WorkingState, places: _Places) -> None:
        within_s, settled, seen = self._within_s, batch.settled, working.state.seen
        read = dict(working.fence.offsets)
        for place in places:
            fact, partition, offset, arrived_us = batch.events[place]
            partition_seen = seen.get(partition)
            if partition_seen is None:
                partition_seen = Seen()
            if offset <= read.get(partition, -1):
                repeat = not batch.logged and partition_seen.was_repeat(offset)
                if repeat is None and settled and offset >= settled.logged.get(partition, 0):
                    raise OvertakenError(
                        f"partition {partition}: {self._remembering} states have forgotten whether the event at offset "
                        f"{offset} was sent before, so it was committed: reading goes on from there. Where this stays "
                        "so, log and commits are lost: run `encore rebuild`"
                    )
                if repeat or (repeat is None and settled):  # all states have what is logged and forgotten
                    batch.repeats.add(place)
                continue
            token = batch.tokens.get(place) or batch.tokens.setdefault(place, token_of(fact.event_id))
            at_s = (fact.timestamp_us if arrived_us is None else arrived_us) // MICROS
            if not batch.logged and partition_seen.is_repeat(token, at_s, within_s):
                batch.repeats.add(place)
                continue
            before = partition_seen.forgotten
            partition_seen.add(token, offset, at_s, within_s)
            if settled and before < partition_seen.forgotten >= settled.committed.get(partition, 0):
                raise UnsettledError(place)
            seen[partition] = partition_seen
            read[partition] = offset

    def _settle(
        self, batch: _Batch, touched: dict[EntityKey, _Places], ready: _Ready = _NOT_READ, *, is_shared: bool = False
    ) -> None:
        """Read each entity that is not `ready`, fold its events and write it if it changed.

        Repeat for those that another writer changed.
        """
        left = list(touched)
        for attempt in range(_MOST_TRIES):
            most = _FEW if is_shared or attempt else max(1, len(left))
            chunks = [{key: touched[key] for key in left[at : at + most]} for at in range(0, len(left), most)]
            left = [key for chunk in chunks for key in self._write(batch, chunk, ready, again=attempt > 0)]
            if not left:
                return
            ready = _NOT_READ
            if attempt:  # for a random time, so that no worker starves on a product of several
                time.sleep(jitter(0, min(0.0005 * 2**attempt, 0.02)))
        raise UnavailableError(f"Redis: {len(left)} states kept changing under {_MOST_TRIES} tries to write them")

    def _write(
        self, batch: _Batch, waiting: dict[EntityKey, _Places], ready: _Ready, *, again: bool
    ) -> list[EntityKey]:
        """Read entities, fold their events and write them; return those that another writer changed meanwhile."""
        writes = {}
        damaged = []
        others = [key for key in waiting if key not in ready]
        stored = dict(zip(others, self._states.read(others), strict=True))
        for key, places in waiting.items():
            algebra = self._algebras[key.entity]
            try:
                if key in ready:
                    _, before, working = ready[key]
                else:
                    before = stored[key]
                    working = self._read(batch, key, before, places)
                fold = self._fold_first if algebra.plan.firsts else self._merge if again else self._fold_one
                if fold(algebra, working, batch, places):
                    writes[key] = (before, algebra.encode(working.state), working.fence)
            except LayoutError:
                raise  # all states are of other definitions, and none is damaged
            except DAMAGE as error:
                if self._store is None:
                    raise
                damaged.append(key)
                self._report(key, error)
        for key in damaged:
            self._set_aside(batch, key, waiting.pop(key))
        lost = self._states.compare_and_set(writes)
        batch.states += len(writes) - len(lost)
        batch.conflicts += len(lost)
        new = {key for key, (before, _, _) in writes.items() if not before.fence and not before.state}
        for key in new.difference(lost):
            batch.created[key.entity] = batch.created.get(key.entity, 0) + 1
        if batch.watch:
            self._see(batch, waiting if not lost else {key: waiting[key] for key in waiting.keys() - set(lost)})
        return lost

    def _report(self, key: EntityKey, error: Exception) -> None:
        """Log, once, that a state is set aside."""
        if key not in self._reported:
            self._reported.add(key)
            _log.error("%s %s is set aside: %s", key.entity, "/".join(key.ids), error)

    def _set_aside(self, batch: _Batch, key: EntityKey, places: _Places) -> None:
        batch.aside.add(key)
        others = ~self._distincts.all_of(key.entity)
        for place in places:  # it may have answered for some before it failed
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
                if place not in batch.repeats:
                    _, partition, offset, _ = events[place]
                    offsets[partition] = offset

    def _fold_first(self, algebra: Algebra, working: _WorkingState, batch: _Batch, places: _Places) -> bool:
        """Fold an entity's events, and mark those that are the first of their kind.

        One that is delivered again is still a first.
        """
        state, offsets = working.state, working.fence.offsets
        entity = algebra.plan.entity
        bits, others = self._distincts.bits(entity), ~self._distincts.all_of(entity)
        changed = False
        for place in places:
            if place in batch.repeats:
                continue
            fact, partition, offset, _ = batch.events[place]
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

    def _fold_one(self, algebra: Algebra, working: _WorkingState, batch: _Batch, places: _Places) -> bool:
        """Fold the events of an entity that no distinct count depends on."""
        state, offsets, update = working.state, working.fence.offsets, algebra.update
        slots, entity = self._distincts.slots, algebra.plan.entity
        repeats = batch.repeats
        changed = False
        for place in places:
            fact, partition, offset, _ = batch.events[place]
            if offset > offsets.get(partition, -1) and place not in repeats:
                firsts = batch.firsts[place]
                update(state, fact, slots(entity, firsts) if firsts else ())
                offsets[partition] = offset
                batch.lacked[place] = changed = True
        return changed

    def _merge(self, algebra: Algebra, working: _WorkingState, batch: _Batch, places: _Places) -> bool:
        """Merge what an entity's events add: folded once, unless another writer has folded some of them meanwhile."""
        if algebra.plan.remembers_s:  # what it remembers is of its offsets in their order
            return self._fold_one(algebra, working, batch, places)
        offsets = working.fence.offsets
        before = {partition: offsets.get(partition, -1) for partition in {batch.events[place][1] for place in places}}
        added_key = algebra.plan.entity, places[0]  # no other entity of its kind has this event
        after, added = batch.added.get(added_key, (None, working))
        if after != before:
            added = _WorkingState(algebra, NOTHING, self._topic)
            added.fence.offsets = dict(before)
            self._fold_one(algebra, added, batch, places)
            batch.added[added_key] = before, added
        working.state = algebra.merge(working.state, added.state)
        offsets.update(added.fence.offsets)
        return added.fence.offsets != before


def _touched(batch: _Batch, level: Sequence[Touch]) -> dict[EntityKey, _Places]:
    """Return the entities that events touch, but for repeats, each with the places of its events."""
    touched: dict[EntityKey, _Places] = {}
    events = list(enumerate(batch.events))
    if batch.repeats:
        events = [(place, sourced) for place, sourced in events if place not in batch.repeats]
    for entity, pick, partly, _ in level:
        by_ids: dict[tuple[str, ...], _Places] = {}
        for place, sourced in events:
            ids = pick(sourced[0])
            if ids in by_ids:
                by_ids[ids].append(place)
            elif not (partly and None in ids):
                by_ids[ids] = [place]
        touched |= {EntityKey(entity.name, ids): places for ids, places in by_ids.items()}
    return touched
