"""Events that are sent twice count once, in whatever order they are read, read again, cut or rebuilt."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec
import pytest
from event_streams import START_US, TOPIC, Act, Placed, act, batches, place
from hypothesis import given
from hypothesis import strategies as st
from thorough import examples

from data.default_shop import SHOP
from data.errors import OvertakenError, SchemaError, UnsettledError
from data.event import Event
from data.log.event_log import EventLog
from data.log.event_table import PlacedEvent, placed_table
from data.log.sources import topic_source
from data.schema import Entity, Schema
from data.units import DAY_US, HOUR_US, MICROS
from features.batch.engine import DuckDBEngine
from features.batch.repair import remake
from features.facts import fact_maker
from features.plan.plan import Plan
from features.seen import ENTRY_BYTES, MOST_SEEN, Repeats, Seen, token_of
from features.state.fold import Fold, Settled, Sourced
from features.state.memory import MemoryStates
from features.state.states import EntityKey, Stored

DAY_S = 86_400
fact_of = fact_maker(SHOP)


class Sent(msgspec.Struct, frozen=True):
    """An event as it arrived in its topic."""

    placed: Placed
    at_us: int


@st.composite
def sendings(draw: st.DrawFn) -> list[Sent]:
    """Events of three users, many of them sent again: at once, hours or days later, some with an old time."""
    arrived, at_us = list[tuple[Event, int]](), START_US
    for number in range(draw(st.integers(1, 25))):
        at_us += draw(st.sampled_from((0, MICROS, HOUR_US, 23 * HOUR_US, DAY_US, 3 * DAY_US)))
        again = draw(st.booleans())
        if again and arrived:
            event, _ = draw(st.sampled_from(arrived))
        else:
            user, product = draw(st.sampled_from("uvw")), draw(st.sampled_from("pq"))
            late_us = draw(st.sampled_from((0, 0, HOUR_US, 9 * DAY_US)))
            kind = draw(st.sampled_from(("view", "purchase")))
            event = act(Act(kind, user, product, max(0, at_us - START_US - late_us)), f"e{number}")
        arrived.append((event, at_us - draw(st.sampled_from((0, 0, 0, 2 * HOUR_US)))))  # clocks differ
    placed = place([event for event, _ in arrived])
    return [Sent(one, at) for one, (_, at) in zip(placed, arrived, strict=True)]


def sourced(sent: Sequence[Sent]) -> list[Sourced]:
    return [Sourced(fact_of(one.placed.event), one.placed.partition, one.placed.offset, one.at_us) for one in sent]


def counted(sent: Sequence[Sent], within_us: int = DAY_US) -> list[Sent]:
    """The rule, plainly: of each user, an id that arrived less than a day before what arrives now is no event."""
    kept = list[Sent]()
    for one in sorted(sent, key=lambda one: (one.placed.partition, one.placed.offset)):
        same = [other for other in kept if other.placed.event.user_id == one.placed.event.user_id]
        newest_s = max((other.at_us // MICROS for other in [*same, one]), default=0)
        ids = {
            other.placed.event.event_id
            for place, other in enumerate(same)
            if newest_s - max(o.at_us // MICROS for o in same[: place + 1]) < within_us // MICROS
        }
        if one.placed.event.event_id not in ids:
            kept.append(one)
    return kept


def stored(states: MemoryStates, plan: Plan, sent: Sequence[Sent]) -> dict[EntityKey, Stored]:
    """All states of these events."""
    events = [one.placed.event for one in sent]
    keys = {
        EntityKey(entity.name, tuple(getattr(event, key) for key in entity.join_keys))
        for entity in plan.schema.entities
        for event in events
        if not set(entity.join_keys) & set(plan.schema.labels)
    }
    return dict(zip(keys, states.read(list(keys)), strict=True))


def folded_plainly(plan: Plan, sent: Sequence[Sent]) -> MemoryStates:
    """States of events none of which was sent twice."""
    states = MemoryStates()
    Fold(plan, states, TOPIC).apply(sourced(sent), logged=True)
    return states


@pytest.mark.integration
@examples(60)
@given(sent=sendings(), data=st.data())
def test_whatever_is_sent_twice_counts_once_however_it_is_read(
    plan: Plan, sent: list[Sent], data: st.DataObject
) -> None:
    """Partitions in any order, ranges read again, offsets twice in a batch: the states of what counts, byte by byte."""
    states, at = MemoryStates(), {(one.placed.partition, one.placed.offset): one for one in sent}
    committed: dict[int, int] = {}
    repeats = set[tuple[int, int]]()
    for batch in batches([one.placed for one in sent], lambda n: data.draw(st.integers(0, n - 1))):
        some = sourced([at[one.partition, one.offset] for one in batch])
        while some:  # as a worker does where a state would forget what is not committed
            try:
                counts = Fold(plan, states, TOPIC).apply(some, settled=Settled(committed, {}))
                repeats |= {(some[place].partition, some[place].offset) for place in counts.repeats}
                break
            except UnsettledError as error:
                before = some[: error.place]
                counts = Fold(plan, states, TOPIC).apply(before, settled=Settled(committed, {}))
                repeats |= {(before[place].partition, before[place].offset) for place in counts.repeats}
                rest = some[error.place :]
                committed[rest[0].partition] = rest[0].offset
                some = rest
            except OvertakenError:
                # It was committed, so no worker reads it again.
                some = [one for one in some if one.offset >= committed.get(one.partition, 0)]
    kept = counted(sent)
    assert repeats == at.keys() - {(one.placed.partition, one.placed.offset) for one in kept}
    assert stored(states, plan, sent) == stored(folded_plainly(plan, kept), plan, sent)


@pytest.mark.long
@pytest.mark.integration  # it writes and queries a log for each example
@examples(15)
@given(sent=sendings())
def test_states_from_the_log_have_the_same_bytes_and_know_what_is_sent_again(
    plan: Plan, sent: list[Sent], tmp_path_factory: pytest.TempPathFactory
) -> None:
    kept = counted(sent)
    log = EventLog(tmp_path_factory.mktemp("log"))
    for number in {one.placed.partition for one in sent}:
        rows = [PlacedEvent(o.placed.offset, o.placed.event, o.at_us) for o in kept if o.placed.partition == number]
        end = 1 + max(one.placed.offset for one in sent if one.placed.partition == number)
        log.append(topic_source(TOPIC), number, range(end), placed_table(rows))
    expected = stored(folded_plainly(plan, kept), plan, kept)
    with DuckDBEngine(log) as engine:
        for name in ("user", "product", "user_product"):
            made = {one.key: Stored(one.state, one.fence.encode()) for one in engine.states(plan.of(name))}
            assert made == {key: value for key, value in expected.items() if key.entity == name}


@pytest.mark.long
@pytest.mark.integration  # it writes and queries a log for each example
@examples(10)
@given(sent=sendings(), data=st.data())
def test_states_that_are_made_anew_know_what_was_sent_again_beyond_the_log(
    plan: Plan, sent: list[Sent], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The log ends anywhere. Beyond it they go as far as a worker may before it commits, and are what it would make."""
    kept, log = counted(sent), EventLog(tmp_path_factory.mktemp("log"))
    source, ends = topic_source(TOPIC), dict[int, int]()
    for number in {one.placed.partition for one in sent}:
        ends[number] = data.draw(st.integers(1, max(o.placed.offset for o in sent if o.placed.partition == number) + 1))
        logged = [one for one in kept if one.placed.partition == number and one.placed.offset < ends[number]]
        rows = [PlacedEvent(one.placed.offset, one.placed.event, one.at_us) for one in logged]
        log.append(source, number, range(ends[number]), placed_table(rows))
    within = [one for one in kept if one.placed.offset < ends[one.placed.partition]]
    beyond = sourced([one for one in sent if one.placed.offset >= ends[one.placed.partition]])
    worker = folded_plainly(plan, within)
    try:
        Fold(plan, worker, TOPIC).apply(beyond, settled=Settled(ends, ends))
    except UnsettledError as error:
        Fold(plan, worker, TOPIC).apply(beyond[: error.place], settled=Settled(ends, ends))
    made = MemoryStates()
    keys = [key for key in stored(worker, plan, sent) if key.entity in ("product", "user")]
    remake(plan, made, log, TOPIC, keys=keys, newer=lambda: beyond)
    assert [one.state for one in made.read(keys)] == [one.state for one in worker.read(keys)]
    # Those of products again, where what users and pairs have seen is as the worker has stored it.
    made, keys = MemoryStates(), [key for key in keys if key.entity == "product"]
    remake(plan, made, log, TOPIC, keys=keys, newer=lambda: beyond, others=worker)
    assert [one.state for one in made.read(keys)] == [one.state for one in worker.read(keys)]


