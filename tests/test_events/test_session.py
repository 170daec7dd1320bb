"""A worker's session over a topic, states and a log in memory: everything in once, whatever fails or stops."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from event_streams import START_US, Act, act, shop
from hypothesis import given
from hypothesis import strategies as st
from log_rows import folder_of
from polling import poll_until
from states_between import StatesBetween, put_back
from thorough import examples
from twin_system import GROUP, TwinSystem

from data.errors import FailedOverError, NotReplicatedError, OvertakenError, UnavailableError
from data.event import Event, encode_event
from data.log.event_log import EventLog
from data.log.memory import MemoryLog
from data.log.segments import Segment
from data.log.sources import topic_source
from data.units import DAY_US, HOUR_US
from events.kafka.connection import Message
from events.kafka.memory import MemoryConsumer, MemoryTopic
from events.stream.session import Session
from features.entities import ENTITIES
from features.plan.plan import Plan
from features.state.states import EntityKey, Stored


@pytest.fixture
def system(plan: Plan) -> TwinSystem:
    return TwinSystem(plan)


def counts(system: TwinSystem) -> list[int]:
    """Events per user of the shop."""
    users = [system.values("user", f"ü{n}") for n in range(10)]
    return [int(u["user_view_count"]) + int(u["user_purchase_count"]) for u in users]  # type: ignore[call-overload]


class FullLog(MemoryLog):
    """A log on a disk that is full until told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = True
        self.refused = threading.Event()

    def append(self, *asked: object) -> Segment:
        if self.is_full:
            self.refused.set()
            raise OSError(28, "No space left on device")
        return super().append(*asked)  # type: ignore[arg-type]


def test_events_are_folded_logged_and_committed(system: TwinSystem) -> None:
    system.produce(shop(60))
    system.topic.send(b"u", b"no event")
    with system.running():
        poll_until(lambda: system.committed() == 61)
    assert sorted(system.logged()) == sorted(event.event_id for event in shop(60))
    assert counts(system) == [6] * 10
    assert system.states.newest_event() == shop(60)[-1].timestamp_us
    [(message, rejection)] = system.topic.letters.kept
    assert (message.value, rejection.kind) == (b"no event", "malformed")


@pytest.mark.integration
def test_nothing_is_committed_before_it_is_logged(system: TwinSystem) -> None:
    system.log = log = FullLog()
    system.produce(shop(10))
    with system.running():
        assert log.refused.wait(30)
        assert system.committed() == 0
        system.produce(shop(20)[10:])
        poll_until(lambda: sum(counts(system)) == 20)  # states stay fresh meanwhile
        assert system.committed() == 0
        log.is_full = False
        poll_until(lambda: system.committed() == 20)
        assert len(system.logged()) == 20


def test_states_that_are_away_are_waited_for(system: TwinSystem) -> None:
    away, tried = [True], threading.Event()

    def read(_: Sequence[EntityKey]) -> None:
        if away:
            tried.set()
            raise UnavailableError("Redis: away")

    system.produce(shop(10))
    with system.running(StatesBetween(system.states, read=read)):
        assert tried.wait(30)
        away.clear()
        system.await_logged(10)
    assert system.values("user", "ü1")["user_view_count"] == 1


def test_stopped_while_states_are_away_loses_nothing(system: TwinSystem) -> None:
    tried = threading.Event()

    def read(_: Sequence[EntityKey]) -> None:
        tried.set()
        raise UnavailableError("Redis: gone")

    system.produce(shop(10))
    with system.running(StatesBetween(system.states, read=read)):
        assert tried.wait(30)
    assert system.committed() == 0
    assert system.logged() == []
    with system.running():
        system.await_logged(10)
    assert system.values("user", "ü1")["user_view_count"] == 1


def test_a_broker_that_is_away_is_waited_for(system: TwinSystem) -> None:
    system.produce(shop(10))
    with system.running():
        poll_until(lambda: system.committed() == 10)
        system.topic.is_away = True
        system.produce(shop(20)[10:])
        assert system.committed() == 10
        system.topic.is_away = False
        poll_until(lambda: system.committed() == 20)
    assert counts(system) == [2] * 10


