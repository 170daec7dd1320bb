"""What a worker does where the states that it has folded into are gone, made anew, or of other definitions.

    worker    fold, log ── fold ──────── (asleep: its heartbeats are long forgotten) ──── goes on
    rebuild                        make all states anew from the log

What it has folded and not logged is in no state then, and its next event's fence would say that it is.
"""

from pathlib import Path

import msgspec
import pytest
from edition_stream import RUN, EditionStream
from polling import poll_until
from redis import Redis
from twin_system import GROUP

from data.log.event_log import EventLog
from events.kafka.memory import MemoryConsumer
from features.entities import USER
from features.plan.plan import Plan
from features.state.algebra import Algebra
from features.state.online.keys import redis_key
from features.state.online.states import OnlineStates
from features.state.states import EntityKey


@pytest.fixture
def stream(plan: Plan, redis_client: "Redis[bytes]", tmp_path: Path) -> EditionStream:
    return EditionStream(plan, redis_client, EventLog(tmp_path / "log"))


@pytest.mark.long
@pytest.mark.parametrize("wakes", ["folds", "logs", "stops", "hands over", "is expelled"])
def test_one_that_slept_through_a_rebuild_folds_again_what_was_not_logged(stream: EditionStream, wakes: str) -> None:
    member = MemoryConsumer(stream.topic, GROUP)
    session = stream.begin(member)
    stream.send(20)
    stream.await_folded(session, 20)
    session.keep(RUN)
    stream.send(20)
    stream.await_folded(session, 40)
    stream.rebuild()
    assert stream.folded() == 20
    match wakes:
        case "folds":
            stream.send(1)
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
    assert stream.committed() == 20, "what is in no state is not committed"
    stream.await_folded(session, 41 if wakes == "folds" else 40)
    session.keep(RUN)
    session.__exit__()
    assert stream.committed() == (41 if wakes == "folds" else 40)
    assert len(stream.logged()) == stream.committed()
    stream.rebuild()
    assert stream.folded() == stream.committed()


@pytest.mark.long
def test_a_rebuild_between_reading_and_writing_is_found_out(
    stream: EditionStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = stream.begin()
    stream.send(20)
    stream.await_folded(session, 20)
    session.keep(RUN)
    stream.send(10)
    stream.await_folded(session, 30)
    write = OnlineStates.compare_and_set

    def late(states, writes):  # type: ignore[no-untyped-def]
        monkeypatch.setattr(OnlineStates, "compare_and_set", write)
        stream.rebuild()
        return write(states, writes)

    monkeypatch.setattr(OnlineStates, "compare_and_set", late)
    stream.send(10)
    stream.await_folded(session, 40)
    session.__exit__()


@pytest.mark.long
def test_states_of_other_definitions_are_waited_for(plan: Plan, stream: EditionStream) -> None:
    """It stands still and says what to do, and goes on when that is done."""
    session = stream.begin()
    stream.send(20)
    stream.await_folded(session, 20)
    session.keep(RUN)
    entity = plan.of(USER.name)
    algebra = Algebra(msgspec.structs.replace(entity, slots=entity.slots[:-1]))
    fields = {"s": algebra.encode(algebra.empty()), "t": b"", "u": b""}
    stream.client.hset(redis_key(EntityKey("user", ("ü1",))), mapping=fields)
    stream.send(20)
    poll_until(lambda: session.turn(RUN) and bool(stream.told), 30, every_s=0)
    assert "written under other definitions" in stream.told[0]
    assert "encore rebuild" in stream.told[0]
    session.__exit__()
    session = stream.begin()  # and so does the next one
    stream.told.clear()
    poll_until(lambda: session.turn(RUN) and bool(stream.told), 30, every_s=0)
    assert stream.committed() == 20
    stream.rebuild()
    stream.await_folded(session, 40)
    session.__exit__()
    assert stream.committed() == 40


@pytest.mark.long
def test_states_that_were_forgotten_are_waited_for(stream: EditionStream) -> None:
    session = stream.begin()
    stream.send(20)
    stream.await_folded(session, 20)
    session.keep(RUN)
    stream.send(20)
    stream.await_folded(session, 40)
    stream.client.flushall()
    session.keep(RUN)
    assert stream.committed() == 20, "what is not in the states is not committed"
    poll_until(lambda: session.turn(RUN) and bool(stream.told), 30, every_s=0)
    assert "has forgotten" in stream.told[0]
    stream.editions.begin(stream.plan)
    stream.rebuild()
    assert stream.folded() == 40, "it was logged all the same"
    stream.send(5)
    stream.await_folded(session, 45)
    session.__exit__()


@pytest.mark.long
def test_the_log_is_made_whole_for_whoever_makes_the_states(stream: EditionStream) -> None:
    session = stream.begin()
    stream.send(20)
    stream.await_folded(session, 20)
    session.keep(RUN)
    session.__exit__()
    files = stream.event_log.files()
    assert len(files) > 1
    files[-1].path.unlink()
    OnlineStates(stream.client).clear()
    session = stream.begin()
    poll_until(lambda: session.turn(RUN) and bool(stream.told), 30, every_s=0)
    poll_until(lambda: not stream.event_log.holes())
    stream.rebuild()
    assert stream.folded() == 20
    session.__exit__()