def test_an_offset_that_is_read_again_is_what_it_was() -> None:
    seen = Seen()
    for offset, at_s in ((3, 0), (5, 10), (9, DAY_S + 5)):
        seen.add(token_of(f"e{offset}"), offset, at_s, DAY_S)
    assert (seen.forgotten, [entry.offset for entry in seen]) == (3, [5, 9])
    assert [seen.was_repeat(offset) for offset in (3, 4, 5, 7, 9, 10)] == [None, True, False, True, False, True]
    assert seen.is_repeat(token_of("e5"), DAY_S + 9, DAY_S)
    assert not seen.is_repeat(token_of("e5"), DAY_S + 10, DAY_S), "a day later it is another event"
    assert not seen.is_repeat(token_of("e3"), DAY_S, DAY_S)


def test_a_clock_that_goes_back_makes_nothing_young_again() -> None:
    seen = Seen()
    seen.add(token_of("a"), 0, 5 * DAY_S, DAY_S)
    seen.add(token_of("b"), 1, 0, DAY_S)
    assert [entry.at_s for entry in seen] == [5 * DAY_S, 5 * DAY_S]
    assert seen.is_repeat(token_of("b"), 0, DAY_S)
    assert not seen.is_repeat(token_of("b"), 6 * DAY_S, DAY_S)