@pytest.mark.integration
def test_a_worker_that_dies_before_it_logs_is_followed_by_another(system: TwinSystem) -> None:
    """It has folded everything and logged nothing: the next one logs all and folds nothing twice."""
    system.log = log = FullLog()
    system.produce(shop(40))
    with system.running(flush_s=3600.0):  # it tries to log when it stops
        poll_until(lambda: sum(counts(system)) == 40)
    assert log.refused.is_set()
    assert system.committed() == 0
    assert system.logged() == []
    log.is_full = False
    with system.running():
        poll_until(lambda: system.committed() == 40)
    assert counts(system) == [4] * 10
    assert len(system.logged()) == 40


class Noted(MemoryConsumer):
    """Notes how much it brings, and when it commits."""

    def __init__(self, topic: MemoryTopic, group: str) -> None:
        super().__init__(topic, group)
        self.done: list[int | str] = []

    def poll(self, timeout_s: float, most: int) -> list[Message]:
        found = super().poll(timeout_s, most)
        self.done += [len(found)] if found else []
        return found

    def commit_soon(self, offsets: Mapping[int, int], note: str) -> None:
        super().commit_soon(offsets, note)
        self.done.append("commit")


@pytest.mark.integration
def test_of_new_partitions_little_is_read_before_it_is_committed(system: TwinSystem) -> None:
    """Workers that die one after another come forward all the same."""
    system.produce(shop(1_200))
    member = Noted(system.topic, GROUP)
    with system.running(member=member, flush_s=1.0):
        poll_until(lambda: sum(counts(system)) == 1_200)
    first = member.done.index("commit")
    assert 0 < sum(int(read) for read in member.done[:first]) <= 500, member.done
    assert sum(int(read) for read in member.done if read != "commit") == 1_200


class Doubtful:
    """Replicas that confirm once they are told to."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.asked = threading.Event()
        self.begun = 0
        self.is_needed = True

    def begin(self) -> None:
        self.begun += 1

    def confirm(self) -> None:
        self.asked.set()
        if self.error is not None:
            raise self.error


@pytest.mark.integration
def test_nothing_is_committed_before_replicas_have_it(system: TwinSystem) -> None:
    system.replication = replicas = Doubtful(NotReplicatedError("Redis: 0 of 1 replicas", node="a", wanted=1))
    system.produce(shop(20))
    with system.running():
        assert replicas.asked.wait(30)
        poll_until(lambda: sum(counts(system)) == 20)
        assert system.committed() == 0
        replicas.error = None
        poll_until(lambda: system.committed() == 20)
    assert counts(system) == [2] * 10


@pytest.mark.integration
def test_after_a_failover_what_was_not_committed_is_folded_again(system: TwinSystem) -> None:
    """The states that the replica did not have are gone; those of before are not doubled."""
    system.replication = replicas = Doubtful(None)
    system.produce(shop(20))
    keys = [EntityKey("user", (f"ü{n}",)) for n in range(10)] + [EntityKey("product", (f"p{n}",)) for n in range(3)]
    keys += [EntityKey("user_product", (f"p{product}", f"ü{user}")) for product in range(3) for user in range(10)]
    with system.running():
        poll_until(lambda: system.committed() == 20)
        kept: dict[EntityKey, Stored] = dict(zip(keys, system.states.read(keys), strict=True))
        # The next events are folded, and forgotten again before anyone confirms them.
        forgotten = threading.Event()

        def confirm() -> None:
            if not forgotten.is_set():
                put_back(system.states, kept, system.topic.topic.id)
                forgotten.set()
                raise FailedOverError("Redis: a primary was replaced", nodes=("a",))

        poll_until(replicas.asked.is_set)
        replicas.confirm = confirm  # type: ignore[method-assign]
        system.produce(shop(20, first=20))
        assert forgotten.wait(30)
        poll_until(lambda: system.committed() == 40)
    assert replicas.begun == 2
    assert counts(system) == [4] * 10
    assert len(system.logged()) == 40


def test_what_nobody_read_is_noted_as_lost_and_the_log_stays_whole(system: TwinSystem) -> None:
    for number in range(30):
        system.produce([act(Act("view", "u", f"p{number}", number * HOUR_US), f"e{number}")])
    [partition] = [number for number in range(4) if system.topic.watermarks(number)[1]]
    system.topic.drop_before(partition, 20)
    with system.running():
        poll_until(lambda: system.committed() == 30)
    assert system.logged() == [f"e{number}" for number in range(20, 30)]
    assert system.log.holes() == []
    assert system.values("user", "u")["user_view_count"] == 10


@pytest.mark.integration
def test_a_topic_made_anew_ends_the_session_and_begins_anew(system: TwinSystem) -> None:
    """The new topic's offsets are those of the old one: events at them count all the same, each once."""
    system.produce(shop(20))
    old = system.topic.topic.id
    with system.running(flush_s=3600.0, check_s=0.05):
        poll_until(lambda: sum(counts(system)) == 20)
        system.topic.make_anew()
        system.produce(shop(20, first=20))
        poll_until(lambda: len(system.logged()) == 20)
    with system.running():
        poll_until(lambda: sum(counts(system)) == 40)
    assert system.log.sources() == [topic_source(old), topic_source(system.topic.topic.id)]
    assert sorted(system.logged()) == sorted(event.event_id for event in shop(40))


