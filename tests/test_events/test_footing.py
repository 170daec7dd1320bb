"""What a worker does where the states that it has folded into are gone, made anew, or of other definitions.

    worker    fold, log ── fold ──────── (asleep: its heartbeats are long forgotten) ──── goes on
    rebuild                        make all states anew from the log

What it has folded and not logged is in no state then, and its next event's fence would say that it is.
"""

import threading
from pathlib import Path

import msgspec
import pytest
from event_streams import shop
from polling import poll_until
from redis import Redis
from stream_system import System
from twin_system import GROUP, TwinSystem

from data.errors import ForgottenError, RemadeError
from data.log.event_log import EventLog
from events.kafka.memory import MemoryConsumer
from events.stream.heartbeat import Heartbeats
from events.stream.session import Session
from features.batch.engine import DuckDBEngine
from features.batch.materializer import materialize
from features.entities import ENTITIES, USER
from features.plan.plan import Plan
from features.state.algebra import Algebra
from features.state.redis import OnlineStates, redis_key
from features.state.states import EntityKey

RUN = threading.Event()  # never set


class Stream(TwinSystem):
    """A session by hand over a topic in memory, states in Redis and a log on disk."""

    def __init__(self, plan: Plan, client: "Redis[bytes]", log: EventLog) -> None:
        super().__init__(plan)
        self.client = client
        self.online = OnlineStates(client)
        self.states = self.online  # type: ignore[assignment]
        self.log = self.event_log = log
        self.told: list[str] = []

    def begin(self, member: MemoryConsumer | None = None) -> Session:
        """A worker that logs when it is told to."""
        guarded = OnlineStates(self.client, guarded=True)
        session = self.session(guarded, member, waits=lambda error: self.told.append(str(error)), flush_s=3600.0)
        session.__enter__()
        return session

    def await_folded(self, session: Session, events: int) -> None:
        """Turn until so many events are in the states, each once."""

        def turned() -> bool:
            assert session.turn(RUN)
            return self.folded() >= events

        poll_until(turned, 30, every_s=0)
        assert self.folded() == events

    def folded(self) -> int:
        """Events in the users' states."""
        users = [self.values("user", f"ü{n}") for n in range(10)]
        return sum(int(u["user_view_count"]) + int(u["user_purchase_count"]) for u in users)  # type: ignore[call-overload]

    def make_anew(self) -> None:
        """All states from the log, as `encore rebuild` makes them."""
        self.online.inventory.turn_over()
        generation = self.online.new_generation()
        with DuckDBEngine(self.event_log, threads=1) as engine:
            for entity in ENTITIES:
                plan = self.plan.of(entity.name)
                materialize(self.online, engine.states(plan), plan, self.event_log, generation=generation)
        self.online.delete_before(generation)
        self.online.inventory.vouch(self.online.counts())


@pytest.fixture
def stream(plan: Plan, redis_client: "Redis[bytes]", tmp_path: Path) -> Stream:
    return Stream(plan, redis_client, EventLog(tmp_path / "log"))


@pytest.mark.parametrize("wakes", ["folds", "logs", "stops", "hands over", "is expelled"])
def test_one_that_slept_through_a_rebuild_folds_again_what_was_not_logged(stream: Stream, wakes: str) -> None:
    member = MemoryConsumer(stream.topic, GROUP)
    session = stream.begin(member)
    stream.produce(shop(20))
    stream.await_folded(session, 20)
    session.keep(RUN)
    stream.produce(shop(20, first=20))
    stream.await_folded(session, 40)
    stream.make_anew()
    assert stream.folded() == 20
    match wakes:
        case "folds":
            stream.produce(shop(1, first=40))
        case "logs":
            session.keep(RUN)
        case "stops":
            session.__exit__()
            session = stream.begin()
        case "hands over":
            session.revoked(session.reading)
            session.assigned(frozenset(range(4)))
        case _:
            stream.topic.expel(member)
    assert stream.committed() == 20, "what is not in the states is not committed"
    stream.await_folded(session, 41 if wakes == "folds" else 40)
    session.keep(RUN)
    session.__exit__()
    assert stream.committed() == (41 if wakes == "folds" else 40)
    assert len(stream.logged()) == stream.committed()
    stream.make_anew()
    assert stream.folded() == stream.committed()


