"""All of Redis is lost while a worker runs: states are made anew from the log beside it, and nothing is missing.

worker   fold, log ──x── (Redis is empty) ── stand still ──────────── go on
rebuild                                          └─ fold the log ──┘
"""

from pathlib import Path

import pytest
from event_streams import TOPIC, Act, act, as_log, place, shop, sourced
from polling import poll_until
from redis import Redis
from serving import make_home
from stream_system import System

from data.errors import DataError, EncoreError, UnavailableError
from data.log.event_log import EventLog
from data.units import HOUR_US
from events.stream.heartbeat import Heartbeats, WorkerStatus
from events.stream.pause import paused_workers
from features.batch.engine import DuckDBEngine
from features.batch.materializer import materialize
from features.entities import ENTITIES
from features.plan.plan import Plan
from features.state.fold import Fold
from features.state.redis import OnlineStates, redis_key
from features.state.states import EntityKey
from server.jobs.build import materialize as fold_log
from server.jobs.build import rebuild
from server.process.store import Store
from server.settings import Settings, read_settings


@pytest.fixture
def system(plan: Plan, kafka_servers: str, topic: str, redis_client: "Redis[bytes]", tmp_path: Path) -> System:
    return System(plan, kafka_servers, topic, redis_client, EventLog(tmp_path / "log"))


def purchases(system: System) -> int:
    return sum(int(system.values("product", f"p{n}")["product_purchase_count"]) for n in range(3))  # type: ignore[call-overload]


def test_states_are_made_anew_beside_a_worker_that_runs(system: System) -> None:
    system.produce(shop(60))
    with system.running(flush_s=3600.0):  # what is folded is not in the log yet
        poll_until(lambda: purchases(system) == 30, 40)
        system.client.flushall()
        system.produce(shop(20, first=60))
        poll_until(lambda: purchases(system) == 10, 40)  # of what came after the loss
        with paused_workers(system.heartbeats) as paused:
            assert paused == 1
            assert system.logged().num_rows == 80
            system.produce(shop(20, first=80))
            system.states.clear()
            with DuckDBEngine(system.log, threads=1) as engine:
                for entity in ENTITIES:
                    entity_plan = system.plan.of(entity.name)
                    materialize(system.states, engine.states(entity_plan), entity_plan, system.log)
            assert purchases(system) == 40
        poll_until(lambda: purchases(system) == 50, 40)
    assert system.logged().num_rows == 100
    assert system.values("product", "p1")["product_distinct_buyers"] == 5


def test_one_rebuild_at_a_time(redis_client: "Redis[bytes]") -> None:
    heartbeats = Heartbeats(redis_client, "encore")
    with paused_workers(heartbeats) as paused:
        assert paused == 0
        assert heartbeats.asked_pause()
        with pytest.raises(UnavailableError, match="another rebuild"), paused_workers(heartbeats):
            pass
    assert not heartbeats.asked_pause()


def test_a_worker_that_does_not_stand_still_is_named(redis_client: "Redis[bytes]") -> None:
    heartbeats = Heartbeats(redis_client, "encore")
    heartbeats.beat(WorkerStatus("busy", 1, 1, 0, 0, 0.0, {}, 0, {}, {}, None))
    with (
        pytest.raises(UnavailableError, match=r"do not stand still \(busy\)"),
        paused_workers(heartbeats, patience_s=0.2),
    ):
        pass
    assert not heartbeats.asked_pause(), "the others go on"


@pytest.mark.parametrize("wrong", ["hole", "damaged", "half"])
def test_a_log_that_is_not_whole_costs_no_state(
    plan: Plan, store: Store, redis_client: "Redis[bytes]", tmp_path: Path, wrong: str
) -> None:
    placed = place((act(Act("view", f"u{n % 5}", "p", n * HOUR_US), f"e{n}") for n in range(60)), 2)
    states = OnlineStates(redis_client)
    Fold(plan, states, TOPIC).apply(sourced(placed))
    log = EventLog(tmp_path / "log")
    as_log(log, [one for one in placed if wrong != "half" or one.partition == 0])
    path = log.files()[2].path
    if wrong == "hole":
        path.unlink()
    elif wrong == "damaged":
        path.write_bytes(path.read_bytes()[:-10])
    before = states.counts()
    said = {"hole": "event log: .* lacks", "damaged": "cannot be read", "half": "partition 1"}[wrong]
    with pytest.raises(DataError, match=said):
        rebuild(Settings(home=tmp_path, redis_port=store.port), lambda _: None)
    assert states.counts() == before


@pytest.fixture
def made(tmp_path: Path, store: Store, redis_client: "Redis[bytes]") -> Settings:
    """A home with states of three users and a product in Redis, and settings that name both."""
    home = make_home(tmp_path / "home")
    as_log(EventLog(home / "log"), place([act(Act("view", f"u{n % 3}", "p", n * HOUR_US), f"e{n}") for n in range(12)]))
    settings = read_settings(home=home, redis_port=store.port, clock="events")
    fold_log(settings, lambda _: None)
    return settings


def contents(client: "Redis[bytes]") -> dict[bytes, dict[bytes, bytes]]:
    """The states as they are stored."""
    return {key: client.hgetall(key) for key in client.scan_iter(match=r"*encore", _type="hash")}