@pytest.mark.long
@pytest.mark.integration
def test_small_files_are_joined_and_lost_ones_read_again_beside_it(system: TwinSystem, tmp_path: Path) -> None:
    system.log = log = EventLog(tmp_path / "log")
    with system.running(tidy_s=0.1):
        for number in range(20):
            system.produce([act(Act("view", "u", "p", number * HOUR_US), f"e{number}")])
            system.await_logged(number + 1)
        poll_until(lambda: len(log.files()) < 16)
    for file in folder_of(log).rglob("*.parquet"):
        file.unlink()
    with system.running():
        poll_until(lambda: not log.holes() and len(system.logged()) == 20)
    assert sorted(system.logged()) == sorted(f"e{number}" for number in range(20))
    assert system.values("user", "u")["user_view_count"] == 20


def send(system: TwinSystem, event: Event, at_us: int) -> None:
    system.topic.send(event.user_id.encode(), encode_event(event), at_us=at_us)


@pytest.mark.integration
def test_what_is_sent_again_is_in_the_log_and_the_states_once(system: TwinSystem) -> None:
    system.produce([*shop(20), *shop(20), *shop(10)])
    with system.running():
        poll_until(lambda: system.committed() == 50)
    with system.running():  # another worker, which knows nothing but states and log
        system.produce(shop(25))
        poll_until(lambda: system.committed() == 75)
    assert sorted(system.logged()) == sorted(event.event_id for event in shop(25))
    assert sum(counts(system)) == 25


def test_of_a_backlog_of_many_days_nothing_is_forgotten_that_may_be_read_again(system: TwinSystem) -> None:
    """A user comes every other day, and sends all twice; whoever reads it dies before his last commit."""
    events = [act(Act("view", "u", "p", day * DAY_US), f"e{day}") for day in range(0, 40, 2)]
    for number, event in enumerate(events):
        for later_us in (0, HOUR_US):
            send(system, event, START_US + number * 2 * DAY_US + later_us)
    never = threading.Event()
    member = Prompt(system.topic, GROUP)
    session = system.session(member=member, flush_s=1e6)
    with session:
        for _ in range(10):
            assert session.turn(never)
        assert 30 < system.committed() < 40
        system.topic.expel(member)
        session.lost(session.reading)
    with system.running():
        poll_until(lambda: system.committed() == 40)
    assert system.logged() == [event.event_id for event in events]
    assert system.values("user", "u")["user_view_count"] == len(events)


@pytest.mark.integration
def test_a_hole_of_the_log_is_filled_without_what_was_sent_again(system: TwinSystem, tmp_path: Path) -> None:
    system.log = log = EventLog(tmp_path / "log")
    events = [act(Act("view", "u", "p", number * HOUR_US), f"e{number}") for number in range(9)]
    for number, some in enumerate((events[:3], [*events[2:6], *events[:6]], events[5:])):
        with system.running():
            system.produce(some)
            poll_until(lambda number=number: system.committed() == (3, 13, 17)[number])  # type: ignore[misc]
    files = log.files()
    assert len(files) == 3
    files[1].path.unlink()
    with system.running():
        poll_until(lambda: not log.holes() and len(system.logged()) == 9)
    assert system.logged() == [event.event_id for event in events]


