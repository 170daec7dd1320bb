"""Heartbeats and the health checks that read them, over the real store."""

from pathlib import Path

import msgspec
import pytest
from redis import Redis

from data.log.identity import PROJECT
from data.units import MICROS
from events.stream.heartbeat import Heartbeats, WorkerStatus
from features.state.redis import OnlineStates
from server.process.home import only_one
from server.process.probe import events_arrive, main, worker_lives
from server.settings import Settings

NOW_US = 1_760_000_000 * MICROS


def _status(worker: str) -> WorkerStatus:
    said = {
        "worker": worker,
        "at_us": NOW_US,
        "started_us": NOW_US,
        "received": 10,
        "folded": 9,
        "rate": 1.5,
        "dead_letters": {"invalid": 1},
        "conflicts": 0,
        "lag": {0: 3},
        "ends": {0: 12},
        "newest_event_us": NOW_US,
    }
    return msgspec.convert(said, WorkerStatus)


def test_a_worker_lives_while_it_beats(redis_client: "Redis[bytes]") -> None:
    heartbeats = Heartbeats(redis_client, PROJECT)
    assert not worker_lives(heartbeats, "a")
    heartbeats.beat(_status("a"))
    assert worker_lives(heartbeats, "a")
    assert not worker_lives(heartbeats, "b")
    assert 0 < redis_client.ttl(f"{PROJECT}:worker:a") <= 15
    heartbeats.stop("a")
    assert not worker_lives(heartbeats, "a")


def test_all_workers_are_found_by_name_and_the_silent_forgotten(redis_client: "Redis[bytes]") -> None:
    heartbeats = Heartbeats(redis_client, PROJECT)
    for name in ("b", "silent", "a"):
        heartbeats.beat(_status(name))
    redis_client.delete(f"{PROJECT}:worker:silent")  # as when it has not renewed it
    assert heartbeats.all() == [_status("a"), _status("b")]
    assert redis_client.smembers(f"{PROJECT}:workers") == {b"a", b"b"}
    heartbeats.stop("a")
    assert heartbeats.all() == [_status("b")]


def test_events_arrive_while_the_newest_is_young(redis_client: "Redis[bytes]") -> None:
    assert not events_arrive(OnlineStates(redis_client), 60, lambda: NOW_US)
    OnlineStates(redis_client).note_event(NOW_US - 60 * MICROS)
    assert events_arrive(OnlineStates(redis_client), 60, lambda: NOW_US)
    assert not events_arrive(OnlineStates(redis_client), 60, lambda: NOW_US + 1)


def test_exit_codes(
    redis_client: "Redis[bytes]", monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_PORT", str(redis_client.connection_pool.connection_kwargs["port"]))
    assert main(["worker", "a"]) == 1
    Heartbeats(redis_client, PROJECT).beat(_status("a"))
    assert main(["worker", "a"]) == 0
    assert main(["traffic", "60"]) == 1
    assert capsys.readouterr().err == ""


def test_a_monitor_watches_while_it_holds_its_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENCORE_HOME", str(tmp_path))
    assert main(["monitor"]) == 1
    with only_one(Settings(home=tmp_path), "predictions", "keeps predictions"):
        assert main(["monitor"]) == 0
    assert main(["monitor"]) == 1
    assert capsys.readouterr().err == ""


def test_no_redis_is_not_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unused_port: int
) -> None:
    monkeypatch.setenv("REDIS_PORT", str(unused_port))
    assert main(["worker", "a"]) == 1
    assert main(["traffic", "60"]) == 1
    assert "REDIS_PORT" in capsys.readouterr().err


@pytest.fixture
def unused_port() -> int:
    from server.process.server_process import free_port

    return free_port()