def bodies(client: "Redis[bytes]") -> dict[bytes, list[bytes | None]]:
    """The same without fences, whose generations a rebuild moves."""
    return {key: [fields.get(b"s"), fields.get(b"t")] for key, fields in contents(client).items()}


def test_a_rebuild_leaves_what_the_log_says_and_nothing_else(made: Settings, redis_client: "Redis[bytes]") -> None:
    right = bodies(redis_client)
    user = redis_key(EntityKey("user", ("u1",)))
    redis_client.hset(user, mapping={"s": b"damaged"})
    redis_client.hset(redis_key(EntityKey("user", ("u2",))), "f", b"no fence")
    product = redis_key(EntityKey("product", ("p",)))
    redis_client.delete(product)
    redis_client.set(product, "another type")
    redis_client.hset(redis_key(EntityKey("product", ("damaged",))), mapping={"s": b"x", "f": b"no fence"})
    stranger = redis_key(EntityKey("user", ("nobody",)))
    redis_client.hset(stranger, mapping=redis_client.hgetall(redis_key(EntityKey("user", ("u0",)))))
    redis_client.hset(redis_key(EntityKey("user", ("no fence",))), mapping={"s": b"x"})
    assert rebuild(made, lambda _: None) == {
        "user": 3,
        "product": 1,
        "user_product": 3,
        "category": 0,
        "user_category": 0,
    }
    assert bodies(redis_client) == right
    assert rebuild(made, lambda _: None) == {
        "user": 3,
        "product": 1,
        "user_product": 3,
        "category": 0,
        "user_category": 0,
    }, "and once more"
    assert bodies(redis_client) == right


@pytest.mark.parametrize("how", ["hole", "truncated", "empty", "strange"])
def test_what_is_wrong_with_the_log_is_found_first(made: Settings, redis_client: "Redis[bytes]", how: str) -> None:
    before, mark = contents(redis_client), redis_client.get("encore:materialized")
    path = EventLog(made.log).files()[0].path
    if how == "hole":
        path.unlink()
    else:
        whole = path.read_bytes()
        path.write_bytes({"truncated": whole[:2000], "empty": b"", "strange": b"PAR1 not really PAR1"}[how])
    with pytest.raises(DataError, match="event log"):
        rebuild(made, lambda _: None)
    assert contents(redis_client) == before
    assert redis_client.get("encore:materialized") == mark


@pytest.mark.parametrize("how", ["gone", "damaged", "a view less"])
def test_a_registry_that_is_not_as_the_plan_is_mended(made: Settings, redis_client: "Redis[bytes]", how: str) -> None:
    from server.jobs.feast_repo import open_store

    registry = made.feast / "registry.db"
    if how == "gone":
        registry.unlink()
    elif how == "damaged":
        registry.write_bytes(b"\xff" * 100)
    else:
        open_store(made).delete_feature_view("user_features")
    told: list[str] = []
    redis_client.hset(redis_key(EntityKey("user", ("u1",))), mapping={"s": b"damaged"})
    assert rebuild(made, told.append) == {"user": 3, "product": 1, "user_product": 3, "category": 0, "user_category": 0}
    assert [line for line in told if "registering the views with Feast" in line]
    assert not [fields for fields in contents(redis_client).values() if fields[b"s"] == b"damaged"]


@pytest.mark.parametrize("how", ["full", "replica", "no memory for all"])
def test_a_redis_that_cannot_take_them_is_left_as_it_is(made: Settings, redis_client: "Redis[bytes]", how: str) -> None:
    before = contents(redis_client)
    try:
        if how == "full":
            redis_client.config_set("maxmemory", "1mb")
        elif how == "replica":
            redis_client.execute_command("REPLICAOF", "127.0.0.1", "1")
        else:
            events = [act(Act("view", f"more{n}", "p", n * HOUR_US), f"m{n}") for n in range(4000)]
            as_log(EventLog(made.log), place(events), rows_per_file=4000)
            redis_client.config_set("maxmemory", int(redis_client.info("memory")["used_memory"]) + 500_000)
        with pytest.raises(UnavailableError, match=r"(?i)Redis.*nothing was changed"):
            rebuild(made, lambda _: None)
    finally:
        redis_client.config_set("maxmemory", 0)
        redis_client.execute_command("REPLICAOF", "NO", "ONE")
    assert contents(redis_client) == before
    assert rebuild(made, lambda _: None)["product"] == 1


def test_an_interrupted_rebuild_leaves_every_state_and_says_so(made: Settings, redis_client: "Redis[bytes]") -> None:
    before = bodies(redis_client)

    def interrupt(step: str) -> None:
        if step.startswith("folding"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as interrupted:
        rebuild(made, interrupt)
    assert "run `encore rebuild` again" in interrupted.value.__notes__[0]
    assert bodies(redis_client) == before
    assert redis_client.get("encore:materialized") == b"unfinished"
    assert not Heartbeats(redis_client, "encore").asked_pause(), "workers go on"
    with pytest.raises(EncoreError, match="encore rebuild"):
        fold_log(made, lambda _: None)
    rebuild(made, lambda _: None)
    assert bodies(redis_client) == before
    assert redis_client.get("encore:materialized") != b"unfinished"


def test_a_request_to_stand_still_that_was_lost_is_noticed(redis_client: "Redis[bytes]") -> None:
    with (
        pytest.raises(UnavailableError, match="may have gone on"),
        paused_workers(Heartbeats(redis_client, "encore")),
    ):
        redis_client.flushall()