@pytest.mark.integration
def test_offsets_that_are_set_back_by_hand_count_once(system: TwinSystem) -> None:
    """States have forgotten what it was; the log has not."""
    for number in range(5):
        event = act(Act("view", "u", "p", number * 2 * DAY_US), f"e{number}")
        send(system, event, START_US + number * 2 * DAY_US)
        send(system, event, START_US + number * 2 * DAY_US)
    with system.running():
        poll_until(lambda: system.committed() == 10)
    group = system.topic.group(GROUP)
    group.committed = {number: (0, note) for number, (_, note) in group.committed.items()}
    system.produce([act(Act("view", "u", "p", 10 * DAY_US), "last")])
    with system.running():
        poll_until(lambda: system.committed() == 11)
    assert system.logged() == [*(f"e{number}" for number in range(5)), "last"]
    assert system.values("user", "u")["user_view_count"] == 6


def test_where_log_and_commits_are_lost_it_stands_still_and_says_the_way_out(system: TwinSystem) -> None:
    for number in range(3):
        send(system, act(Act("view", "u", "p", 0), f"e{number}"), START_US + number * 2 * DAY_US)
    with system.running():
        poll_until(lambda: system.committed() == 3)
    system.log, system.topic.group(GROUP).committed = MemoryLog(), {}
    heard: list[Exception] = []
    with system.session(member=Prompt(system.topic, GROUP), waits=heard.append) as session:
        for _ in range(10):
            assert session.turn(threading.Event())
    assert isinstance(heard[0], OvertakenError)
    assert "encore rebuild" in str(heard[0])
    assert system.logged() == []


class Prompt(MemoryConsumer):
    """Waits for no message."""

    def poll(self, timeout_s: float, most: int) -> list[Message]:
        return super().poll(0, most)


@pytest.mark.integration
@examples(25)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("produce"), st.integers(1, 6)),
            st.tuples(st.just("again"), st.integers(1, 6)),
            st.tuples(st.just("turn"), st.integers(0, 1)),
            st.tuples(st.just("turn"), st.integers(0, 1)),
            st.tuples(st.just("die"), st.integers(0, 1)),
            st.tuples(st.just("stop"), st.integers(0, 1)),
            st.tuples(st.just("expel"), st.integers(0, 1)),
            st.tuples(st.just("grow"), st.integers(4, 6)),
        ),
        max_size=25,
    )
)
def test_whoever_dies_stops_or_is_expelled_every_event_is_in_once(plan: Plan, steps: list[tuple[str, int]]) -> None:
    """Two workers at most, turn by turn; in the end one reads the rest. Against what one worker makes of all of it.

    Some events are sent again, while partitions are as many as they were: a user's events must stay in one.
    """
    system, alone = TwinSystem(plan), TwinSystem(plan)
    never = threading.Event()
    workers: list[tuple[Session, Prompt] | None] = [None, None]
    events: list[Event] = []
    sent = 0
    grown = False

    def leave(place: int, *, dies: bool) -> None:
        worker, workers[place] = workers[place], None
        if worker is not None:
            session, member = worker
            if dies:  # with nothing of it logged or committed
                system.topic.expel(member)
                session.lost(session.reading)
            session.__exit__()

    for what, number in steps:
        match what:
            case "produce":
                new = shop(number, first=len(events))
                system.produce(new)
                events += new
                sent += number
            case "again":
                repeats = [] if grown else events[-number:]
                system.produce(repeats)
                sent += len(repeats)
            case "grow":
                system.topic.add_partitions(number)
                grown = True
            case "turn":
                worker = workers[number]
                if worker is None:
                    member = Prompt(system.topic, GROUP)
                    worker = workers[number] = system.session(member=member), member
                    worker[0].__enter__()
                assert worker[0].turn(never)
            case "expel":
                if (expelled := workers[number]) is not None:
                    system.topic.expel(expelled[1])
            case _:
                leave(number, dies=what == "die")
    for place in range(2):
        leave(place, dies=False)
    alone.produce(events)
    for one in (system, alone):
        with one.session(member=Prompt(one.topic, GROUP)) as session:
            for _ in range(100):
                assert session.turn(never)
                if one.committed() == (sent if one is system else len(events)):
                    break
        assert sorted(one.logged()) == sorted(event.event_id for event in events)
    for entity in ENTITIES:
        for key in {tuple(getattr(event, key) for key in entity.join_keys) for event in events}:
            assert system.values(entity.name, *key) == alone.values(entity.name, *key)
