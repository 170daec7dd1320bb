"""What the status says of workers that do not fold all that there is."""

import io
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from compiled import plan
from event_streams import Act, act, as_log, place
from log_rows import rows
from redis import Redis
from rich.console import Console

from data.log.event_log import EventLog
from data.project import PROJECT
from events.stream.heartbeat import Heartbeats, WorkerStatus
from features.entities import ENTITIES
from features.plan.plan import Plan
from features.state.editions.editions import Editions
from features.state.editions.standing import Standing
from features.state.online.states import OnlineStates
from features.state.states import EntityKey
from server.cli.view import status_view
from server.jobs.status import Observer, Status
from server.process.server_process import free_port
from server.process.store import Store
from server.settings import Settings


def looked(store: Store | None, home: Path | None = None) -> Status:
    """A look at a system that is a store alone, or nothing."""
    nowhere = free_port()
    settings = Settings(
        redis_port=store.port if store else nowhere,
        kafka_servers=f"127.0.0.1:{nowhere}",
        api_port=nowhere,
        home=home or Path("a home that is not there"),
    )
    with closing(Observer(settings, kafka_wait_s=0.1)) as observer:
        return observer.look()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"lost": 1_200}, "worker-1 found 1,200 messages dropped by Kafka's retention"),
        ({"stood_s": 900.0}, "worker-1 is stalled: 3 messages wait, and it has folded none for 900 s"),
        (
            {"lag": {}, "waiting": "Redis has forgotten", "stood_s": 900.0},
            "worker-1 is stalled: it has folded none for 900 s;",
        ),
        ({}, ""),
    ],
)
def test_a_worker_in_trouble_is_a_problem(
    store: Store, redis_client: "Redis[bytes]", said: dict[str, object], told: str
) -> None:
    beat = {
        "worker": "worker-1",
        "at_us": 1,
        "started_us": 1,
        "received": 10,
        "folded": 9,
        "rate": 1.5,
        "dead_letters": {},
        "conflicts": 0,
        "lag": {0: 3},
        "ends": {0: 12},
        "newest_event_us": 1,
    }
    Heartbeats(redis_client, PROJECT).beat(msgspec.convert(beat | said, WorkerStatus))
    problems = [problem for problem in looked(store).problems if problem.startswith("stream: ")]
    assert [problem.removeprefix("stream: ")[: len(told)] for problem in problems] == ([told] if told else [])


@pytest.mark.parametrize("value", [b"x", b"\xff", b"{}", b"[" * 5_000, b'{"at_us":1e30}', None])
def test_bad_keys_end_no_look(store: Store, redis_client: "Redis[bytes]", value: bytes | None) -> None:
    """All of them are of this value, or (None) of another type."""
    keys = (
        *("audit", "worker:w", "workers", "newest_event", "editions", "rollout", "inventory", "aside", "last_beats"),
        *("materialized", "folded", "lives", "aside:turn"),
    )
    for key in keys:
        if value is None:
            redis_client.rpush(f"{PROJECT}:{key}", b"x")
        else:
            redis_client.set(f"{PROJECT}:{key}", value)
    seen = looked(store)
    assert (seen.workers, seen.newest_event_us, seen.audit) == ([], None, None)
    Console(file=io.StringIO()).print(status_view(seen))


@pytest.mark.parametrize("value", [b"x", b"\xff", b"{}", None])
def test_a_bad_key_is_named_and_nobody_else_is_blamed(
    store: Store, redis_client: "Redis[bytes]", plan: Plan, value: bytes | None
) -> None:
    """Of whose the states are, of the plan that they are made by, and of which answer."""
    Editions(redis_client, PROJECT).begin(plan)
    for key, named in (("home", "home"), (f"plan:{plan.hash}", f"plan {plan.hash}"), ("editions", "editions")):
        name, kept = f"{PROJECT}:{key}", redis_client.dump(f"{PROJECT}:{key}")
        if value is None:
            redis_client.delete(name)
            redis_client.rpush(name, b"x")
        else:
            redis_client.set(name, value)
        problems = [one for one in looked(store).problems if "Kafka" not in one and "API" not in one]
        assert any("Redis: " in one and named in one for one in problems), problems
        assert not any("refuses" in one for one in problems), problems
        assert any("no worker is running" in one for one in problems) == (key != "home"), problems
        redis_client.delete(name)
        if kept is not None:
            redis_client.restore(name, 0, kept)


def test_an_audit_that_tells_no_difference_is_shown(store: Store, redis_client: "Redis[bytes]") -> None:
    audit = {"at_us": 1, "entities": 1, "values": 1, "differing": 1, "differences": []}
    redis_client.set(f"{PROJECT}:audit", msgspec.json.encode(audit))
    shown = io.StringIO()
    Console(file=shown, width=200).print(status_view(looked(store)))
    assert "1 differ" in shown.getvalue()


def test_a_store_that_has_forgotten_is_a_problem(store: Store, redis_client: "Redis[bytes]", tmp_path: Path) -> None:
    assert not [one for one in looked(store, tmp_path).problems if one.startswith("store: ")], "of a new home"
    log = EventLog(tmp_path / "log")
    as_log(log, place([act(Act("view", "u", "p", 0), "e")]))
    (problem,) = [one for one in looked(store, tmp_path).problems if one.startswith("store: ")]
    every = ", ".join(entity.name for entity in ENTITIES)
    assert problem.startswith(f"store: Redis has forgotten the {every} states")
    assert "`encore rebuild`" in problem
    assert "`encore materialize`" not in problem


def test_states_that_were_never_made_are_not_only_called_forgotten(store: Store, tmp_path: Path) -> None:
    EventLog(tmp_path / "log").write_history("history", [rows(range(3)).drop_columns(["offset"])])
    (problem,) = [one for one in looked(store, tmp_path).problems if one.startswith("store: ")]
    assert "never made, run `encore materialize`" in problem


def test_states_that_are_set_aside_are_named(store: Store, redis_client: "Redis[bytes]") -> None:
    OnlineStates(redis_client).aside.add([EntityKey("user", (f"u{number}",)) for number in range(5)])
    problems = [one for one in looked(store).problems if one.startswith("store: ")]
    assert problems[1] == "store: set aside are user u0, user u1, user u2 and 2 more"


def test_a_rollout_that_is_not_finished_is_told(redis_client: "Redis[bytes]", tmp_path: Path) -> None:
    port = redis_client.connection_pool.connection_kwargs["port"]
    settings = Settings(home=tmp_path, redis_port=port, kafka_servers=f"127.0.0.1:{free_port()}", api_port=free_port())
    editions = Editions(redis_client, PROJECT)
    before = editions.begin(plan())
    observer = Observer(settings, kafka_wait_s=0.01)
    try:
        assert not [line for line in observer.look().problems if line.startswith("states: ")]
        editions.move(before, Standing(editions.new(plan()), before.live, "switched"))
        assert [line for line in observer.look().problems if "`encore rollout finish` deletes them" in line]
    finally:
        observer.close()


def test_without_redis_nobody_knows_whether_workers_run(store: Store, redis_client: "Redis[bytes]") -> None:
    told = "stream: no worker is running; start one with `encore stream`"
    assert told in looked(store).problems
    away = looked(None).problems
    assert (away[0].startswith("Redis: "), told in away) == (True, False)
