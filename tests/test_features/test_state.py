"""The algebra of states: order, grouping and lateness change nothing; bytes are read as what they are, or refused."""

import random
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec
import pytest
from event_streams import START_US, TOPIC, Act, act, place, sourced, streams
from facts import distincts, fact_of, of_type, some_fact
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from thorough import examples

from data.default_shop import EVENT_TYPES, SHOP, ShopEvent
from data.errors import StateError
from data.event import Event
from data.units import DAY_US, HOUR_US, MINUTE_US, from_micros
from features.entities import USER_PRODUCT
from features.facts import Fact
from features.plan.plan import Aggregate, EntityPlan, Plan, Smoothed, TileSet
from features.state.algebra import Algebra, State
from features.state.codec import STATE_VERSION
from features.state.fold import Fold
from features.state.online.keys import redis_key
from features.state.online.states import OnlineStates
from features.state.states import EntityKey
from features.state.tiles import tiles_of
from features.state.values import EntityValues

PURCHASE, VIEW = of_type("purchase"), of_type("view")
FULL = EntityPlan(
    "user",
    SHOP,
    slots=tuple(
        sorted(
            [
                Aggregate("last_time"),
                Aggregate("count"),
                *(Aggregate("count", where=where) for where in (PURCHASE, VIEW)),
                *(Aggregate(kind, "amount", PURCHASE) for kind in ("sum", "squares", "min", "max", "first", "last")),
                *(Aggregate(kind, where=VIEW) for kind in ("first_time", "last_time", "time_sum", "time_squares")),
                Aggregate("time_products", "amount", PURCHASE),
                Aggregate("distinct", "product_id", PURCHASE),
            ]
        )
    ),
    tile_sets=(
        TileSet(5 * MINUTE_US, 12, (Aggregate("count"), Aggregate("sum", "amount", PURCHASE))),
        TileSet(DAY_US, 30, (Aggregate("count", where=VIEW), Aggregate("squares", "amount", PURCHASE))),
    ),
    firsts=(PURCHASE, VIEW),
    features=(),
)
"""Every kind of aggregate, in slots and in tiles."""

ALGEBRA = Algebra(FULL)

facts = st.builds(
    lambda kind, at, amount, number, first: (
        some_fact(kind, "u", "p", START_US + at, amount, 1 + number % 3, f"e{number}"),
        first,
    ),
    st.sampled_from(EVENT_TYPES),
    st.one_of(
        st.integers(0, 60 * DAY_US), st.integers(0, 60).map(lambda day: day * DAY_US), st.integers(0, 2 * HOUR_US)
    ),
    st.one_of(st.integers(0, 10**9), st.sampled_from([0, 10**21])),
    st.integers(0, 10**6),
    st.booleans(),
)
some_facts = st.lists(facts, max_size=25)


def tiles(state: State, tile_set: int) -> list[int]:
    """The numbers of a tile set's tiles, oldest first."""
    return tiles_of(state.tiles[tile_set], 1 + len(FULL.tile_sets[tile_set].columns))[::-1]


def folded(flagged: Sequence[tuple[Fact, bool]]) -> State:
    """Events with, for each, whether it is its pair's first of its type."""
    state = ALGEBRA.empty()
    for fact, first in flagged:
        ALGEBRA.update(state, fact, distincts(ALGEBRA, fact) if first else ())
    return state


@pytest.mark.integration
@given(some_facts, st.randoms(use_true_random=False))
def test_order_changes_nothing(flagged: list[tuple[Fact, bool]], chance: random.Random) -> None:
    shuffled = flagged.copy()
    chance.shuffle(shuffled)
    assert folded(shuffled) == folded(flagged)
    assert ALGEBRA.encode(folded(shuffled)) == ALGEBRA.encode(folded(flagged))


@pytest.mark.integration
@given(some_facts, some_facts)
def test_merging_two_folds_is_folding_both(left: list[tuple[Fact, bool]], right: list[tuple[Fact, bool]]) -> None:
    assert ALGEBRA.merge(folded(left), folded(right)) == folded(left + right)


