"""Folding a micro-batch into the states it touches, so that every event counts once however often it comes.

    read the states ─▶ fold in memory, skipping what a fence covers ─▶ compare-and-set each ─▶ again where one moved

A distinct count asks whether an event was the first of its type of its pair. The pair's state knows, and remembers the
offset at which it was: an event that comes again after a crash gets the same answer, though the pair holds it already.
"""

import random
import time
from collections.abc import Sequence
from typing import NamedTuple

from data.errors import UnavailableError
from features.entities import PRODUCT, USER, USER_PRODUCT
from features.fence import Fence
from features.online import EntityKey, OnlineStates, Stored
from features.plan import Plan
from features.state import Algebra, Fact

__all__ = ["Fold", "FoldCounts", "Sourced"]

_MOST_TRIES = 50
"""Rounds of compare-and-set before giving up: each lost round means that another worker won one."""


class Sourced(NamedTuple):
    """A fact and where in the topic it came from."""

    fact: Fact
    partition: int
    offset: int


class FoldCounts(NamedTuple):
    """Of one micro-batch: events given, events that some state still lacked, states written, writes tried again."""

    events: int
    folded: int
    states: int
    conflicts: int


class _Held:
    """One entity while a micro-batch is folded: what was read of it and what has become of it."""

    __slots__ = ("before", "changed", "fence", "state")

    def __init__(self, algebra: Algebra, before: Stored, topic: bytes) -> None:
        self.before = before
        self.changed = False
        self.state = algebra.decode(before.state) if before.state else algebra.empty()
        self.fence = Fence.decode(before.fence) if before.fence else Fence(topic)
        if self.fence.topic != topic:
            # A broker made anew counts from 0 again: the old fence says nothing, nor do offsets of firsts.
            self.fence = Fence(topic, generation=self.fence.generation + 1)
            self.state.firsts = [None] * len(self.state.firsts)


class Fold:
    """Folds micro-batches of one topic. It holds nothing between two of them."""

    def __init__(self, plan: Plan, states: OnlineStates, topic: bytes) -> None:
        self._states = states
        self._topic = topic
        self._algebras = {entity.entity: Algebra(entity) for entity in plan.entities}
        pair = plan.of(USER_PRODUCT.name)
        self._first_places = {event_type: place for place, event_type in enumerate(pair.firsts)}
        self._first_counts = [
            next(i for i, slot in enumerate(pair.slots) if slot.kind == "count" and slot.where == event_type)
            for event_type in pair.firsts
        ]

    def apply(self, events: Sequence[Sourced]) -> FoldCounts:
        """Fold events, in offset order per partition, into Redis. When it returns all of them are in, each once."""
        firsts, folded, pairs = self._apply_pairs(events)
        waiting = [
            (key, event, first)
            for event, first in zip(events, firsts, strict=True)
            for key in (EntityKey(USER.name, (event.fact.user_id,)), EntityKey(PRODUCT.name, (event.fact.product_id,)))
        ]
        states, conflicts = pairs
        for attempt in range(_MOST_TRIES):
            if not waiting:
                return FoldCounts(len(events), len(folded), states, conflicts)
            held = self._hold(dict.fromkeys(key for key, _, _ in waiting))
            for key, event, first in waiting:
                if self._fold(key.entity, held[key], event, first=first):
                    folded.add((event.partition, event.offset))
            written, lost = self._write(held)
            states, conflicts = states + written, conflicts + len(lost)
            waiting = [item for item in waiting if item[0] in lost]
            _step_back(attempt if waiting else 0)
        raise UnavailableError(f"Redis: {len(waiting)} states kept changing under {_MOST_TRIES} tries to write them")

    def _apply_pairs(self, events: Sequence[Sourced]) -> tuple[list[bool], set[tuple[int, int]], tuple[int, int]]:
        """Fold the pairs: whether each event was its pair's first of its type, and which were not in already."""
        firsts: dict[tuple[int, int], bool] = {}
        folded: set[tuple[int, int]] = set()
        waiting = [(EntityKey(USER_PRODUCT.name, (e.fact.product_id, e.fact.user_id)), e) for e in events]
        states = conflicts = 0
        for attempt in range(_MOST_TRIES):
            if not waiting:
                return [firsts[e.partition, e.offset] for e in events], folded, (states, conflicts)
            held = self._hold(dict.fromkeys(key for key, _ in waiting))
            for key, event in waiting:
                firsts[event.partition, event.offset] = self._is_first(held[key], event)
                if self._fold(USER_PRODUCT.name, held[key], event, first=False):
                    folded.add((event.partition, event.offset))
            written, lost = self._write(held)
            states, conflicts = states + written, conflicts + len(lost)
            waiting = [item for item in waiting if item[0] in lost]
            _step_back(attempt if waiting else 0)
        raise UnavailableError(f"Redis: {len(waiting)} states kept changing under {_MOST_TRIES} tries to write them")

    def _is_first(self, pair: _Held, event: Sourced) -> bool:
        place = self._first_places.get(event.fact.event_type)
        if place is None:
            return False
        here = (event.partition, event.offset)
        if pair.fence.covers(self._topic, *here):
            return pair.state.firsts[place] == here
        if pair.state.slots[self._first_counts[place]]:
            return False
        pair.state.firsts[place] = here
        return True

    def _fold(self, entity: str, held: _Held, event: Sourced, *, first: bool) -> bool:
        if held.fence.covers(self._topic, event.partition, event.offset):
            return False
        self._algebras[entity].update(held.state, event.fact, first=first)
        held.fence.offsets[event.partition] = event.offset
        held.changed = True
        return True

    def _hold(self, keys: dict[EntityKey, None]) -> dict[EntityKey, _Held]:
        stored = self._states.read(list(keys))
        return {
            key: _Held(self._algebras[key.entity], before, self._topic)
            for key, before in zip(keys, stored, strict=True)
        }

    def _write(self, held: dict[EntityKey, _Held]) -> tuple[int, set[EntityKey]]:
        """Write what changed; how many were written, and the keys where another writer came between."""
        writes = {
            key: (one.before, self._algebras[key.entity].encode(one.state), one.fence)
            for key, one in held.items()
            if one.changed
        }
        lost = set(self._states.compare_and_set(writes))
        return len(writes) - len(lost), lost


def _step_back(lost: int) -> None:
    """Wait a random while (ms) after a round was lost again, or several workers on one product would starve one."""
    if lost:
        time.sleep(random.uniform(0, min(0.0005 * 2**lost, 0.02)))  # noqa: S311 - jitter
