"""A worker folds into two editions of the states, whenever it comes, dies, sleeps or hands over: both have every event.

log      ──────────────┬──────────────────────────────────
other                  └ built ── followed ── live ──
worker   fold ── keep ─── dies ── another ─── begins again
"""

import random
from pathlib import Path

import pytest
from edition_stream import RUN, EditionStream
from editions import SEEN, differing
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from thorough import examples

from data.log.event_log import EventLog
from features.batch.edition import catch_up, lacking
from features.plan.plan import Plan


@pytest.fixture
def stream(plan: Plan, redis_client: "Redis[bytes]", tmp_path: Path) -> EditionStream:
    return EditionStream(plan, redis_client, EventLog(tmp_path / "log"))


@pytest.mark.long
def test_another_edition_is_followed_and_goes_live(stream: EditionStream) -> None:
    session = stream.begin()
    stream.send(40)
    stream.finish(session)
    stream.move("building")
    stream.send(10)
    stream.finish(session)
    stream.move("following")
    stream.send(10)
    stream.finish(session)
    assert differing(stream.other, stream.event_log) == []
    stream.move("switched")
    stream.send(10)
    stream.finish(session)
    assert differing(stream.live, stream.event_log) == []
    assert differing(stream.other, stream.event_log) == [], "so that one can go back"
    session.__exit__()
    assert any(feature.name == SEEN for feature in stream.live.plan.features)


@pytest.mark.long
@given(seed=st.integers(0, 2**32))
@examples(4)
def test_whatever_happens_to_workers_editions_have_every_event_once(
    plan: Plan, redis_client: "Redis[bytes]", tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    redis_client.flushall()
    stream = EditionStream(plan, redis_client, EventLog(tmp_path_factory.mktemp("log")))
    draw = random.Random(seed)
    stages = ["building", "following", "switched", "switched"]
    session = stream.begin()
    stream.send(20)
    stream.finish(session)  # a log to build from
    for _ in range(25):
        match draw.choice(["send", "turn", "turn", "turn", "keep", "kill", "stop", "sleep", "stage", "log"]):
            case "send":
                stream.send(draw.randrange(1, 20))
            case "turn":
                session.turn(RUN)
            case "keep":
                session.keep(RUN)
            case "kill":
                stream.kill(session)
                session = stream.begin()
            case "stop":
                session.__exit__()
                session = stream.begin()
            case "sleep":  # another takes over, and this one comes back with what it held
                stream.topic.expel(session._member)  # type: ignore[arg-type]  # noqa: SLF001 - as above
                other = stream.begin()
                other.turn(RUN)
                session.turn(RUN)
                session.__exit__()
                session = other
            case "stage" if stages:
                stage = stages.pop(0)
                if stage != "switched" or session.editions[1]:
                    stream.move(stage)
                else:
                    stages.insert(0, stage)
            case "log" if stream.standing.stage == "following":
                catch_up(stream.other, stream.event_log)
                assert lacking(stream.other, stream.event_log) == {}
    stream.finish(session)
    session.__exit__()
    for edition in [stream.live] + ([stream.other] if stream.standing.followed else []):
        assert differing(edition, stream.event_log) == []
