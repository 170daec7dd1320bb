"""States merged from partials are those of the whole log, byte for byte, whatever came, went or was cut meanwhile."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from bucket_double import ObjectStore
from event_streams import START_US, TOPIC, Act, Placed, act, place, streams
from hypothesis import given
from hypothesis import strategies as st
from more_definitions import define_more
from thorough import examples

from data.errors import DataError, LogHoleError
from data.event import Event
from data.log.event_log import EventLog
from data.log.event_table import EVENT_COLUMNS, PlacedEvent, placed_table
from data.log.person import Person
from data.log.sources import topic_source
from data.units import DAY_US, HOUR_US, MICROS
from features.batch.backfill import Backfilled
from features.batch.engine import DuckDBEngine
from features.partials.making import Made, make_partials, write_partials
from features.partials.merging import Merged
from features.partials.partials import Partials
from features.plan.compiler import compile_features
from features.plan.entity_set import entity_set
from features.plan.plan import Plan
from features.state.states import EntityKey

pytestmark = pytest.mark.integration  # it takes many seconds

EARLIER = b"topic-before-it1"
MEMORY = "1GB"


@pytest.fixture(autouse=True)
def _small_files_have_partials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("features.partials.partials.FEWEST", 4)


@pytest.fixture(scope="session")
def more() -> Plan:
    """The definitions and some more, so that every kind of aggregate is tried."""
    return compile_features(define_more(entity_set()))


@pytest.fixture(params=["folder", "bucket"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> EventLog:
    if request.param == "folder":
        return EventLog(tmp_path / "log")
    return EventLog(ObjectStore(tmp_path).bucket(tmp_path / "copies"))


def append(
    log: EventLog, placed: Sequence[Placed], topic: bytes, *, rows: int = 7, late_s: Callable[[int], int] = lambda _: 0
) -> None:
    """Append events as a worker does, some to a file; they arrive a quarter of an hour apart, less what is late."""
    for partition in sorted({one.partition for one in placed}):
        mine = [one for one in placed if one.partition == partition]
        for start in range(0, len(mine), rows):
            some = [
                PlacedEvent(one.offset, one.event, START_US + 900 * MICROS * one.offset - late_s(one.offset) * MICROS)
                for one in mine[start : start + rows]
            ]
            offsets = range(some[0].offset, some[-1].offset + 1)
            log.append(topic_source(topic), partition, offsets, placed_table(some))


def history(log: EventLog, events: Sequence[Event], name: str = "shop") -> None:
    table = placed_table([PlacedEvent(number, event) for number, event in enumerate(events)])
    log.write_history(name, [table.select(EVENT_COLUMNS.names)])


def some_events(number: int, first: int = 0) -> list[Event]:
    """Events of five users and three products, of all types, every fifth of them ten days late."""
    kinds = ("view", "add_to_cart", "purchase", "return", "view")
    made = []
    for n in range(first, first + number):
        at = 11 * DAY_US + n * 5 * HOUR_US - (10 * DAY_US if n % 5 == 0 else 0)
        one = act(Act(kinds[n * 7 % 5], f"u{n % 5}", f"p{n * n % 3}", at, n / 4), f"e{n}")
        made.append(msgspec.structs.replace(one, category=("toys", "a", None)[n % 3]))
    return made


def whole(log: EventLog, plan: Plan) -> dict[EntityKey, Backfilled]:
    with DuckDBEngine(log, memory=MEMORY, threads=1) as engine:
        return {one.key: one for entity in plan.entities for one in engine.states(entity)}


def merged(log: EventLog, plan: Plan) -> tuple[dict[EntityKey, Backfilled], int]:
    with Merged(Partials(log), plan, memory=MEMORY) as found:
        states = [one for entity in plan.entities for one in found.states(entity)]
        assert len({one.key for one in states}) == len(states)
        counts = found.entities()
    assert counts == {entity.entity: sum(one.key.entity == entity.entity for one in states) for entity in plan.entities}
    return {one.key: one for one in states}, found.read


def make(log: EventLog, plan: Plan) -> Made:
    return make_partials(Partials(log), plan)


def require_equal(log: EventLog, plan: Plan) -> int:
    """Return how many offsets were read of the log."""
    expected = whole(log, plan)
    states, read = merged(log, plan)
    assert states.keys() == expected.keys()
    for key, one in expected.items():
        assert states[key] == one, key
    return read


@pytest.mark.long
@examples(4)
@given(
    before=streams(most=20),
    earlier=streams(most=20),
    newest=streams(most=40),
    rows=st.integers(2, 12),
    cut=st.integers(0, 40),
    late_s=st.sampled_from([0, 3_000, 9_000, 100_000]),
)
def test_states_from_partials_and_tail_are_those_of_the_log(
    more: Plan,
    tmp_path_factory: pytest.TempPathFactory,
    before: list[Placed],
    earlier: list[Placed],
    newest: list[Placed],
    rows: int,
    cut: int,
    late_s: int,
) -> None:
    """With a history, a topic that was made anew, late and disordered events, and partials of a part of them."""
    log = EventLog(tmp_path_factory.mktemp("log"))

    def late(offset: int) -> int:
        return late_s if offset % 3 == 1 else 0

    history(log, [one.event for one in before])
    append(log, earlier, EARLIER, rows=rows, late_s=late)
    append(log, [one for one in newest if one.offset < cut], TOPIC, rows=rows, late_s=late)
    make(log, more)
    append(log, [one for one in newest if one.offset >= cut], TOPIC, rows=rows, late_s=late)
    require_equal(log, more)
    make(log, more)
    require_equal(log, more)


def test_what_was_seen_is_of_the_log_where_arrivals_are_in_disorder(plan: Plan, tmp_path: Path) -> None:
    """An event that arrives a day before the one before it may bring back what a part has forgotten."""
    log = EventLog(tmp_path / "log")
    placed = place(some_events(60), partitions=1)
    append(log, placed, TOPIC, late_s=lambda offset: 90_000 if offset in {20, 41} else 0)
    make(log, plan)
    require_equal(log, plan)


@pytest.mark.long
def test_a_day_costs_a_day_and_what_is_replaced_is_made_again(log: EventLog, plan: Plan) -> None:
    """On a folder and on an object store: new events, joined files, a person who is forgotten, another history."""
    kinds, partials = len(plan.entities), Partials(log)
    history(log, some_events(30))
    placed = place(some_events(150, 30))
    append(log, placed[:100], TOPIC)
    files = large(log)
    assert not partials.are_used()
    assert make(log, plan) == Made(kinds * files, 0)
    assert partials.are_used()
    assert require_equal(log, plan) <= 6, "the last file of each partition may be small"
    append(log, placed[100:], TOPIC)
    assert make(log, plan) == Made(kinds * (large(log) - files), 0)
    assert make(log, plan) == Made(0, 0)
    assert require_equal(log, plan) <= 12

    one = Person("user_id", "u1")
    assert log.remove(one).rows > 0
    assert partials.delete_stale() == 0, "somebody may be about to read them"
    assert partials.delete_stale(grace_s=-1) > 0
    assert one.value not in kept_keys(log, plan)
    assert require_equal(log, plan) > 0
    assert make(log, plan).made > 0
    assert require_equal(log, plan) <= 12

    history(log, some_events(30, 500))  # as many rows, of other events
    assert require_equal(log, plan) >= 30
    make(log, plan)
    require_equal(log, plan)
    assert log.drop_before(START_US + 20 * DAY_US).files > 0
    require_equal(log, plan)


@pytest.mark.long
def test_joined_files_have_partials_of_their_own(tmp_path: Path, plan: Plan) -> None:
    log = EventLog(tmp_path / "log")
    append(log, place(some_events(80), partitions=1), TOPIC, rows=4)
    make(log, plan)
    assert log.compact(topic_source(TOPIC)).made > 0
    require_equal(log, plan)
    made, deleted = make(log, plan)
    assert (made > 0, deleted) == (True, 0)
    assert Partials(log).delete_stale(plan, grace_s=-1) > 0
    assert require_equal(log, plan) == 0


def test_other_definitions_have_other_partials(tmp_path: Path, plan: Plan, more: Plan) -> None:
    log = EventLog(tmp_path / "log")
    append(log, place(some_events(40)), TOPIC)
    assert make(log, plan).made == make(log, more).made
    partials = Partials(log)
    assert partials.listed(plan).missing == partials.listed(more).missing == []
    assert partials.delete_stale(plan, grace_s=-1) > 0
    assert partials.listed(plan).missing == []
    assert len(partials.listed(more).missing) > 0


@pytest.mark.long
def test_who_is_killed_leaves_whole_ones_and_one_makes_them(
    tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(tmp_path / "log")
    append(log, place(some_events(60)), TOPIC)
    count = iter(range(100))

    def dies(*arguments: Any) -> None:
        write_partials(*arguments)
        if next(count) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("features.partials.making.write_partials", dies)
        with pytest.raises(KeyboardInterrupt):
            make(log, plan)
    left = Partials(log).listed(plan)
    assert len(left.kept) == 2 * len(plan.entities)
    assert make(log, plan).made == len(left.missing)
    require_equal(log, plan)
    with Partials(log).one_maker(), pytest.raises(BlockingIOError), Partials(log).one_maker():
        pass


@pytest.mark.long
def test_a_damaged_partial_is_made_again(tmp_path: Path, plan: Plan) -> None:
    log = EventLog(tmp_path / "log")
    append(log, place(some_events(60)), TOPIC)
    make(log, plan)
    partials = Partials(log)
    paths = [partials.path(one) for one in partials.listed(plan).kept[:3]]
    for path, cut in zip(paths, (0, 40, 300), strict=True):
        content = bytearray(path.read_bytes())
        content[cut : cut + 8] = bytes(byte ^ 255 for byte in content[cut : cut + 8])
        path.write_bytes(content if cut else content[:50])
    assert require_equal(log, plan) > 0
    assert [path.exists() for path in paths] == [False] * 3


def test_a_log_with_a_hole_is_refused_and_an_empty_one(tmp_path: Path, plan: Plan) -> None:
    log = EventLog(tmp_path / "log")
    with pytest.raises(DataError, match="nothing in"), Merged(Partials(log), plan):
        pass
    append(log, [one for one in place(some_events(60), partitions=1) if not 14 <= one.offset < 21], TOPIC)
    with pytest.raises(LogHoleError), Merged(Partials(log), plan):
        pass
    with pytest.raises(LogHoleError):
        make(log, plan)


def large(log: EventLog) -> int:
    """How many files have partials of their own."""
    return sum(file.segment.stop - file.start >= 4 for file in log.listing())


def kept_keys(log: EventLog, plan: Plan) -> set[str]:
    """Every value of a key in the partials that there are."""
    partials = Partials(log)
    return {
        value
        for one in partials.listed(plan).kept
        for place in range(len(one.plan.join_keys))
        for value in pq.read_table(partials.path(one), columns=[f"key_{place}"]).column(0).to_pylist()
    }
