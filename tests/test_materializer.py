"""History and stream meet at the fence: nothing lost, nothing counted twice, whichever comes first.

log        |== history ==|== topic 0 .. k ==|
Redis      |---- materialized, fence at k --|
stream                              |-- again --|-- k+1 .. --|
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from event_streams import DAY_US, HOUR_US, TOPIC, Act, Placed, act, as_log, examples, place, sourced, streams
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from redis import Redis

from data.errors import DataError
from data.log.event_log import EventLog
from data.log.event_table import EVENT_COLUMNS
from features.backfill import Backfilled
from features.engine import DuckDBEngine
from features.entities import ENTITIES
from features.fence import Fence
from features.fold import Fold
from features.materializer import MaterializeCounts, materialize
from features.online import EntityKey, OnlineStates
from features.plan import Plan
from features.state import Algebra, State

U = EntityKey("user", ("u",))


@pytest.fixture
def states(redis_client: "Redis[bytes]") -> OnlineStates:
    return OnlineStates(redis_client)


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "log")


def some(number: int, *, first: int = 0, partitions: int = 2, first_offset: int = 0) -> list[Placed]:
    """Views and purchases of three users and two products, an hour apart."""
    acts = [
        Act(("view", "purchase")[n % 2], f"u{n % 3 or ''}", f"p{n % 4 // 2}", n * HOUR_US, float(n))
        for n in range(first, first + number)
    ]
    return place([act(one, f"e{one.at // HOUR_US}") for one in acts], partitions, first_offset=first_offset)


def write_history(log: EventLog, placed: Sequence[Placed]) -> None:
    columns = {name: [getattr(one.event, name) for one in placed] for name in EVENT_COLUMNS.names}
    log.write_history("shop", [pa.table(columns, schema=EVENT_COLUMNS)])


def materialize_all(plan: Plan, log: EventLog, states: OnlineStates) -> MaterializeCounts:
    written = ahead = 0
    with DuckDBEngine(log, threads=1) as engine:
        for entity in ENTITIES:
            counts = materialize(states, engine.states(plan.of(entity.name)), plan.of(entity.name), log)
            written, ahead = written + counts.written, ahead + counts.ahead
    return MaterializeCounts(written, ahead)


def contents(plan: Plan, states: OnlineStates, placed: Sequence[Placed]) -> dict[EntityKey, State]:
    """The states of all entities, but for the offsets of firsts, which only fences of one topic share."""
    found = {}
    for entity in ENTITIES:
        algebra = Algebra(plan.of(entity.name))
        keys = list({EntityKey(entity.name, tuple(getattr(p.event, k) for k in entity.join_keys)) for p in placed})
        for key, stored in zip(keys, states.read(keys), strict=True):
            if stored.state:
                found[key] = algebra.decode(stored.state)
                found[key].firsts = []
    return found


def expected(plan: Plan, client: "Redis[bytes]", *parts: Sequence[Placed]) -> dict[EntityKey, State]:
    """Each part folded once, as a topic of its own."""
    states = OnlineStates(client, "expected")
    states.clear()
    for number, part in enumerate(parts):
        Fold(plan, states, bytes([number]) * 16).apply(sourced(part))
    return contents(plan, states, [one for part in parts for one in part])


def fences(states: OnlineStates, keys: Sequence[EntityKey]) -> list[Fence]:
    return [Fence.decode(stored.fence) for stored in states.read(keys)]


def test_half_a_topic_materialized_and_the_rest_streamed(
    plan: Plan, states: OnlineStates, log: EventLog, redis_client: "Redis[bytes]"
) -> None:
    placed = some(40)
    as_log(log, placed[:20])
    assert materialize_all(plan, log, states).ahead == 0
    counts = Fold(plan, states, TOPIC).apply(sourced(placed))  # from the start: half of it is there
    assert counts.folded == 20
    assert contents(plan, states, placed) == expected(plan, redis_client, placed)


def test_streamed_first_and_materialized_over_it(
    plan: Plan, states: OnlineStates, log: EventLog, redis_client: "Redis[bytes]"
) -> None:
    placed = some(40)
    Fold(plan, states, TOPIC).apply(sourced(placed))
    as_log(log, placed)
    assert materialize_all(plan, log, states).ahead == 0
    assert contents(plan, states, placed) == expected(plan, redis_client, placed)
    assert Fold(plan, states, TOPIC).apply(sourced(placed)).folded == 0


@pytest.mark.parametrize("redis_client", ["one", "cluster"], indirect=True)
def test_history_and_stream_together(
    plan: Plan, states: OnlineStates, log: EventLog, redis_client: "Redis[bytes]"
) -> None:
    """Pairs that history knows are no firsts in the stream, and history's offsets are not the topic's."""
    history, placed = some(30), some(30, first=30)
    write_history(log, history)
    assert materialize_all(plan, log, states).ahead == 0
    fold = Fold(plan, states, TOPIC)
    fold.apply(sourced(placed[:15]))
    fold.apply(sourced(placed))
    assert contents(plan, states, placed) == expected(plan, redis_client, history, placed)
    as_log(log, placed)
    assert materialize_all(plan, log, states).ahead == 0
    assert contents(plan, states, placed) == expected(plan, redis_client, history, placed)
    assert fold.apply(sourced(placed)).folded == 0


@examples(3)
@given(
    history=streams(most=12),
    placed=streams(most=25),
    logged=st.integers(0, 25),
    before=st.integers(0, 25),
)
def test_materializing_at_any_moment_changes_no_answer(
    plan: Plan,
    redis_client: "Redis[bytes]",
    tmp_path_factory: pytest.TempPathFactory,
    history: list[Placed],
    placed: list[Placed],
    logged: int,
    before: int,
) -> None:
    """Stream `before` events, materialize a log that holds history and `logged`, stream all, log all, materialize."""
    history = [one._replace(event=replace(one.event, event_id=f"h{one.event.event_id}")) for one in history]
    log = EventLog(tmp_path_factory.mktemp("log"))
    states = OnlineStates(redis_client, "moments")
    states.clear()
    write_history(log, history)
    materialize_all(plan, log, states)
    Fold(plan, states, TOPIC).apply(sourced(placed[:before]))
    as_log(log, placed[: min(logged, before)])
    materialize_all(plan, log, states)
    Fold(plan, states, TOPIC).apply(sourced(placed))
    everything = [*history, *placed]
    assert contents(plan, states, everything) == expected(plan, redis_client, history, placed)
    as_log(log, placed)
    assert materialize_all(plan, log, states).ahead == 0
    assert contents(plan, states, everything) == expected(plan, redis_client, history, placed)


def test_a_state_ahead_of_the_log_is_left_to_the_stream(plan: Plan, states: OnlineStates, log: EventLog) -> None:
    placed = some(40, partitions=1)
    Fold(plan, states, TOPIC).apply(sourced(placed))
    as_log(log, placed[:37])  # the last three are in Redis, not yet in the log
    before = contents(plan, states, placed)
    counts = materialize_all(plan, log, states)
    assert counts.ahead > 0
    assert counts.written > 0
    assert contents(plan, states, placed) == before


def test_a_state_of_a_topic_that_the_log_does_not_know_is_left_alone(
    plan: Plan, states: OnlineStates, log: EventLog
) -> None:
    placed = some(10)
    Fold(plan, states, b"a younger topic!").apply(sourced(placed))
    as_log(log, some(20))
    before = contents(plan, states, placed)
    assert materialize_all(plan, log, states) == MaterializeCounts(written=0, ahead=len(before))
    assert contents(plan, states, placed) == before


def test_a_state_of_an_older_topic_of_the_log_is_replaced(
    plan: Plan, states: OnlineStates, log: EventLog, redis_client: "Redis[bytes]"
) -> None:
    old, new = some(20), some(10, first=20)
    old_topic = b"the older topic!"
    Fold(plan, states, old_topic).apply(sourced(old))
    as_log(log, old, old_topic)
    as_log(log, new)
    assert materialize_all(plan, log, states).ahead == 0
    assert contents(plan, states, new) == expected(plan, redis_client, old, new)
    assert {fence.topic for fence in fences(states, [U, EntityKey("product", ("p0",))])} == {TOPIC}


def test_a_worker_that_read_before_cannot_write_after(plan: Plan, redis_client: "Redis[bytes]", log: EventLog) -> None:
    """The rebuilt state has the same offsets as the old one; only the generation tells them apart."""
    history, placed = some(12), some(12, first=12)
    write_history(log, history)
    as_log(log, placed[:6])
    states = OnlineStates(redis_client)
    Fold(plan, states, TOPIC).apply(sourced(placed[:6]))  # history is not in it yet

    class Paused(OnlineStates):
        materialized = False

        def compare_and_set(self, writes):  # type: ignore[no-untyped-def]
            if not Paused.materialized:
                Paused.materialized = True
                materialize_all(plan, log, states)
            return super().compare_and_set(writes)

    counts = Fold(plan, Paused(redis_client), TOPIC).apply(sourced(placed[6:]))
    assert counts.conflicts > 0
    assert contents(plan, states, placed) == expected(plan, redis_client, history, placed)


def test_generations_rise(plan: Plan, states: OnlineStates, log: EventLog) -> None:
    as_log(log, some(6))
    for generation in (1, 2, 3):
        materialize_all(plan, log, states)
        assert fences(states, [U])[0].generation == generation


def test_the_newest_event_is_noted(plan: Plan, states: OnlineStates, log: EventLog) -> None:
    placed = some(6)
    as_log(log, placed)
    materialize_all(plan, log, states)
    assert states.newest_event() == max(one.event.timestamp_us for one in placed)
    states.note_event(5)
    assert states.newest_event() == max(one.event.timestamp_us for one in placed)


def test_an_empty_log_is_named(plan: Plan, states: OnlineStates, log: EventLog) -> None:
    with pytest.raises(DataError, match=r"nothing in .*encore generate"):
        materialize_all(plan, log, states)


def test_more_states_than_one_batch_are_written(plan: Plan, states: OnlineStates, log: EventLog) -> None:
    algebra = Algebra(plan.of("user"))

    def many() -> Iterator[Backfilled]:
        for number in range(4_500):
            yield Backfilled(EntityKey("user", (f"u{number}",)), algebra.encode(algebra.empty()), Fence(TOPIC), DAY_US)

    assert materialize(states, many(), plan.of("user"), log) == MaterializeCounts(4_500, 0)
    assert all(one.state for one in states.read([EntityKey("user", (f"u{number}",)) for number in range(4_500)]))
    assert states.clear() == 4_500
