"""Liveness is progress: a worker that stands still is told of, whether it speaks or not."""

import msgspec
import pytest
from redis import Redis

from events.stream.heartbeat import Heartbeats, WorkerStatus
from events.stream.liveness import stream_problems

PROJECT = "encore"


@pytest.fixture
def heartbeats(redis_client: "Redis[bytes]") -> Heartbeats:
    return Heartbeats(redis_client, PROJECT)


def status(worker: str = "worker-1", **said: object) -> WorkerStatus:
    return msgspec.structs.replace(
        WorkerStatus(worker, 1, 1, 10, 9, 0.0, {}, 0, {0: 0, 1: 0}, {0: 50, 1: 60}, None), **said
    )


def problems(heartbeats: Heartbeats) -> list[str]:
    return stream_problems(heartbeats, heartbeats.all())


def fall_silent(client: "Redis[bytes]", worker: str, age_s: int) -> None:
    """As time does it."""
    client.delete(f"{PROJECT}:worker:{worker}")
    at_s, _, said = (client.hget(f"{PROJECT}:last_beats", worker) or b"").partition(b" ")
    client.hset(f"{PROJECT}:last_beats", worker, b"%d %b" % (int(at_s) - age_s, said))


def test_a_worker_that_goes_on_is_no_problem(heartbeats: Heartbeats) -> None:
    heartbeats.beat(status(lag={0: 70_000, 1: 44_000}, stood_s=2.0))
    assert problems(heartbeats) == []


def test_one_that_stands_still_while_messages_wait_is_stalled(heartbeats: Heartbeats) -> None:
    heartbeats.beat(status(lag={0: 70_000, 1: 44_000}, stood_s=900.0, waiting="Kafka: no letters"))
    assert problems(heartbeats) == [
        "stream: worker-1 is stalled: 114,000 messages wait, and it has folded none for 900 s; it waits: Kafka: no "
        "letters"
    ]


def test_one_that_fell_silent_is_stalled_while_nobody_has_its_partitions(
    heartbeats: Heartbeats, redis_client: "Redis[bytes]"
) -> None:
    heartbeats.beat(status(lag={0: 5, 1: 0}))
    fall_silent(redis_client, "worker-1", 600)
    (problem,) = problems(heartbeats)
    assert problem.startswith("stream: worker-1 is stalled: it has said nothing for 60")
    assert "(5 messages waited then)" in problem
    assert "nobody reads its partitions 0, 1" in problem
    heartbeats.beat(status("worker-2", ends={0: 50}, lag={0: 0}))
    assert "nobody reads its partitions 1;" in problems(heartbeats)[0]
    heartbeats.beat(status("worker-3", ends={1: 60}, lag={1: 0}))
    assert problems(heartbeats) == []


def test_a_farewell_or_a_day_ends_it(heartbeats: Heartbeats, redis_client: "Redis[bytes]") -> None:
    for name in ("a", "b"):
        heartbeats.beat(status(name))
    heartbeats.stop("a")
    fall_silent(redis_client, "b", 90_000)
    assert problems(heartbeats) == []
    assert not redis_client.exists(f"{PROJECT}:last_beats")


@pytest.mark.parametrize(
    "said",
    [b"", b"no json", b"\xff\xfe", b"{}", b"[" * 5_000, msgspec.json.encode({"worker": 5}), b'{"worker":"\xff"}'],
)
def test_a_heartbeat_that_is_none_is_silence(heartbeats: Heartbeats, redis_client: "Redis[bytes]", said: bytes) -> None:
    heartbeats.beat(status("good", ends={}))
    redis_client.sadd(f"{PROJECT}:workers", "bad", b"\xff\xfe")
    redis_client.set(f"{PROJECT}:worker:bad", said)
    redis_client.hset(f"{PROJECT}:last_beats", mapping={b"bad": b"1 " + said, b"\xff": b"x", b"nothing": b""})
    assert [one.worker for one in heartbeats.all()] == ["good"]
    assert heartbeats.silent() == []
    assert problems(heartbeats) == []


def test_keys_of_another_type_are_in_nobodys_way(heartbeats: Heartbeats, redis_client: "Redis[bytes]") -> None:
    redis_client.hset(f"{PROJECT}:worker:worker-1", "a", "b")
    redis_client.set(f"{PROJECT}:workers", "x")
    redis_client.set(f"{PROJECT}:last_beats", "x")
    assert heartbeats.all() == []
    assert heartbeats.silent() == []
    assert heartbeats.beat(status())
    assert heartbeats.all() == [status()]
