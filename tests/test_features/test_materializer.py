"""History and stream meet at the fence: nothing lost, nothing counted twice, whichever comes first.

log        |== history ==|== topic 0 .. k ==|
Redis      |---- materialized, fence at k --|
stream                              |-- again --|-- k+1 .. --|
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest
from event_streams import TOPIC, Act, Placed, act, as_log, place, sourced, streams
from facts import fact_of
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from states_between import StatesBetween, Writes
from stores import EVERY_STORE
from thorough import examples

from data.errors import DataError, LogHoleError
from data.log.event_log import EventLog
from data.log.event_table import EVENT_COLUMNS
from data.log.sources import topic_source
from data.units import DAY_US, HOUR_US
from features.batch.backfill import Backfilled
from features.batch.engine import DuckDBEngine
from features.batch.materializer import MaterializeCounts, materialize, require_partitions
from features.entities import ENTITIES
from features.plan.plan import Plan
from features.state.algebra import Algebra, State
from features.state.fence import Fence
from features.state.fold import Fold
from features.state.memory import MemoryStates
from features.state.states import EntityKey, States

pytestmark = pytest.mark.integration  # it takes many seconds

U = EntityKey("user", ("u",))


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


def materialize_all(plan: Plan, log: EventLog, states: States) -> MaterializeCounts:
    written = ahead = 0
    with DuckDBEngine(log, threads=1) as engine:
        for entity in ENTITIES:
            counts = materialize(states, engine.states(plan.of(entity.name)), plan.of(entity.name), log)
            written, ahead = written + counts.written, ahead + counts.ahead
    return MaterializeCounts(written, ahead)


def contents(plan: Plan, states: States, placed: Sequence[Placed]) -> dict[EntityKey, State]:
    """The states of all entities, but for offsets of firsts and what was seen, which only fences of one topic share."""
    found = {}
    for entity in ENTITIES:
        algebra = Algebra(plan.of(entity.name))
        named = {tuple(getattr(one.event, key) for key in entity.join_keys) for one in placed}
        keys = [EntityKey(entity.name, ids) for ids in named if all(ids)]
        for key, stored in zip(keys, states.read(keys), strict=True):
            if stored.state:
                found[key] = algebra.decode(stored.state)
                found[key].firsts, found[key].seen = [], {}
    return found


def expected(plan: Plan, *parts: Sequence[Placed]) -> dict[EntityKey, State]:
    """Each part folded once, as a topic of its own."""
    states = MemoryStates()
    for number, part in enumerate(parts):
        Fold(plan, states, bytes([number]) * 16).apply(sourced(part))
    return contents(plan, states, [one for part in parts for one in part])


def fences(states: States, keys: Sequence[EntityKey]) -> list[Fence]:
    return [Fence.decode(stored.fence) for stored in states.read(keys)]


def test_half_a_topic_materialized_and_the_rest_streamed(plan: Plan, states: States, log: EventLog) -> None:
    placed = some(40)
    as_log(log, placed[:20])
    assert materialize_all(plan, log, states).ahead == 0
    counts = Fold(plan, states, TOPIC).apply(sourced(placed))  # from the start: half of it is there
    assert counts.folded == 20
    assert contents(plan, states, placed) == expected(plan, placed)


def test_streamed_first_and_materialized_over_it(plan: Plan, states: States, log: EventLog) -> None:
    placed = some(40)
    Fold(plan, states, TOPIC).apply(sourced(placed))
    as_log(log, placed)
    assert materialize_all(plan, log, states).ahead == 0
    assert contents(plan, states, placed) == expected(plan, placed)
    assert Fold(plan, states, TOPIC).apply(sourced(placed)).folded == 0


@pytest.mark.long
@EVERY_STORE
def test_history_and_stream_together(plan: Plan, states: States, log: EventLog) -> None:
    """Pairs that history knows are no firsts in the stream, and history's offsets are not the topic's."""
    history, placed = some(30), some(30, first=30)
    write_history(log, history)
    assert materialize_all(plan, log, states).ahead == 0
    fold = Fold(plan, states, TOPIC)
    fold.apply(sourced(placed[:15]))
    fold.apply(sourced(placed))
    assert contents(plan, states, placed) == expected(plan, history, placed)
    as_log(log, placed)
    assert materialize_all(plan, log, states).ahead == 0
    assert contents(plan, states, placed) == expected(plan, history, placed)
    assert fold.apply(sourced(placed)).folded == 0


@pytest.mark.long
@examples(3)
@given(
    history=streams(most=12),
    placed=streams(most=25),
    logged=st.integers(0, 25),
    before=st.integers(0, 25),
)
def test_materializing_at_any_moment_changes_no_answer(
    plan: Plan,
    states: States,
    tmp_path_factory: pytest.TempPathFactory,
    history: list[Placed],
    placed: list[Placed],
    logged: int,
    before: int,
) -> None:
    """Stream `before` events, materialize a log that holds history and `logged`, stream all, log all, materialize."""
    history = [one._replace(event=replace(one.event, event_id=f"h{one.event.event_id}")) for one in history]
    log = EventLog(tmp_path_factory.mktemp("log"))
    states.clear()
    write_history(log, history)
    materialize_all(plan, log, states)
    Fold(plan, states, TOPIC).apply(sourced(placed[:before]))
    as_log(log, placed[: min(logged, before)])
    with suppress(DataError):  # where the log has nothing of a partition yet
        materialize_all(plan, log, states)
    Fold(plan, states, TOPIC).apply(sourced(placed))
    everything = [*history, *placed]
    assert contents(plan, states, everything) == expected(plan, history, placed)
    as_log(log, placed)
    assert materialize_all(plan, log, states).ahead == 0
    assert contents(plan, states, everything) == expected(plan, history, placed)


def test_a_state_ahead_of_the_log_is_left_to_the_stream(plan: Plan, states: States, log: EventLog) -> None:
    placed = some(40, partitions=1)
    Fold(plan, states, TOPIC).apply(sourced(placed))
    as_log(log, placed[:37])  # the last three are in Redis, not yet in the log
    before = contents(plan, states, placed)
    counts = materialize_all(plan, log, states)
    assert counts.ahead > 0
    assert counts.written > 0
    assert contents(plan, states, placed) == before


def test_a_state_of_a_topic_that_the_log_does_not_know_is_left_alone(plan: Plan, states: States, log: EventLog) -> None:
    placed = some(10)
    Fold(plan, states, b"a younger topic!").apply(sourced(placed))
    as_log(log, some(20))
    before = contents(plan, states, placed)
    assert materialize_all(plan, log, states) == MaterializeCounts(written=0, ahead=len(before))
    assert contents(plan, states, placed) == before


def test_a_state_of_an_older_topic_of_the_log_is_replaced(plan: Plan, states: States, log: EventLog) -> None:
    old, new = some(20), some(10, first=20)
    old_topic = b"the older topic!"
    Fold(plan, states, old_topic).apply(sourced(old))
    as_log(log, old, old_topic)
    as_log(log, new)
    assert materialize_all(plan, log, states).ahead == 0
    assert contents(plan, states, new) == expected(plan, old, new)
    assert {fence.topic for fence in fences(states, [U, EntityKey("product", ("p0",))])} == {TOPIC}


@EVERY_STORE
def test_a_worker_that_read_before_cannot_write_after(plan: Plan, states: States, log: EventLog) -> None:
    """The rebuilt state has the same offsets as the old one; only the generation tells them apart."""
    history, placed = some(12), some(12, first=12)
    write_history(log, history)
    as_log(log, placed[:6])
    Fold(plan, states, TOPIC).apply(sourced(placed[:6]))  # history is not in it yet
    pauses = [lambda: materialize_all(plan, log, states)]

    def write(_: Writes) -> None:
        if pauses:
            pauses.pop()()

    counts = Fold(plan, StatesBetween(states, write=write), TOPIC).apply(sourced(placed[6:]))
    assert counts.conflicts > 0
    assert contents(plan, states, placed) == expected(plan, history, placed)


@pytest.mark.long
def test_generations_rise(plan: Plan, states: States, log: EventLog) -> None:
    as_log(log, some(6))
    for generation in (1, 2, 3):
        materialize_all(plan, log, states)
        assert fences(states, [U])[0].generation == generation


def test_the_newest_event_is_noted(plan: Plan, states: States, log: EventLog) -> None:
    placed = some(6)
    as_log(log, placed)
    materialize_all(plan, log, states)
    assert states.newest_event() == max(one.event.timestamp_us for one in placed)
    states.note_event(5)
    assert states.newest_event() == max(one.event.timestamp_us for one in placed)


def test_an_empty_log_is_named(plan: Plan, states: States, log: EventLog) -> None:
    with pytest.raises(DataError, match=r"nothing in .*encore generate"):
        materialize_all(plan, log, states)


def test_more_states_than_one_batch_are_written(plan: Plan, states: States, log: EventLog) -> None:
    algebra = Algebra(plan.of("user"))

    def many() -> Iterator[Backfilled]:
        for number in range(4_500):
            yield Backfilled(EntityKey("user", (f"u{number}",)), algebra.encode(algebra.empty()), Fence(TOPIC), DAY_US)

    assert materialize(states, many(), plan.of("user"), log) == MaterializeCounts(4_500, 0)
    assert all(one.state for one in states.read([EntityKey("user", (f"u{number}",)) for number in range(4_500)]))
    assert states.clear() == 4_500


def of_partition(placed: Sequence[Placed], number: int) -> list[Placed]:
    return [one for one in placed if one.partition == number]


def lose_the_middle(log: EventLog) -> None:
    """Remove a file of the topic's first partition that is neither its first nor its last."""
    files = [file for file in log.files(topic_source(TOPIC)) if file.segment.partition == 0]
    assert len(files) > 2
    files[len(files) // 2].path.unlink()


def test_a_log_that_lost_a_file_lowers_no_state(plan: Plan, states: States, log: EventLog) -> None:
    """
    log     |=====|.....|=====|     the fence of a state is no further than the log's end
    state   |-----------------|
    """
    placed = some(60)
    as_log(log, placed)
    Fold(plan, states, TOPIC).apply(sourced(placed))
    before = contents(plan, states, placed)
    lose_the_middle(log)
    with pytest.raises(LogHoleError):
        materialize_all(plan, log, states)
    (hole,) = log.holes()
    log.mark_lost(*hole)
    with pytest.raises(DataError, match=r"in Redis, and \d+ by the event log .* no state was lowered.*encore rebuild"):
        materialize_all(plan, log, states)
    assert contents(plan, states, placed) == before
    require_partitions(states, log)
    states.clear()  # what `encore rebuild` does
    assert materialize_all(plan, log, states).ahead == 0
    assert 0 < _views(contents(plan, states, placed)) < _views(before)


VIEWS = 2
"""The slot that counts views."""


def _views(found: dict[EntityKey, State]) -> int:
    return sum(state.slots[VIEWS] for state in found.values())


@pytest.mark.long
def test_a_home_with_half_of_the_partitions_leaves_the_rest_and_says_so(
    plan: Plan, states: States, log: EventLog, tmp_path: Path
) -> None:
    """Two homes share a Redis and the partitions of a topic, each with a log of its own."""
    placed = some(60, partitions=3)  # of which 0 and 2 have events
    Fold(plan, states, TOPIC).apply(sourced(placed))
    as_log(log, of_partition(placed, 0))
    other = as_log(EventLog(tmp_path / "other"), of_partition(placed, 2))
    before = contents(plan, states, placed)
    last = max(one.offset for one in of_partition(placed, 2))
    for check in (lambda: materialize_all(plan, log, states), lambda: require_partitions(states, log)):
        with pytest.raises(DataError, match=rf"partition 2 \(up to offset {last}\), .* a worker of another home"):
            check()
        with pytest.raises(DataError, match=r"partition 0 \(up"):
            require_partitions(states, other)
        assert contents(plan, states, placed) == before
    as_log(log, placed)  # the worker's own first file came
    require_partitions(states, log)
    assert materialize_all(plan, log, states).ahead == 0
    assert contents(plan, states, placed) == before


@pytest.mark.long
@pytest.mark.parametrize("streamed", [0, 10])
def test_another_history_lowers_no_state(
    plan: Plan, states: States, log: EventLog, tmp_path: Path, streamed: int
) -> None:
    history, placed = some(40), some(streamed, first=40)
    write_history(log, history)
    as_log(log, placed)
    materialize_all(plan, log, states)
    before = contents(plan, states, history)
    other = EventLog(tmp_path / "other")
    write_history(other, history[:25])
    as_log(other, placed)
    with pytest.raises(DataError, match="lacks events that were counted"):
        materialize_all(plan, other, states)
    assert contents(plan, states, history) == before
    longer = EventLog(tmp_path / "longer")
    write_history(longer, some(50))
    as_log(longer, placed)
    assert materialize_all(plan, longer, states).ahead == 0


@pytest.mark.long
@examples(5)
@given(placed=streams(most=25), kept=st.sets(st.integers(0, 24)))
def test_no_log_of_some_of_the_events_lowers_a_state(
    plan: Plan,
    states: States,
    tmp_path_factory: pytest.TempPathFactory,
    placed: list[Placed],
    kept: set[int],
) -> None:
    """Whatever is missing from a log: it is refused, or each state stays or is made anew with all its events."""
    log = EventLog(tmp_path_factory.mktemp("log"))
    states.clear()
    Fold(plan, states, TOPIC).apply(sourced(placed))
    as_log(log, [one for number, one in enumerate(placed) if number in kept] or placed[-1:])
    before = contents(plan, states, placed)
    with suppress(DataError):
        materialize_all(plan, log, states)
    assert contents(plan, states, placed) == before


def test_a_refusal_comes_before_its_batch_is_written(plan: Plan, states: States, log: EventLog) -> None:
    algebra = Algebra(plan.of("user"))
    (empty, full) = (algebra.empty(), algebra.empty())
    algebra.update(full, fact_of(some(1)[0].event))
    keys = [EntityKey("user", (f"u{number}",)) for number in range(2_100)]
    last = [(keys[-1], (states.read(keys[-1:])[0], algebra.encode(full), Fence(TOPIC)))]
    assert states.compare_and_set(dict(last)) == []
    rebuilt = [Backfilled(key, algebra.encode(empty), Fence(TOPIC), DAY_US) for key in keys]
    with pytest.raises(DataError, match=r"^user u2099: count of view is 1 in Redis, and 0 by"):
        materialize(states, rebuilt, plan.of("user"), log)
    assert [bool(one.state) for one in states.read([keys[0], keys[2_050], keys[-1]])] == [True, False, True]


@pytest.mark.parametrize("stored", [b"no state at all", b"\x02\x00\x00\x00\x00\x90"])
def test_a_state_that_cannot_be_read_is_made_anew(plan: Plan, states: States, log: EventLog, stored: bytes) -> None:
    as_log(log, some(10))
    assert states.compare_and_set({U: (states.read([U])[0], stored, Fence())}) == []
    materialize_all(plan, log, states)
    Algebra(plan.of("user")).decode(states.read([U])[0].state)
