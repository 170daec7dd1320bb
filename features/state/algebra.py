"""The state of one entity: numbers that fold events one at a time, and merge with each other.

Every number is a count, an exact sum, an extreme, a time or a list of these, so `update` and `merge` are commutative
and associative to the last bit: order, lateness and partitioning cannot change an answer. `features.state.codec` packs
a state into bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

from data.errors import StateError
from features.facts import Fact, fact_class
from features.kinds import KINDS, Step
from features.plan.plan import LAST_EVENT, Aggregate, EntityPlan
from features.plan.where import Where
from features.seen import Seen
from features.state.codec import Codec
from features.state.tiles import find_row, merge_rows

__all__ = ["DAMAGE", "Algebra", "State"]

DAMAGE = (StateError, ArithmeticError, LookupError, TypeError, ValueError)
"""Errors of using bytes that only look like a state: wrong types, or numbers that cannot be of one entity."""


class State:
    """The state of one entity.

    `slots`: one number per aggregate of the plan (None: no event yet). `tiles`: per tile set, its rows as
    `features.state.tiles` arranges them. `firsts`: per condition whose first event others count as a distinct, the
    (partition, offset) of that event in the fence's topic; None where there is none, or it came before that topic.
    `seen`: per partition of that topic, the events of which a repeat is known (`features.state.fold`).
    """

    __slots__ = ("firsts", "seen", "slots", "tiles")

    def __init__(
        self,
        slots: list[Any],
        tiles: list[list[Any]],
        firsts: list[tuple[int, int] | None],
        seen: dict[int, Seen] | None = None,
    ) -> None:
        self.slots = slots
        self.tiles = tiles
        self.firsts = firsts
        self.seen = {} if seen is None else seen

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State):
            return NotImplemented
        return (self.slots, self.tiles, self.firsts, self.seen) == (other.slots, other.tiles, other.firsts, other.seen)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"State(slots={self.slots}, tiles={self.tiles}, firsts={self.firsts}, seen={self.seen})"


class Algebra:
    """Start, fold and merge of one entity's states, as the entity's plan prescribes."""

    def __init__(self, plan: EntityPlan) -> None:
        self.plan = plan
        self._codec = Codec(plan)
        self._last_event = plan.slots.index(LAST_EVENT)
        self._programs = _Programs(plan)
        self._merges = _merges(plan.slots)
        self._tile_merges = tuple(_merges(tile_set.columns) for tile_set in plan.tile_sets)
        self._empty = tuple(KINDS[aggregate.kind].start for aggregate in plan.slots)

    def empty(self) -> State:
        """Return the state of an entity without events: the identity of `merge`."""
        return State(list(self._empty), [[] for _ in self.plan.tile_sets], [None] * len(self.plan.firsts))

    def last_event(self, state: State) -> int | None:
        """Return the time of the newest event folded, µs; None where there is none."""
        last: int | None = state.slots[self._last_event]
        return last

    def update(self, state: State, fact: Fact, distincts: Sequence[int] = ()) -> None:
        """Fold one event into `state`. `distincts`: the slots of distinct counts of which it is a first."""
        programs = self._programs
        kind = fact.event_type if programs.by_type else programs.kind_of(fact)
        counts, earliest, latest, others, tiles, _ = programs[kind]
        slots = state.slots
        at = fact.timestamp_us
        # The most frequent steps are inlined; a call for each would take twice as long.
        for slot in counts:
            slots[slot] += 1
        for slot in latest:
            old = slots[slot]
            if old is None or at > old:
                slots[slot] = at
        for slot in earliest:
            old = slots[slot]
            if old is None or at < old:
                slots[slot] = at
        for slot, step in others:
            slots[slot] = step(slots[slot], fact)
        for slot in distincts:
            slots[slot] += 1
        for place, hop_us, span, empty, counted, steps in tiles:
            rows = state.tiles[place]
            tile = at // hop_us
            start = 0 if rows and rows[0] == tile else find_row(rows, tile, span, empty)
            if start is not None:
                for column in counted:
                    rows[start + column] += 1
                for column, step in steps:
                    rows[start + column] = step(rows[start + column], fact)

    def firsts_of(self, fact: Fact) -> tuple[tuple[int, int], ...]:
        """Return which `firsts` of a state an event may be: places in them, and the slots that count such events."""
        return self._programs[self._programs.kind_of(fact)].firsts

    def merge(self, left: State, right: State) -> State:
        """Return the state of the events of both, which must be disjoint. Neither argument is changed.

        Where `firsts` differ the lesser wins: both halves saw a first, and the earlier offset is the true one.
        `seen` is that of both where events arrived in the order of their offsets.
        """
        merged = self.merge_unseen((left, right))
        merged.seen = self._merged_seen(left.seen, right.seen)
        return merged

    def merge_unseen(self, states: Sequence[State]) -> State:
        """Return the state of the events of all, as `merge` does but for `seen`, which is empty. In one pass."""
        numbers = zip(*(state.slots for state in states), strict=True)
        slots = [reduce(merge, values) for merge, values in zip(self._merges, numbers, strict=True)]
        tiles = [
            merge_rows([state.tiles[place] for state in states], tile_set.span, self._tile_merges[place])
            for place, tile_set in enumerate(self.plan.tile_sets)
        ]
        firsts = [
            min((token for token in tokens if token is not None), default=None)
            for tokens in zip(*(state.firsts for state in states), strict=True)
        ]
        return State(slots, tiles, firsts)

    def _merged_seen(self, left: Mapping[int, Seen], right: Mapping[int, Seen]) -> dict[int, Seen]:
        nothing = Seen()
        within_s = self.plan.remembers_s
        return {
            number: left.get(number, nothing).merge(right.get(number, nothing), within_s)
            for number in left.keys() | right.keys()
        }

    def beyond(self, left: State, right: State) -> tuple[Aggregate, int, int | None] | None:
        """Return an aggregate that proves an event in `left` which `right` lacks, with both values.

        None where none does.

        It compares lifetime counts, sums of what is never below 0, extremes and times, which events move one way only.
        """
        signed = {measure.name for measure in self.plan.schema.measures if measure.least < 0}
        for aggregate, ours, theirs in zip(self.plan.slots, left.slots, right.slots, strict=True):
            grows = KINDS[aggregate.kind].grows
            if ours is None or grows is None or (aggregate.kind == "sum" and aggregate.column in signed):
                continue
            if theirs is None or (ours > theirs if grows else ours < theirs):
                return aggregate, ours, theirs
        return None

    def encode(self, state: State) -> bytes:
        """Return the state as bytes."""
        return self._codec.encode(state.slots, state.tiles, state.firsts, state.seen)

    def decode(self, data: bytes) -> State:
        """Return the state in `data`. Raises StateError for other bytes, an unknown version or another layout."""
        return State(*self._codec.decode(data))


class _Program(NamedTuple):
    """What one kind of event does to a state, resolved once.

    To slots: that count, that keep the earliest or latest time, others. To tile sets: each one's index, hop, span, an
    empty row, counting columns, others. `firsts`: as `Algebra.firsts_of` returns them.
    """

    counts: tuple[int, ...]
    earliest: tuple[int, ...]
    latest: tuple[int, ...]
    others: tuple[tuple[int, Step], ...]
    tiles: tuple[tuple[int, int, int, tuple[Any, ...], tuple[int, ...], tuple[tuple[int, Step], ...]], ...]
    firsts: tuple[tuple[int, int], ...]


class _Programs(dict[Any, _Program]):
    """Programs by kind of event, each made when it is first wanted.

    Events are of one kind where all conditions of the plan agree on them. `by_type`: then their types are equal;
    otherwise a kind is a tuple of the type and the labels that conditions name, None for a value that none names.
    """

    def __init__(self, plan: EntityPlan) -> None:
        super().__init__()
        self._plan = plan
        self._fields = fact_class(plan.schema)._fields
        aggregates = [*plan.slots, *(column for tile_set in plan.tile_sets for column in tile_set.columns)]
        values_by_column: dict[str, set[str]] = {}
        for where in (*(aggregate.where for aggregate in aggregates), *plan.firsts):
            for condition in where:
                values_by_column.setdefault(condition.column, set()).update(condition.values)
        values_by_column.pop("event_type", None)
        self._label_fields = [
            (self._fields.index(column), values) for column, values in sorted(values_by_column.items())
        ]
        self._columns = ("event_type", *sorted(values_by_column))
        self.by_type = not values_by_column

    def kind_of(self, fact: Fact) -> Any:
        """Return the kind of an event."""
        if self.by_type:
            return fact.event_type
        return (
            fact.event_type,
            *(fact[field] if fact[field] in values else None for field, values in self._label_fields),
        )

    def __missing__(self, kind: Any) -> _Program:
        program = self[kind] = self._program(dict(zip(self._columns, (kind,) if self.by_type else kind, strict=True)))
        return program

    def _program(self, kind: dict[str, Any]) -> _Program:
        plan = self._plan

        def met(where: Where) -> bool:
            return all(kind[condition.column] in condition.values for condition in where)

        def touched(aggregates: Sequence[Aggregate], *kinds: str) -> tuple[int, ...]:
            return tuple(i for i, a in enumerate(aggregates) if a.kind in kinds and met(a.where))

        def steps(aggregates: Sequence[Aggregate], shift: int) -> tuple[tuple[int, Step], ...]:
            return tuple(
                (shift + place, KINDS[kind].step(self._field(aggregates[place].column), aggregates[place].parameter))
                for kind in _CALLED
                for place in touched(aggregates, kind)
            )

        tiles = tuple(
            (
                place,
                tile_set.hop_us,
                tile_set.span,
                (0, *(KINDS[aggregate.kind].start for aggregate in tile_set.columns)),
                tuple(1 + column for column in touched(tile_set.columns, "count")),
                steps(tile_set.columns, 1),
            )
            for place, tile_set in enumerate(plan.tile_sets)
            if touched(tile_set.columns, "count", *_CALLED)
        )
        slots = plan.slots
        return _Program(
            touched(slots, "count"),
            touched(slots, "first_time"),
            touched(slots, "last_time"),
            steps(slots, 0),
            tiles,
            tuple(
                (place, slots.index(Aggregate("count", where=where)))
                for place, where in enumerate(plan.firsts)
                if met(where)
            ),
        )

    def _field(self, column: str) -> int:
        return self._fields.index(column) if column else 0


def _merges(aggregates: Sequence[Aggregate]) -> tuple[Callable[[Any, Any], Any], ...]:
    """Return, per aggregate, a function that merges two numbers; None is the number of no event."""

    def merge_of(aggregate: Aggregate) -> Callable[[Any, Any], Any]:
        merge, parameter = KINDS[aggregate.kind].merge, aggregate.parameter

        def merged(left: Any, right: Any) -> Any:
            if left is None or right is None:
                return left if right is None else right
            return merge(left, right, parameter)

        return merged

    return tuple(map(merge_of, aggregates))


_CALLED = tuple(kind for kind in KINDS if kind not in {"count", "first_time", "last_time", "distinct"})
"""Kinds whose steps `Algebra.update` calls; the others are inlined there."""
