"""The state of one entity: integers that fold events one at a time, merge with each other, and pack into few bytes.

Everything kept is a count, an exact sum, an extreme or a time, so `update` and `merge` are commutative and associative
to the last bit: order, lateness and partitioning cannot change an answer. `docs/online-format.md` specifies the bytes.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import sub
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from data.errors import StateError
from data.event import EVENT_TYPES, MICROS, Event
from features.plan import LAST_EVENT, Aggregate, EntityPlan, TileSet

__all__ = ["STATE_VERSION", "Algebra", "Fact", "State", "fact_of"]

STATE_VERSION = 1
"""First byte of every encoded state."""


class Fact(NamedTuple):
    """What a fold needs of an event; `amount` in micro-units."""

    event_type: str
    user_id: str
    product_id: str
    timestamp_us: int
    amount: int
    quantity: int
    event_id: str


def fact_of(event: Event) -> Fact:
    """The fact in an event."""
    return Fact(
        event.event_type,
        event.user_id,
        event.product_id,
        event.timestamp_us,
        round(event.amount * MICROS),
        event.quantity,
        event.event_id,
    )


class State:
    """What is known of one entity.

    `slots`: one number per aggregate of the plan (None: nothing yet). `tiles`: per tile set, a list of columns; the
    first holds tile numbers in ascending order, the others an aggregate's value in each. `firsts`: per event type that
    the plan counts as a distinct, the (partition, offset) in the fence's topic at which the pair saw it first; None
    where it never did, or did before that topic.
    """

    __slots__ = ("firsts", "slots", "tiles")

    def __init__(self, slots: list[Any], tiles: list[list[list[int]]], firsts: list[tuple[int, int] | None]) -> None:
        self.slots = slots
        self.tiles = tiles
        self.firsts = firsts

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State):
            return NotImplemented
        return (self.slots, self.tiles, self.firsts) == (other.slots, other.tiles, other.firsts)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"State(slots={self.slots}, tiles={self.tiles}, firsts={self.firsts})"


_Row = tuple[Any, ...]
Step = Callable[[Any, _Row], Any]


class Algebra:
    """How states of one entity begin, fold, merge and are written, as the entity's plan says."""

    def __init__(self, plan: EntityPlan) -> None:
        self.plan = plan
        self._last_event = plan.slots.index(LAST_EVENT)
        self._layout = plan.layout
        self._programs: dict[str, _Program] = {event_type: _Program(plan, event_type) for event_type in EVENT_TYPES}
        self._width = 1 + len(plan.slots) + sum(1 + len(tiles.columns) for tiles in plan.tile_sets) + len(plan.firsts)

    def empty(self) -> State:
        """The state of an entity that nothing has happened to: the identity of `merge`."""
        slots = [0 if aggregate.kind in _COUNTING else None for aggregate in self.plan.slots]
        tiles: list[list[list[int]]] = [[[] for _ in range(1 + len(t.columns))] for t in self.plan.tile_sets]
        return State(slots, tiles, [None] * len(self.plan.firsts))

    def last_event(self, state: State) -> int | None:
        """Time of the newest event folded, µs; None where there is none."""
        last: int | None = state.slots[self._last_event]
        return last

    def update(self, state: State, fact: Fact, *, first: bool = False) -> None:
        """Fold one event in. `first`: it is the first of its type of its user and product together."""
        program = self._programs[fact.event_type]
        slots = state.slots
        for slot, step in program.slots:
            slots[slot] = step(slots[slot], fact)
        if first:
            for slot in program.distincts:
                slots[slot] += 1
        for columns, (hop_us, span, steps) in zip(state.tiles, program.tiles, strict=True):
            if steps:
                place = _place(columns, fact.timestamp_us // hop_us, span)
                if place is not None:
                    for column, step in steps:
                        columns[column][place] = step(columns[column][place], fact)

    def merge(self, left: State, right: State) -> State:
        """The state of the events of both, which must be different events. Neither argument is changed.

        Where `firsts` differ the lesser wins: both halves saw a first, and the earlier offset is the one.
        """
        slots = [
            _MERGES[aggregate.kind](a, b) if a is not None and b is not None else (b if a is None else a)
            for aggregate, a, b in zip(self.plan.slots, left.slots, right.slots, strict=True)
        ]
        tiles = [
            _merge_tiles(a, b, tile_set.span)
            for a, b, tile_set in zip(left.tiles, right.tiles, self.plan.tile_sets, strict=True)
        ]
        firsts = [
            min((token for token in tokens if token is not None), default=None)
            for tokens in zip(left.firsts, right.firsts, strict=True)
        ]
        return State(slots, tiles, firsts)

    def encode(self, state: State) -> bytes:
        """The state in bytes: the version, a checksum, then one MessagePack array."""
        fields: list[Any] = [self._layout, *state.slots]
        for tiles, *columns in state.tiles:
            # Tile numbers are large but close together: the first, then steps of mostly one byte.
            fields.append(tiles[:1] + list(map(sub, tiles[1:], tiles)))
            fields += columns
        fields += state.firsts
        try:
            body = _encoder.encode(fields)
        except OverflowError:
            body = _encoder.encode(_shrink(fields))
        return _VERSION + crc32(body).to_bytes(4, "big") + body

    def decode(self, data: bytes) -> State:
        """The state in `data`; StateError where it is none, or of another version or layout."""
        if data[:1] != _VERSION:
            raise StateError(
                f"{self.plan.entity} state: version {data[:1].hex() or 'none'}, this Encore reads {STATE_VERSION}; "
                "run `encore rebuild`"
            )
        body = memoryview(data)[5:]
        try:
            if crc32(body) != int.from_bytes(data[1:5], "big"):
                raise ValueError("its checksum differs")
            fields = _decoder.decode(body)
            layout = fields[0]
        except (msgspec.MsgspecError, IndexError, ValueError) as error:
            raise StateError(f"{self.plan.entity} state: corrupted ({error}); run `encore rebuild`") from error
        if layout != self._layout:
            raise StateError(
                f"{self.plan.entity} state: written under other definitions (layout {layout}, now {self._layout}); "
                "run `encore rebuild`"
            )
        if len(fields) != self._width:
            raise StateError(f"{self.plan.entity} state: {len(fields)} fields, not {self._width}; run `encore rebuild`")
        end = 1 + len(self.plan.slots)
        slots = fields[1:end]
        tiles = []
        for tile_set in self.plan.tile_sets:
            start, end = end, end + 1 + len(tile_set.columns)
            tiles.append([list(accumulate(fields[start])), *fields[start + 1 : end]])
        return State(slots, tiles, [token and (token[0], token[1]) for token in fields[end:]])


class _Program:
    """What one event type does to a state: steps on slots, and on the tiles of each tile set."""

    __slots__ = ("distincts", "slots", "tiles")

    def __init__(self, plan: EntityPlan, event_type: str) -> None:
        def touched(aggregates: Sequence[Aggregate]) -> list[tuple[int, Aggregate]]:
            return [(i, a) for i, a in enumerate(aggregates) if a.where in ("", event_type)]

        slots = touched(plan.slots)
        self.slots = tuple((i, _step(a)) for i, a in slots if a.kind != "distinct")
        self.distincts = tuple(i for i, a in slots if a.kind == "distinct")

        def tile_steps(tile_set: TileSet) -> tuple[tuple[int, Step], ...]:
            return tuple((1 + i, _step(a)) for i, a in touched(tile_set.columns))

        self.tiles = tuple((t.hop_us, t.span, tile_steps(t)) for t in plan.tile_sets)


def _step(aggregate: Aggregate) -> Step:
    return _STEPS[aggregate.kind](_FIELDS.get(aggregate.column, 0))


def _place(columns: list[list[int]], tile: int, span: int) -> int | None:
    """Where `tile` stands in the columns, made there if need be; None where it is past the longest window."""
    tiles = columns[0]
    if tiles:
        newest = tiles[-1]
        if tile == newest:
            return -1
        if tile < newest:
            if tile <= newest - span:
                return None
            place = bisect_left(tiles, tile)
            if tiles[place] != tile:
                tiles.insert(place, tile)
                for column in columns[1:]:
                    column.insert(place, 0)
            return place
        past = bisect_right(tiles, tile - span)
        if past:
            for column in columns:
                del column[:past]
    tiles.append(tile)
    for column in columns[1:]:
        column.append(0)
    return -1


def _merge_tiles(left: list[list[int]], right: list[list[int]], span: int) -> list[list[int]]:
    rows: dict[int, list[int]] = {}
    for columns in (left, right):
        for tile, *values in zip(*columns, strict=True):
            rows[tile] = [a + b for a, b in zip(rows[tile], values, strict=True)] if tile in rows else values
    oldest = max(rows, default=0) - span
    kept = [(tile, *rows[tile]) for tile in sorted(rows) if tile > oldest]
    return [list(column) for column in zip(*kept, strict=True)] if kept else [[] for _ in left]


_FIELDS = {"amount": Fact._fields.index("amount"), "quantity": Fact._fields.index("quantity")}
_TIME = Fact._fields.index("timestamp_us")
_ID = Fact._fields.index("event_id")


def _earliest(old: int | None, fact: _Row) -> int:
    at: int = fact[_TIME]
    return at if old is None or at < old else old


def _latest(old: int | None, fact: _Row) -> int:
    at: int = fact[_TIME]
    return at if old is None or at > old else old


def _least(field: int) -> Step:
    return lambda old, fact: fact[field] if old is None or fact[field] < old else old


def _greatest(field: int) -> Step:
    return lambda old, fact: fact[field] if old is None or fact[field] > old else old


def _first(field: int) -> Step:
    def step(old: Any, fact: _Row) -> Any:
        new = [fact[_TIME], fact[_ID], fact[field]]
        return new if old is None or new < old else old

    return step


def _last(field: int) -> Step:
    def step(old: Any, fact: _Row) -> Any:
        new = [fact[_TIME], fact[_ID], fact[field]]
        return new if old is None or new > old else old

    return step


_COUNTING = frozenset({"count", "sum", "squares", "time_sum", "time_squares", "time_products", "distinct"})

_STEPS: dict[str, Callable[[int], Step]] = {
    "count": lambda _: lambda old, _fact: old + 1,
    "sum": lambda field: lambda old, fact: old + fact[field],
    "squares": lambda field: lambda old, fact: old + fact[field] ** 2,
    "time_sum": lambda _: lambda old, fact: old + fact[_TIME],
    "time_squares": lambda _: lambda old, fact: old + fact[_TIME] ** 2,
    "time_products": lambda field: lambda old, fact: old + fact[_TIME] * fact[field],
    "min": _least,
    "max": _greatest,
    "first_time": lambda _: _earliest,
    "last_time": lambda _: _latest,
    "first": _first,
    "last": _last,
}

_MERGES: dict[str, Callable[[Any, Any], Any]] = {
    **{kind: lambda a, b: a + b for kind in _COUNTING},
    **dict.fromkeys(("min", "first_time", "first"), min),
    **dict.fromkeys(("max", "last_time", "last"), max),
}

_VERSION = bytes([STATE_VERSION])
_BIG = 1


def _shrink(value: Any) -> Any:
    """Integers past 64 bits as MessagePack extension 1: big-endian bytes."""
    if isinstance(value, list):
        return [_shrink(item) for item in value]
    if isinstance(value, int) and value >= 2**63:
        return msgspec.msgpack.Ext(_BIG, value.to_bytes((value.bit_length() + 7) // 8, "big"))
    return value


def _grow(code: int, data: memoryview) -> int:
    if code != _BIG:
        raise ValueError(f"unknown extension {code}")
    return int.from_bytes(data, "big")


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Any], ext_hook=_grow)
