"""What the status says of workers that do not fold all that there is."""

from pathlib import Path

import msgspec
import pytest
from redis import Redis

from events.stream.heartbeat import Heartbeats, WorkerStatus
from features.state.redis import PROJECT
from server.jobs.status import Observer
from server.process.server_process import free_port
from server.process.store import Store
from server.settings import Settings


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"lost": 1_200}, "worker-1 found 1,200 messages dropped by Kafka's retention"),
        ({"paused": "a-token"}, "worker-1 stands still while states are made anew"),
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
    nowhere = free_port()
    settings = Settings(redis_port=store.port, kafka_servers=f"127.0.0.1:{nowhere}", api_port=nowhere)
    observer = Observer(settings, kafka_wait_s=0.1)
    try:
        problems = [problem for problem in observer.look().problems if problem.startswith("stream: ")]
    finally:
        observer.close()
    assert [problem.removeprefix("stream: ")[: len(told)] for problem in problems] == ([told] if told else [])


def test_a_rebuild_that_did_not_end_is_told(redis_client: "Redis[bytes]", tmp_path: Path) -> None:
    port = redis_client.connection_pool.connection_kwargs["port"]
    settings = Settings(home=tmp_path, redis_port=port, kafka_servers=f"127.0.0.1:{free_port()}", api_port=free_port())
    observer = Observer(settings, kafka_wait_s=0.01)
    try:
        redis_client.set(f"{PROJECT}:materialized", "unfinished")
        assert [line for line in observer.look().problems if "run `encore rebuild` again" in line]
        redis_client.set(f"{PROJECT}:pause", "it goes on")
        assert not [line for line in observer.look().problems if "run `encore rebuild` again" in line]
    finally:
        observer.close()