@pytest.mark.integration
@given(some_facts, some_facts, some_facts)
def test_merge_is_commutative_and_associative_with_an_identity(
    a: list[tuple[Fact, bool]], b: list[tuple[Fact, bool]], c: list[tuple[Fact, bool]]
) -> None:
    x, y, z = folded(a), folded(b), folded(c)
    x.firsts, y.firsts = [(0, 7), None], [(0, 3), (1, 1)]
    assert ALGEBRA.merge(x, y) == ALGEBRA.merge(y, x)
    assert ALGEBRA.merge(ALGEBRA.merge(x, y), z) == ALGEBRA.merge(x, ALGEBRA.merge(y, z))
    assert ALGEBRA.merge(x, ALGEBRA.empty()) == ALGEBRA.merge(ALGEBRA.empty(), x) == x
    assert ALGEBRA.merge(x, y).firsts == [(0, 3), (1, 1)]


@pytest.mark.integration
@given(some_facts, some_facts)
def test_merge_leaves_its_arguments_alone(a: list[tuple[Fact, bool]], b: list[tuple[Fact, bool]]) -> None:
    x, y = folded(a), folded(b)
    merged = ALGEBRA.merge(x, y)
    last = some_fact("purchase", "u", "p", START_US + 61 * DAY_US, 5, 1, "z")
    ALGEBRA.update(merged, last, distincts(ALGEBRA, last))
    assert (x, y) == (folded(a), folded(b))


@given(some_facts)
def test_bytes_are_read_back(flagged: list[tuple[Fact, bool]]) -> None:
    state = folded(flagged)
    state.firsts = [(3, 2**40), None]
    data = ALGEBRA.encode(state)
    assert data[0] == STATE_VERSION
    assert ALGEBRA.decode(data) == state


def test_totals_past_64_bits_are_exact() -> None:
    state = ALGEBRA.empty()
    for number in range(1000):
        ALGEBRA.update(state, some_fact("purchase", "u", "p", START_US + number, 10**21, 1, f"e{number}"))
    again = ALGEBRA.decode(ALGEBRA.encode(state))
    assert again.slots[FULL.slots.index(Aggregate("sum", "amount", PURCHASE))] == 10**24
    assert again.slots[FULL.slots.index(Aggregate("squares", "amount", PURCHASE))] == 10**45
    assert again == state


@pytest.mark.parametrize("total", [2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**64 + 1])
def test_integers_about_64_bits_are_read_back(total: int) -> None:
    state = ALGEBRA.empty()
    state.slots[FULL.slots.index(Aggregate("sum", "amount", PURCHASE))] = total
    state.slots[FULL.slots.index(Aggregate("count"))] = 2**63
    assert ALGEBRA.decode(ALGEBRA.encode(state)) == state


