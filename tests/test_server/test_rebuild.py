"""All of Redis is lost while a worker runs: states are made anew from the log beside it, and nothing is missing.

worker   fold, log ──x── (Redis is empty) ── stand still ──────────── go on
rebuild                                          └─ fold the log ──┘
"""

from pathlib import Path

import pytest
from event_streams import TOPIC, Act, act, as_log, place, shop, sourced
from polling import poll_until
from redis import Redis
from stream_system import System

from data.errors import DataError, UnavailableError
from data.log.event_log import EventLog
from data.units import HOUR_US
from events.stream.heartbeat import Heartbeats, WorkerStatus
from events.stream.pause import paused_workers
from features.batch.engine import DuckDBEngine
from features.batch.materializer import materialize
from features.entities import ENTITIES
from features.plan.plan import Plan
from features.state.fold import Fold
from features.state.redis import OnlineStates
from server.jobs.build import rebuild
from server.process.store import Store
from server.settings import Settings


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