@given(st.lists(st.tuples(st.sampled_from((0, 1, 70_000)), st.booleans()), max_size=30))
def test_what_two_halves_have_seen_is_merged(arrivals: list[tuple[int, bool]]) -> None:
    whole, halves, at_s = Seen(), (Seen(), Seen()), 0
    for offset, (later_s, side) in enumerate(arrivals):
        at_s += later_s
        for seen in (whole, halves[side]):
            seen.add(token_of(f"e{offset}"), offset, at_s, DAY_S)
    left, right = halves
    assert left.merge(right, DAY_S) == right.merge(left, DAY_S) == whole


def test_a_user_of_a_million_events_an_hour_is_remembered_in_72_kb() -> None:
    seen = Seen()
    ids = [f"{number:064d}" for number in range(20_000)]
    for offset, event_id in enumerate(ids):
        seen.add(token_of(event_id), offset, offset // 278, DAY_S)
    assert len(seen) == MOST_SEEN
    assert len(seen.entries) == MOST_SEEN * ENTRY_BYTES == 73_728
    assert seen.forgotten == len(ids) - MOST_SEEN - 1
    assert seen.is_repeat(token_of(ids[-MOST_SEEN]), 100, DAY_S)
    assert not seen.is_repeat(token_of(ids[-MOST_SEEN - 1]), 100, DAY_S)


def test_bytes_of_two_entries_that_look_like_a_token_are_none() -> None:
    seen = Seen()
    seen.add(b"\2" * 8, 0, 0, DAY_S)  # and zeros behind it
    seen.add(b"\1" * 8, 1, 0, DAY_S)
    assert seen.is_repeat(b"\2" * 8, 1, DAY_S)
    assert not seen.is_repeat(seen.entries[4:12], 1, DAY_S)
    assert not seen.is_repeat(bytes(8), 1, DAY_S)


def test_a_state_forgets_nothing_that_may_be_read_again(plan: Plan) -> None:
    states = MemoryStates()
    events = [act(Act("view", "u", "p", day * DAY_US), f"e{day}") for day in range(3)]
    some = [Sourced(fact_of(event), 0, n, START_US + n * DAY_US) for n, event in enumerate(events)]
    fold = Fold(plan, states, TOPIC)
    with pytest.raises(UnsettledError) as caught:
        fold.apply(some, settled=Settled({}, {}))
    assert caught.value.place == 1
    assert states.counts()["user"] == 0, "nothing was folded"
    fold.apply(some, settled=Settled({0: 2}, {}))
    assert fold.apply(some[:1], settled=Settled({0: 2}, {0: 1})).repeats == {0}, "the log has it, so every state has"
    with pytest.raises(OvertakenError, match="offset 0"):
        fold.apply(some[:1], settled=Settled({0: 2}, {0: 0}))


def test_another_topic_begins_anew(plan: Plan) -> None:
    states = MemoryStates()
    some = [Sourced(fact_of(act(Act("view", "u", "p", 0), "e")), 0, 0, START_US)]
    assert not Fold(plan, states, TOPIC).apply(some).repeats
    assert not Fold(plan, states, b"another topic id").apply(some).repeats


def test_repeats_are_counted_where_a_schema_says_so(plan: Plan) -> None:
    schema = msgspec.structs.replace(SHOP, duplicates_within=timedelta(0))
    entities = tuple(msgspec.structs.replace(entity, schema=schema) for entity in plan.entities)
    off = Plan(schema, entities, plan.request)
    assert [off.of(entity.name).remembers_s for entity in schema.entities] == [0] * len(schema.entities)
    assert off.of("user").layout != plan.of("user").layout
    assert off.of("product").layout == plan.of("product").layout
    fact = fact_of(act(Act("view", "u", "p", 0), "e"))
    states = MemoryStates(schema)
    assert Fold(off, states, TOPIC).apply([Sourced(fact, 0, n, START_US) for n in range(2)]).folded == 2


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"duplicates_within": timedelta(seconds=-1)}, "duplicates_within is"),
        ({"duplicates_within": timedelta(milliseconds=1)}, "whole seconds"),
        ({"duplicates_within": timedelta(days=999)}, "up to 366 days"),
        (
            {"entities": (Entity("pair", ("u", "p")),)},
            'declare Entity("...", ("u",)), or duplicates_within=timedelta(0)',
        ),
    ],
)
def test_a_window_that_cannot_be_is_refused(changed: dict[str, object], fault: str) -> None:
    good = {"types": SHOP.types, "keys": ("u", "p"), "ordered_by": "u", "entities": (Entity("one", ("u",)),)}
    assert Schema(**good).duplicates_within_s == DAY_S  # type: ignore[arg-type]
    with pytest.raises(SchemaError) as caught:
        Schema(**good | changed)  # type: ignore[arg-type]
    assert fault in str(caught.value)


def test_repeats_are_told_without_states() -> None:
    repeats = Repeats(DAY_S)
    assert not repeats.take("u", "a", 0, 0)
    assert repeats.take("u", "a", 1, HOUR_US)
    assert not repeats.take("v", "a", 2, HOUR_US), "of another user it is another event"
    assert not repeats.take("u", "a", 3, DAY_US)
    assert not repeats.take("u", "a", 4, DAY_US, logged=True)
    assert not Repeats(0).take("u", "a", 0, 0)