def test_a_rebuild_between_reading_and_writing_is_found_out(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    session = stream.begin()
    stream.produce(shop(20))
    stream.await_folded(session, 20)
    session.keep(RUN)
    stream.produce(shop(10, first=20))
    stream.await_folded(session, 30)
    write = OnlineStates.compare_and_set

    def late(states, writes):  # type: ignore[no-untyped-def]
        monkeypatch.setattr(OnlineStates, "compare_and_set", write)
        stream.make_anew()
        return write(states, writes)

    monkeypatch.setattr(OnlineStates, "compare_and_set", late)
    stream.produce(shop(10, first=30))
    stream.await_folded(session, 40)
    session.__exit__()


def test_states_of_other_definitions_are_waited_for(plan: Plan, stream: Stream) -> None:
    """It stands still and says what to do, and goes on when that is done."""
    session = stream.begin()
    stream.produce(shop(20))
    stream.await_folded(session, 20)
    session.keep(RUN)
    key = EntityKey("user", ("ü1",))
    entity = plan.of(USER.name)
    algebra = Algebra(msgspec.structs.replace(entity, slots=entity.slots[:-1]))
    fields = {"s": algebra.encode(algebra.empty()), "t": b"", "u": b""}
    stream.client.hset(redis_key(key), mapping=fields)
    stream.produce(shop(20, first=20))
    poll_until(lambda: session.turn(RUN) and bool(stream.told), 30, every_s=0)
    assert "written under other definitions" in stream.told[0]
    assert "encore rebuild" in stream.told[0]
    session.__exit__()
    session = stream.begin()  # and so does the next one
    stream.told.clear()
    poll_until(lambda: session.turn(RUN) and bool(stream.told), 30, every_s=0)
    assert stream.committed() == 20
    stream.make_anew()
    stream.await_folded(session, 40)
    session.__exit__()
    assert stream.committed() == 40


def test_states_that_were_forgotten_are_waited_for(stream: Stream) -> None:
    session = stream.begin()
    stream.produce(shop(20))
    stream.await_folded(session, 20)
    session.keep(RUN)
    stream.produce(shop(20, first=20))
    stream.await_folded(session, 40)
    stream.client.flushall()
    session.keep(RUN)
    assert stream.committed() == 20, "what is not in the states is not committed"
    poll_until(lambda: session.turn(RUN) and bool(stream.told), 30, every_s=0)
    assert "has forgotten" in stream.told[0]
    stream.make_anew()
    assert stream.folded() == 40, "it was logged all the same"
    stream.produce(shop(5, first=40))
    stream.await_folded(session, 45)
    session.__exit__()


def test_the_log_is_made_whole_for_whoever_makes_the_states(stream: Stream) -> None:
    session = stream.begin()
    stream.produce(shop(20))
    stream.await_folded(session, 20)
    session.keep(RUN)
    session.__exit__()
    stream.client.flushall()
    files = stream.event_log.files()
    assert len(files) > 1
    files[-1].path.unlink()
    session = stream.begin()
    poll_until(lambda: session.turn(RUN) and bool(stream.told), 30, every_s=0)
    poll_until(lambda: not stream.event_log.holes(), 30)
    stream.make_anew()
    assert stream.folded() == 20
    session.__exit__()


def test_an_edition_is_seen_first_and_then_required(redis_client: "Redis[bytes]") -> None:
    inventory, other = (OnlineStates(redis_client, guarded=True).inventory for _ in range(2))
    with pytest.raises(ForgottenError):
        inventory.require_edition()
    inventory.begin(done=False)
    inventory.require_edition()
    other.turn_over()
    for _ in range(2):
        with pytest.raises(RemadeError, match="made anew"):
            inventory.require_edition()
    inventory.forget_edition()
    inventory.require_edition()
    assert not inventory.is_turned_over()


def test_a_worker_that_comes_while_states_are_made_anew_folds_nothing(
    plan: Plan, kafka_servers: str, topic: str, redis_client: "Redis[bytes]", tmp_path: Path
) -> None:
    system = System(plan, kafka_servers, topic, redis_client, EventLog(tmp_path / "log"))
    heartbeats = Heartbeats(redis_client, "encore")
    assert heartbeats.ask_pause("rebuild")
    system.produce(shop(20))
    with system.running():
        poll_until(lambda: [beat.paused for beat in heartbeats.all()] == ["rebuild"], 30)
        heartbeats.keep_pause()
        assert sum(system.states.counts().values()) == 0
        heartbeats.end_pause()
        poll_until(lambda: system.states.counts()["user"] == 10, 30)
