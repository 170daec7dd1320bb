"""A worker folds into two editions of the states, whenever it comes, dies, sleeps or hands over: both have every event.

log      ──────────────┬──────────────────────────────────
other                  └ built ── followed ── live ──
worker   fold ── keep ─── dies ── another ─── begins again
"""

import random
from itertools import islice
from pathlib import Path

import pytest
from edition_stream import RUN, EditionStream
from editions import SEEN, differing
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from redis import Redis
from thorough import examples

from data.log.event_log import EventLog
from events.stream.session import Session
from features.batch.edition import catch_up
from features.entities import USER
from features.plan.plan import Plan
from features.state.editions.behind import lacking
from features.state.editions.editions import Opened
from features.state.editions.kept import Kept
from features.state.states import EntityKey


@pytest.fixture
def stream(plan: Plan, redis_client: "Redis[bytes]", tmp_path: Path) -> EditionStream:
    return EditionStream(plan, redis_client, EventLog(tmp_path / "log"))


def fed(stream: EditionStream) -> Session:
    """A worker that has folded and logged some events."""
    session = stream.begin()
    stream.send(40)
    stream.finish(session)
    return session


@pytest.mark.long
def test_another_edition_is_followed_and_goes_live(stream: EditionStream) -> None:
    session = fed(stream)
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
def test_states_that_both_editions_keep_alike_are_copied_and_no_others(stream: EditionStream) -> None:
    session = fed(stream)
    stream.move("building")
    kept = Kept.of(stream.live, stream.other, stream.event_log)
    assert kept is not None
    assert kept.least.keys() == {entity.entity for entity in stream.plan.entities} - {USER.name}
    stream.send(10)  # folded into the live edition before it is copied, and after its mark
    session.turn(RUN)
    copied = kept.copy_to(stream.other, lambda _: None)
    assert copied == {entity: stream.live.states.counts()[entity] for entity in kept.least}
    assert stream.other.states.counts() == copied | {USER.name: 0}
    assert stream.other.states.newest_event() == stream.live.states.newest_event()
    stream.move("following")
    stream.finish(session)
    assert differing(stream.other, stream.event_log) == []
    session.__exit__()


@pytest.mark.long
def test_what_could_differ_is_not_copied(stream: EditionStream, redis_client: "Redis[bytes]") -> None:
    session = fed(stream)
    stream.move("building")
    live, other = stream.live, stream.other

    def kept(live: Opened = live, other: Opened = other) -> frozenset[str]:
        kept = Kept.of(live, other, stream.event_log)
        return frozenset() if kept is None else frozenset(kept.least)

    assert "product" in kept()
    schema = replace(other.plan.schema, labels=(*other.plan.schema.labels, "colour"))
    assert kept(other=other._replace(plan=replace(other.plan, schema=schema))) == set(), "other events"
    other.states.inventory.let_live({"product": 1_000})
    assert "product" not in kept(), "they leave sooner"
    assert kept(live=live._replace(marks=other.marks)) == set(), "who knows what they lack"
    aside = EntityKey("category", ("c",))
    live.states.aside.add([aside])
    all_kept = Kept.of(live, other, stream.event_log)
    assert all_kept is not None
    all_kept.copy_to(other, lambda _: None)
    assert set(other.states.aside.look()) == {aside}
    redis_client.hdel(f"{live.states.project}:inventory", "user")
    assert kept() == set(), "who knows which are missing"
    session.__exit__()


@pytest.mark.long
def test_a_kind_that_has_lost_states_is_made_from_the_log(stream: EditionStream, redis_client: "Redis[bytes]") -> None:
    session = fed(stream)
    [lost] = islice(stream.live.states.redis_keys("product"), 1)
    redis_client.delete(lost)
    stream.move("building")
    kept = Kept.of(stream.live, stream.other, stream.event_log)
    assert kept is not None
    assert kept.copy_to(stream.other, lambda _: None).keys() == kept.least.keys() - {"product"}
    stream.move("following")
    stream.finish(session)
    assert differing(stream.other, stream.event_log) == []
    session.__exit__()


@pytest.mark.long
def test_what_the_store_lost_of_copied_states_is_folded_from_the_log(
    stream: EditionStream, redis_client: "Redis[bytes]"
) -> None:
    session = fed(stream)
    a_second_ago = {key: redis_client.dump(key) for key in redis_client.keys("*")}
    stream.send(20)
    stream.finish(session)
    redis_client.flushdb()
    for key, dumped in a_second_ago.items():
        redis_client.restore(key, 0, dumped or b"")
    assert differing(stream.live, stream.event_log) != []
    stream.move("building")
    assert Kept.of(stream.live, stream.other, stream.event_log) is not None
    stream.move("following")
    catch_up(stream.other, stream.event_log)
    assert differing(stream.other, stream.event_log) == []
    session.__exit__()


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