@pytest.mark.integration
def test_an_entity_of_100_000_events_is_small_and_exact() -> None:
    chance = random.Random(1)
    state = ALGEBRA.empty()
    times = [START_US + chance.randrange(200 * DAY_US) for _ in range(100_000)]
    for number, at in enumerate(times):
        ALGEBRA.update(state, some_fact("purchase", "u", "p", at, number, 1, "e"))
    assert state.slots[FULL.slots.index(Aggregate("count"))] == 100_000
    assert state.slots[FULL.slots.index(Aggregate("sum", "amount", PURCHASE))] == sum(range(100_000))
    newest = max(times) // DAY_US
    assert tiles(state, 1) == sorted({at // DAY_US for at in times if at // DAY_US > newest - 30})
    assert len(ALGEBRA.encode(state)) < 1_500


def test_tiles_past_the_longest_window_are_dropped() -> None:
    """The span is 12 tiles of 5 minutes: the newest and eleven before it."""
    state = ALGEBRA.empty()

    def view(minute: int) -> None:
        ALGEBRA.update(state, some_fact("view", "u", "p", START_US + minute * MINUTE_US, 0, 1, "e"))

    first = START_US // (5 * MINUTE_US)
    for minute in (0, 5, 59):
        view(minute)
    assert tiles(state, 0) == [first, first + 1, first + 11]
    view(60)
    assert tiles(state, 0) == [first + 1, first + 11, first + 12]
    view(3)  # late, and past the window: it is counted for life, but in no tile
    assert tiles(state, 0) == [first + 1, first + 11, first + 12]
    assert state.slots[FULL.slots.index(Aggregate("count"))] == 5
    view(12)  # late, in time
    assert tiles(state, 0) == [first + 1, first + 2, first + 11, first + 12]
    view(100_000)
    assert tiles(state, 0) == [first + 20_000]


def test_a_state_of_another_version_is_refused() -> None:
    data = ALGEBRA.encode(ALGEBRA.empty())
    with pytest.raises(StateError, match=r"user state: version 03, this Encore reads 1 to 2; run `encore rebuild`"):
        ALGEBRA.decode(b"\x03" + data[1:])
    with pytest.raises(StateError, match="version none"):
        ALGEBRA.decode(b"")


def test_a_state_of_other_definitions_is_refused() -> None:
    wider = msgspec.structs.replace(
        FULL, tile_sets=(msgspec.structs.replace(FULL.tile_sets[0], span=13), FULL.tile_sets[1])
    )
    renamed = msgspec.structs.replace(FULL, firsts=(VIEW, PURCHASE))
    fewer = msgspec.structs.replace(FULL, slots=FULL.slots[1:])
    for other in (wider, renamed, fewer):
        data = Algebra(other).encode(Algebra(other).empty())
        with pytest.raises(StateError, match="rebuild"):
            ALGEBRA.decode(data)


@pytest.mark.integration
@examples(300)
@given(flagged=some_facts, data=st.data())
def test_corrupted_bytes_are_refused(flagged: list[tuple[Fact, bool]], data: st.DataObject) -> None:
    good = ALGEBRA.encode(folded(flagged))
    whole = bytearray(good)
    if data.draw(st.booleans(), "cut"):
        del whole[data.draw(st.integers(0, len(whole) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    if whole != good:
        with pytest.raises(StateError, match="rebuild"):
            ALGEBRA.decode(bytes(whole))


@given(st.binary(max_size=60))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(StateError):
        ALGEBRA.decode(data)
    for version in (b"\x01", b"\x02"):
        with pytest.raises(StateError):
            ALGEBRA.decode(version + data)


def test_a_fact_is_exact_in_micro_units() -> None:
    event = act(Act("purchase", "u", "p", 5, 0.1), "e")
    assert fact_of(event) == some_fact("purchase", "u", "p", START_US + 5, 100_000, 1, "e")
    assert fact_of(msgspec.structs.replace(event, amount=1e15)).amount == 10**21
    close = fact_of(msgspec.structs.replace(event, amount=999_999_999_999_999.875)).amount
    assert close == pytest.approx(999_999_999_999_999_875_000, rel=1e-15), "as near as floats are there"


def columnar(state: State) -> bytes:
    """The state as version 1 wrote it: a list per column of tiles, oldest first."""
    fields = [FULL.layout, *state.slots]
    for rows, tile_set in zip(state.tiles, FULL.tile_sets, strict=True):
        width = 1 + len(tile_set.columns)
        numbers = tiles_of(rows, width)[::-1]
        fields.append(numbers[:1] + [later - tile for tile, later in pairwise(numbers)])
        fields += [rows[column::width][::-1] for column in range(1, width)]
    body = msgspec.msgpack.encode([*fields, *state.firsts, []])
    return b"\x01" + zlib.crc32(body).to_bytes(4, "big") + body


@given(st.lists(facts.filter(lambda flagged: flagged[0].amount < 10**9), max_size=25))
def test_a_state_of_version_1_is_upgraded(flagged: list[tuple[Fact, bool]]) -> None:
    state = folded(flagged)
    state.slots = [slot if slot is None or isinstance(slot, list) else min(slot, 2**63) for slot in state.slots]
    state.firsts = [(3, 7), None]
    assert ALGEBRA.decode(columnar(state)) == state


def test_bytes_that_version_1_really_wrote_are_read() -> None:
    """The example of the page on the format, as it stood then."""
    views, purchases = Aggregate("count", where=VIEW), Aggregate("count", where=PURCHASE)
    spend, newest = Aggregate("sum", "amount", PURCHASE), Aggregate("last_time")
    day = TileSet(DAY_US, 30, (purchases, spend))
    plan = EntityPlan("user_product", SHOP, (purchases, views, newest, spend), (day,), (PURCHASE, VIEW), ())
    written = "01b233764c9acebb96f6f00101cf0006474869e38600ce0090f56091cd4fe6910191ce0090f560920229920228"
    body = bytearray.fromhex(written)[5:]
    body[2:6] = plan.layout.to_bytes(4, "big")  # another than then, when types were the only conditions
    assert Algebra(plan).decode(b"\x01" + zlib.crc32(body).to_bytes(4, "big") + body) == State(
        [1, 1, 1_767_226_200_000_000, 9_500_000], [[20_454, 1, 9_500_000]], [(2, 41), (2, 40)]
    )


@pytest.fixture
def default_client(redis_client: "Redis[bytes]") -> "Iterator[Redis[bytes]]":
    """The store with the settings for hashes that a Redis has by default."""
    was = redis_client.config_get("hash-max-listpack-value")
    redis_client.config_set("hash-max-listpack-value", 64)
    yield redis_client
    redis_client.config_set(*was.popitem())


def memory_of(plan: Plan, client: "Redis[bytes]", events: Sequence[Event], key: EntityKey) -> int:
    Fold(plan, OnlineStates(client), TOPIC).apply(sourced(place(events, 4, first_offset=1_000_000)))
    return int(client.memory_usage(redis_key(key)) or 0)


@pytest.mark.parametrize("seed", range(3))
def test_a_user_of_200_events_in_30_days_takes_at_most_1_5_kb(
    plan: Plan, default_client: "Redis[bytes]", seed: int
) -> None:
    chance = random.Random(seed)
    kinds = chance.choices(EVENT_TYPES, (6, 2, 1, 2, 0), k=200)
    times = sorted(chance.randrange(30 * DAY_US) for _ in kinds)
    events = [
        ShopEvent(
            f"event-{number}",
            kind,
            "user-00012345",
            f"product-{chance.randrange(60):05d}",
            round(chance.lognormvariate(3, 1), 2),
            from_micros(START_US + at),
        )
        for number, (kind, at) in enumerate(zip(kinds, times, strict=True))
    ]
    assert memory_of(plan, default_client, events, EntityKey("user", ("user-00012345",))) <= 1_536


def test_a_pair_of_3_events_takes_at_most_400_bytes(plan: Plan, default_client: "Redis[bytes]") -> None:
    acts = [("view", 0), ("add_to_cart", 10 * MINUTE_US), ("purchase", 20 * MINUTE_US)]
    events = [act(Act(kind, "user-00012345", "product-00042", at, 49.99), f"e{at}") for kind, at in acts]
    key = EntityKey(USER_PRODUCT.name, ("product-00042", "user-00012345"))
    assert memory_of(plan, default_client, events, key) <= 400


def test_a_state_asked_about_its_past_answers_as_of_its_newest_event(plan: Plan) -> None:
    values = EntityValues(plan.of("user"))
    state = values.algebra.empty()
    for number, at in enumerate((0, 3 * HOUR_US)):
        values.algebra.update(state, fact_of(act(Act("view", "u", "p", at), f"e{number}")))
    assert values.get(state, START_US) == values.get(state, START_US + 3 * HOUR_US)
    assert values.get(state, START_US + 4 * HOUR_US) != values.get(state, START_US + 3 * HOUR_US)


def test_an_unknown_entity_has_zero_counts_and_nulls(plan: Plan) -> None:
    for entity in plan.entities:
        values = EntityValues(entity)
        of = dict(zip(values.names, values.get(None, START_US), strict=True))
        types = {feature.name: feature.type for feature in entity.features}
        sums = {name for name in of if "spend" in name or name.endswith("returned_amount")}
        priors = {f.name: f.expression.rate for f in entity.features if isinstance(f.expression, Smoothed)}
        assert all(of[name] == 0 for name in of if types[name] == "int" or name in sums)
        assert {name: of[name] for name in priors} == priors
        nulls = [name for name in of if types[name] == "float" and name not in {*sums, *priors}]
        assert all(of[name] is None for name in nulls)
        values.algebra.update(values.algebra.empty(), fact_of(act(Act("view", "u", "p", 0), "e")))
        assert values.get(None, START_US) == tuple(of.values()), "asking changes nothing"


@examples(30)
@given(placed=streams(most=20))
def test_values_can_be_asked_by_name(plan: Plan, placed: list) -> None:  # type: ignore[type-arg]
    everything = EntityValues(plan.of("user"))
    two = EntityValues(plan.of("user"), ["user_spend_7d", "user_view_count"])
    state = everything.algebra.empty()
    for one in placed:
        everything.algebra.update(state, fact_of(one.event))
    known = dict(zip(everything.names, everything.get(state, START_US), strict=True))
    assert dict(zip(two.names, two.get(state, START_US), strict=True)) == {name: known[name] for name in two.names}
