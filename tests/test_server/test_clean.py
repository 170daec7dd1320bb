"""`encore clean`: it refuses while anything works in the home, and forgets this home's states and nobody else's."""

from pathlib import Path

import pytest
from event_streams import Act, act, as_log, place
from polling import poll_until
from redis import Redis
from serving import make_home
from system import System

from data.errors import ConfigurationError, UnavailableError
from data.log.event_log import EventLog
from data.units import HOUR_US
from events.stream.heartbeat import Heartbeats, WorkerStatus
from features.state.online.states import OnlineStates
from server.jobs.build import materialize
from server.jobs.clean import clean_home, what_is_forgotten
from server.process.child import stop_child
from server.process.home import enter_home, only_one, processes_in
from server.process.server_process import free_port
from server.process.store import Store
from server.settings import Settings, read_settings


def make(folder: Path, store: Store) -> Settings:
    """A home whose states are in Redis."""
    home = make_home(folder)
    as_log(EventLog(home / "log"), place([act(Act("view", f"u{n % 3}", "p", n * HOUR_US), f"e{n}") for n in range(9)]))
    settings = read_settings(home=home, redis_port=store.port)
    materialize(settings, lambda _: None)
    return read_settings(home=home, redis_port=store.port)


@pytest.fixture
def settings(tmp_path: Path, store: Store, redis_client: "Redis[bytes]") -> Settings:
    return make(tmp_path / "home", store)


def test_the_homes_own_states_are_forgotten_and_nothing_else(
    settings: Settings, tmp_path: Path, store: Store, redis_client: "Redis[bytes]"
) -> None:
    second = make(tmp_path / "second", store)
    assert second.project == "second"
    redis_client.set("of another program", "1")
    others = {key: redis_client.dump(key) for key in redis_client.keys("*") if b"second" in key or b"program" in key}
    found = what_is_forgotten(settings)
    assert found.what[1].startswith("7 states of the project encore in Redis")
    assert [left for left in found.left if "the topics ecommerce-events and predictions" in left]
    assert settings.home.exists(), "looking changes nothing"
    told = clean_home(settings)
    assert "7 states of the project encore" in told
    assert not settings.home.exists()
    assert {key: redis_client.dump(key) for key in redis_client.keys("*")} == others
    assert make(tmp_path / "third", store).project == "encore", "the name is free again"


def test_another_homes_states_are_left(settings: Settings, redis_client: "Redis[bytes]") -> None:
    redis_client.set("encore:home", b'{"id": "x", "home": "/elsewhere"}')
    before = redis_client.dbsize()
    assert "left as it is: what Redis" in (told := clean_home(settings))
    assert "/elsewhere" in told
    assert redis_client.dbsize() == before


def test_a_redis_that_does_not_answer_costs_nothing(settings: Settings) -> None:
    away = settings.model_copy(update={"redis_port": free_port()})
    with pytest.raises(UnavailableError, match=r"--leave-redis.*Nothing was deleted"):
        clean_home(away)
    assert settings.home.exists()
    assert "left as it is: whatever Redis" in clean_home(away, leave_redis=True)
    assert not settings.home.exists()


def test_a_worker_of_elsewhere_keeps_it(settings: Settings, redis_client: "Redis[bytes]") -> None:
    Heartbeats(redis_client, "encore").beat(WorkerStatus("far-away", 1, 1, 0, 0, 0.0, {}, 0, {}, {}, None))
    with pytest.raises(ConfigurationError, match=r"in use: stream workers .*\(far-away\)"):
        clean_home(settings)
    assert sum(OnlineStates(redis_client).counts().values()) == 7


def test_a_monitor_keeps_it(settings: Settings) -> None:
    with only_one(settings, "predictions", "keeps predictions"), pytest.raises(ConfigurationError, match="in use"):
        clean_home(settings)


def test_processes_that_ended_are_forgotten(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    folder = settings.run / "processes"
    folder.mkdir(parents=True)
    (folder / "gone").write_text("encore serve (process 1)")
    assert processes_in(settings) == []
    assert list(folder.iterdir()) == []
    enter_home(settings, "encore test")
    assert len(processes_in(settings)) == 1
    assert "encore test (process " in processes_in(settings)[0]


def test_a_home_that_cannot_be_written_is_worked_in_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file, where a folder should be")
    enter_home(Settings(home=tmp_path), "encore test")


@pytest.fixture
def system(settings: Settings) -> System:
    return System(settings.home)


@pytest.mark.system
@pytest.mark.parametrize("command", [("serve",), ("monitor",), ("stream",), ("infra",), ("verify", "--every", "60")])
def test_whatever_runs_keeps_the_home(
    system: System, settings: Settings, tmp_path: Path, command: tuple[str, ...]
) -> None:
    redis = {} if command == ("infra",) else {"REDIS_PORT": str(settings.redis_port)}
    child = system.start(*command, output=tmp_path / "output.log", **redis)
    try:
        poll_until(lambda: bool(processes_in(settings)))
        refused = system.run("clean", "--yes", REDIS_PORT=str(settings.redis_port))
        assert refused.returncode == 2
        assert f"is in use by encore {command[0]} (process {child.pid})" in refused.stderr
        assert settings.plan.exists()
    finally:
        stop_child(child, 30)
    done = system.run("clean", "--yes", REDIS_PORT=str(settings.redis_port))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in settings.home.iterdir()] == ["audit-log"]
