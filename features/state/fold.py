"""Fold a micro-batch into the states that it touches, so that every event counts once however often it is delivered.

    read the states ─▶ fold in memory, skipping what a fence covers ─▶ compare-and-set each ─▶ again where one moved

A fence says how far a state is folded, and so implies that nothing before is missing. After a failover of Redis a state
may be older than it was, and the next event's fence would cover the lost ones. So each state that is read again must be
as far as this fold has seen it since replicas last had everything.

A distinct count needs to know whether an event is the first of its type of its pair. The pair's state remembers the
offset of its first event, so an event that is delivered again gets the same answer.

A state that cannot be read is left as it is and, where that is asked for, set aside, and all others go on; it is made
anew from its events in log and topic (`features.batch.repair`). A pair's takes its user and product along, whose
distinct counts it was to be asked for.
"""

import gc
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from data.errors import FailedOverError, LayoutError, UnavailableError
from data.jitter import jitter
from features.entities import PRODUCT, USER, USER_PRODUCT
from features.plan.plan import Plan
from features.state.algebra import DAMAGE, Algebra, Fact
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

    Per event: whether it is its pair's first of its type, and whether some state lacked it. In total: states written,
    conflicts, states created by entity, entities set aside. `watch`: whether to remember how far states are.
    """

    def __init__(self, events: Sequence[Sourced], watch: bool) -> None:
        self.events = events
        self.watch = watch
        self.firsts = [False] * len(events)
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
        pair = plan.of(USER_PRODUCT.name)
        self._first_slots = {
            event_type: (
                place,
                next(i for i, slot in enumerate(pair.slots) if slot.kind == "count" and slot.where == event_type),
            )
            for place, event_type in enumerate(pair.firsts)
        }

    def apply(self, events: Sequence[Sourced], *, watch: bool = False) -> FoldCounts:
        """Fold events, in offset order per partition, into Redis. On return each is in its states, once.

        `watch` remembers how far states are (a tenth of the work). Raises FailedOverError where a state is older than
        it was: then nothing may be folded before everything since the last `forget` is folded again, after another
        `forget`.
        """
        pairs: dict[tuple[str, str], _Places] = {}
        users: dict[str, _Places] = {}
        products: dict[str, _Places] = {}
        for place, (fact, _, _) in enumerate(events):
            _, user, product, *_ = fact
            pairs.setdefault((product, user), []).append(place)
            users.setdefault(user, []).append(place)
            products.setdefault(product, []).append(place)
        batch = _Batch(events, watch)
        with _paused_collector():
            # Pairs first: users and products need to know which events are firsts.
            self._settle(batch, {EntityKey(USER_PRODUCT.name, ids): of for ids, of in pairs.items()}, self._fold_pair)
            if batch.aside and self._store is not None:  # before anything is counted without them
                batch.aside |= {EntityKey(PRODUCT.name, key.ids[:1]) for key in batch.aside} | {
                    EntityKey(USER.name, key.ids[1:]) for key in batch.aside
                }
                self._store.aside.add(batch.aside)
            of_pairs = len(batch.aside)
            others = {EntityKey(USER.name, (user,)): of for user, of in users.items()}
            others |= {EntityKey(PRODUCT.name, (product,)): of for product, of in products.items()}
            self._settle(batch, others, self._fold_one)
            if len(batch.aside) > of_pairs and self._store is not None:
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

    def _settle(
        self, batch: _Batch, waiting: dict[EntityKey, _Places], fold: Callable[[Algebra, _Held, _Batch, _Places], bool]
    ) -> None:
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
        if key.entity == USER_PRODUCT.name:
            for place in places:  # of which it may have answered some before it broke
                batch.firsts[place] = False

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

    def _fold_pair(self, algebra: Algebra, held: _Held, batch: _Batch, places: _Places) -> bool:
        """Fold a pair's events, and mark its first events of each type.

        One that is delivered again is still a first.
        """
        state, offsets = held.state, held.fence.offsets
        changed = False
        for place in places:
            fact, partition, offset = batch.events[place]
            first_slot = self._first_slots.get(fact.event_type)
            if offset <= offsets.get(partition, -1):
                if first_slot:
                    batch.firsts[place] = state.firsts[first_slot[0]] == (partition, offset)
                continue
            if first_slot:
                first, count = first_slot
                batch.firsts[place] = is_first = not state.slots[count]
                if is_first:
                    state.firsts[first] = (partition, offset)
            algebra.update(state, fact)
            offsets[partition] = offset
            batch.lacked[place] = changed = True
        return changed

    def _fold_one(self, algebra: Algebra, held: _Held, batch: _Batch, places: _Places) -> bool:
        """Fold a user's or a product's events."""
        state, offsets, update = held.state, held.fence.offsets, algebra.update
        changed = False
        for place in places:
            fact, partition, offset = batch.events[place]
            if offset > offsets.get(partition, -1):
                update(state, fact, batch.firsts[place])
                offsets[partition] = offset
                batch.lacked[place] = changed = True
        return changed


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
