"""Every kind of aggregate folds in any order, merges, and is computed alike from a state, from the log and plainly."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from decimal import ROUND_HALF_UP, Context
from itertools import product
from typing import Any

import ibis
import msgspec
import pyarrow as pa
import pytest
from event_streams import START_US, TOPIC
from facts import distincts, of_type, some_fact
from hypothesis import example, given
from hypothesis import strategies as st
from thorough import examples

from data.default_shop import SHOP
from data.log.sources import topic_source
from data.units import HOUR_US
from features.batch.backfill import entity_states, state_rows
from features.batch.kinds import BATCH_KINDS
from features.batch.where import met
from features.facts import Fact, fact_class
from features.kinds import KINDS
from features.plan.cost import costs
from features.plan.plan import LAST_EVENT, Aggregate, EntityPlan, Plan, TileSet
from features.plan.where import EVERY, Where
from features.state.algebra import Algebra, State
from features.summaries import MOST_ORDERS

_PLAIN: dict[str, Callable[[Sequence[Fact], str], Any]] = {
    "count": lambda facts, _: len(facts),
    "sum": lambda facts, column: sum(getattr(fact, column) for fact in facts),
    "squares": lambda facts, column: sum(getattr(fact, column) ** 2 for fact in facts),
    "time_sum": lambda facts, _: sum(fact.timestamp_us for fact in facts),
    "time_squares": lambda facts, _: sum(fact.timestamp_us**2 for fact in facts),
    "time_products": lambda facts, column: sum(fact.timestamp_us * getattr(fact, column) for fact in facts),
    "distinct": lambda facts, column: len({getattr(fact, column) for fact in facts}),
    "min": lambda facts, column: min((getattr(fact, column) for fact in facts), default=None),
    "max": lambda facts, column: max((getattr(fact, column) for fact in facts), default=None),
    "first_time": lambda facts, _: min((fact.timestamp_us for fact in facts), default=None),
    "last_time": lambda facts, _: max((fact.timestamp_us for fact in facts), default=None),
    "first": lambda facts, column: min((_edge(fact, column) for fact in facts), default=None),
    "last": lambda facts, column: max((_edge(fact, column) for fact in facts), default=None),
    "last_values": lambda facts, column: (
        sorted([fact.timestamp_us, getattr(fact, column)] for fact in facts)[-3:] or None
    ),
    "last_times": lambda facts, _: sorted(fact.timestamp_us for fact in facts)[-3:] or None,
    "seen": lambda facts, column: _seen(facts, column)[-2:] or None,
    "labels": lambda facts, column: (
        _counts(label for fact in facts if (label := getattr(fact, column)) is not None)[:2] or None
    ),
    "rounded": lambda facts, column: _counts(_two_digits(getattr(fact, column)) for fact in facts) or None,
    "orders": lambda facts, column: _orders([(fact.timestamp_us, getattr(fact, column)) for fact in facts]) or None,
    "sessions": lambda facts, _: _sessions([fact.timestamp_us for fact in facts]) or None,
}
"""What each kind is, said plainly."""

_PARAMETERS = {
    "last_values": 3,
    "last_times": 3,
    "seen": 2,
    "labels": 2,
    "rounded": 2,
    "orders": HOUR_US,
    "sessions": 2,
}
"""Small ones, so that lists are cut."""

_NO_COLUMN = {"count", "time_sum", "time_squares", "first_time", "last_time", "last_times", "sessions"}
_OF_LABELS = {"seen", "labels", "orders"}
_SPAN = 30

PURCHASE = of_type("purchase")
MEASURES = [measure.name for measure in SHOP.measures]
LABELS = (*SHOP.keys, *SHOP.labels)


def _seen(facts: Sequence[Fact], column: str) -> list[list[Any]]:
    labels = {getattr(fact, column) for fact in facts} - {None}
    return sorted([max(f.timestamp_us for f in facts if getattr(f, column) == label), label] for label in labels)


def _counts(values: Iterable[Any]) -> list[list[Any]]:
    return [[value, count] for value, count in sorted(Counter(values).items())]


def _two_digits(value: int) -> int:
    """By decimals, whose precision is a number of significant digits."""
    return int(Context(prec=2, rounding=ROUND_HALF_UP).create_decimal(value))


def _sessions(times: Sequence[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for at in sorted(times):
        if not runs or at - runs[-1][-1] > _PARAMETERS["sessions"]:
            runs.append([])
        runs[-1].append(at)
    return [[run[0], run[-1], len(run)] for run in runs]


def _orders(events: Sequence[tuple[int, str | None]]) -> list[list[Any]]:
    """The last event of each id, and of each tile of an hour without one the last and its length; the last of these."""
    ids = {order: max(at for at, own in events if own == order) for _, order in events if order is not None}
    tiles: dict[int, list[int]] = {}
    for at, order in events:
        if order is None:
            tiles.setdefault(at // HOUR_US, []).append(at)
    found = [(at // HOUR_US, order, [at, order]) for order, at in ids.items()]
    found += [(tile, "", [max(times), max(times) - min(times)]) for tile, times in tiles.items()]
    return [entry for *_, entry in sorted(found, key=lambda one: one[:2])][-MOST_ORDERS:]


def _edge(fact: Fact, column: str) -> list[Any]:
    return [fact.timestamp_us, fact.event_id, getattr(fact, column)]


def _aggregates() -> Iterator[Aggregate]:
    for kind, where in product(KINDS, (EVERY, PURCHASE)):
        if kind == "distinct":
            yield Aggregate("distinct", "product_id", PURCHASE)
        else:
            columns = [""] if kind in _NO_COLUMN else LABELS if kind in _OF_LABELS else MEASURES
            yield from (_aggregate(kind, column, where) for column in columns)


def _aggregate(kind: str, column: str = "", where: Where = EVERY) -> Aggregate:
    return Aggregate(kind, column, where, _PARAMETERS.get(kind, 0))  # type: ignore[arg-type]


SLOTS = tuple(sorted({LAST_EVENT, *_aggregates()}))
TILES = TileSet(HOUR_US, _SPAN, tuple(slot for slot in SLOTS if KINDS[slot.kind].tiled))
PLAN = EntityPlan("user", msgspec.structs.replace(SHOP, duplicates_within=timedelta(0)), SLOTS, (TILES,), (), ())
ALGEBRA = Algebra(PLAN)

_facts = st.lists(
    st.builds(
        some_fact,
        st.sampled_from(["view", "purchase"]),
        st.just("u"),
        st.sampled_from(["p", "q", "r"]),
        st.one_of(st.integers(0, 3), st.integers(0, 40 * HOUR_US)).map(lambda at: START_US + at),
        st.one_of(st.integers(0, 3), st.integers(0, 10**21)),
        st.integers(1, 5),
        st.just(""),
        category=st.sampled_from([None, "a", "b", "ü"]),
        brand=st.sampled_from([None, "b"]),
        discount=st.sampled_from([0, 5, 10**21]),
        order_id=st.sampled_from([None, "o", "p"]),
    ),
    min_size=1,
    max_size=12,
).map(lambda facts: [fact._replace(event_id=f"e{place:02}") for place, fact in enumerate(facts)])


def _folded(facts: Sequence[Fact], seen: set[tuple[str, str]] | None = None) -> State:
    """The state of these events; `seen` holds the types and products that came before."""
    seen = set() if seen is None else seen
    state = ALGEBRA.empty()
    for fact in facts:
        pair = (fact.event_type, fact.product_id)
        ALGEBRA.update(state, fact, distincts(ALGEBRA, fact) if pair not in seen else ())
        seen.add(pair)
    return state


def _plainly(facts: Sequence[Fact], aggregate: Aggregate) -> Any:
    return _PLAIN[aggregate.kind](
        [f for f in facts if aggregate.where in (EVERY, of_type(f.event_type))], aggregate.column
    )


def _table(facts: Sequence[Fact]) -> tuple[Any, Any]:
    connection = ibis.duckdb.connect(threads=1)
    exact, count = pa.decimal128(38, 0), len(facts)
    rows = pa.table(
        {
            "event_type": [fact.event_type for fact in facts],
            **{name: pa.array([getattr(fact, name) for fact in facts], pa.string()) for name in LABELS},
            "event_id": [fact.event_id for fact in facts],
            "time_us": pa.array([fact.timestamp_us for fact in facts], pa.int64()),
            **{name: pa.array([getattr(fact, name) for fact in facts], exact) for name in MEASURES},
            "source": [topic_source(TOPIC)] * count,
            "partition": pa.array([0] * count, pa.int32()),
            "offset": pa.array(range(count), pa.int64()),
        }
    )
    connection.con.register("events", rows)
    return connection, connection.table("events")


def test_each_kind_has_an_entry_everywhere() -> None:
    assert set(_PLAIN) == set(KINDS) == set(BATCH_KINDS) - {"deviation"} == {slot.kind for slot in SLOTS}


@examples(60)
@given(_facts, st.randoms(use_true_random=False))
def test_any_order_folds_to_what_is_plain(facts: list[Fact], chance: Any) -> None:
    shuffled = list(facts)
    chance.shuffle(shuffled)
    state = _folded(shuffled)
    assert dict(zip(SLOTS, state.slots, strict=True)) == {slot: _plainly(facts, slot) for slot in SLOTS}
    assert state == _folded(facts)
    assert ALGEBRA.decode(ALGEBRA.encode(state)) == state


@pytest.mark.integration
@examples(60)
@given(_facts, st.integers(0, 12))
def test_merging_parts_is_folding_all(facts: list[Fact], cut: int) -> None:
    seen: set[tuple[str, str]] = set()
    left, right = _folded(facts[:cut], seen), _folded(facts[cut:], seen)
    assert ALGEBRA.merge(left, right) == ALGEBRA.merge(right, left) == _folded(facts)


@examples(60)
@given(_facts)
def test_no_state_takes_more_bytes_than_its_cost(facts: list[Fact]) -> None:
    plan = Plan(SHOP, (PLAN,), ())
    assert len(ALGEBRA.encode(_folded(facts))) <= sum(cost.most_bytes for cost in costs(plan))
    for slot, number in zip(SLOTS, _folded(facts).slots, strict=True):
        most = KINDS[slot.kind].most_bytes(slot.parameter)
        alone = ALGEBRA.encode(State([number], [], []))
        assert len(alone) <= len(ALGEBRA.encode(State([0], [], []))) - 1 + most, slot


@pytest.mark.integration
@pytest.mark.parametrize("kind", KINDS)
@examples(20)
@given(facts=_facts)
def test_the_step_alone_is_what_the_algebra_has_in_line(kind: str, facts: list[Fact]) -> None:
    where = PURCHASE if kind == "distinct" else EVERY
    column = "product_id" if kind in {"distinct", *_OF_LABELS} else "" if kind in _NO_COLUMN else "amount"
    field = fact_class(SHOP)._fields.index(column) if column else 0
    number, seen = KINDS[kind].start, set()
    for fact in facts:
        if where in (EVERY, of_type(fact.event_type)) and (kind != "distinct" or fact.product_id not in seen):
            number = KINDS[kind].step(field, _PARAMETERS.get(kind, 0))(number, fact)
            seen.add(fact.product_id)
    assert number == _folded(facts).slots[SLOTS.index(_aggregate(kind, column, where))]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind].grows is not None])
@examples(20)
@given(facts=_facts)
def test_a_kind_that_grows_goes_one_way(kind: str, facts: list[Fact]) -> None:
    states = [_folded(facts[:count]) for count in range(1, len(facts) + 1)]
    place = next(place for place, slot in enumerate(SLOTS) if slot.kind == kind and not slot.where)
    numbers = [state.slots[place] for state in states]
    assert numbers == sorted(numbers, reverse=not KINDS[kind].grows)


@pytest.mark.long
@pytest.mark.integration  # it takes seconds
@examples(10)
@given(_facts)
@example([some_fact("view", "u", "p", START_US, 10**21 - 1, 1, "e00")])
def test_the_log_gives_the_same_states(facts: list[Fact]) -> None:
    connection, events = _table(facts)
    topic = topic_source(TOPIC)
    (backfilled,) = state_rows(connection.to_pyarrow_batches(entity_states(events, PLAN, topic)), PLAN, topic)
    assert ALGEBRA.decode(backfilled.state) == _folded(facts)


@pytest.mark.integration
@examples(10)
@given(_facts)
def test_running_totals_end_at_the_same_numbers(facts: list[Fact]) -> None:
    _, events = _table(facts)
    inputs = {}
    for place, slot in enumerate(SLOTS):
        kind = BATCH_KINDS[slot.kind]
        if kind.input is not None and slot.kind != "distinct":  # whose firsts are rows of their own
            adds = kind.input(events, events[slot.column] if slot.column else None, "")
            inputs[f"c{place}"] = ibis.ifelse(met(events, slot.where), adds, kind.blank()) if slot.where else adds
    rows = events.mutate(**inputs)
    # Ibis gives sums of decimals two places, for which the largest have no room when they are fetched.
    totals = {name: BATCH_KINDS[SLOTS[int(name[1:])].kind].total(rows[name]).cast(rows[name].type()) for name in inputs}
    (found,) = rows.aggregate(**totals).to_pyarrow().to_pylist()
    for name, total in found.items():
        slot = SLOTS[int(name[1:])]
        edge = total and [total["time"], total["id"], total["value"]] if slot.kind in ("first", "last") else total
        assert edge == _plainly(facts, slot), slot
