"""One bad thing does not end the whole: damaged states, refusals of Redis, and a store that forgets, under a worker."""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from event_streams import shop
from polling import poll_until
from redis import Redis
from stores import client_of
from stream_system import System

from data.log.event_log import EventLog
from data.log.sources import topic_source
from events.kafka.consumer import ConsumerOptions, read_offsets
from events.kafka.topics import topic_id
from events.stream.liveness import stream_problems
from features.batch.engine import DuckDBEngine
from features.batch.materializer import materialize
from features.plan.plan import Plan
from features.state.online.keys import redis_key
from features.state.online.states import OnlineStates
from features.state.states import EntityKey
from server.process.server_process import free_port
from server.process.store import Store

VICTIM = EntityKey("user", ("ü1",))


@pytest.fixture
def system(plan: Plan, kafka_servers: str, topic: str, redis_client: "Redis[bytes]", tmp_path: Path) -> System:
    return System(plan, kafka_servers, topic, redis_client, EventLog(tmp_path / "log"))


@pytest.fixture
def own(plan: Plan, kafka_servers: str, topic: str, tmp_path: Path) -> Iterator[System]:
    """With a store of its own, which the test may harm."""
    with Store(free_port(), tmp_path / "store") as store, client_of(store) as client:
        yield System(plan, kafka_servers, topic, client, EventLog(tmp_path / "log"))


def views(system: System, user: str = "ü1") -> object:
    return system.values("user", user)["user_view_count"]


def bought(system: System) -> int:
    values = [system.values("product", f"p{n}")["product_purchase_count"] for n in range(3)]
    return sum(int(value) for value in values)  # type: ignore[call-overload]


@pytest.mark.long
@pytest.mark.parametrize("damage", ["garbage", "another type"])
def test_damaged_states_end_no_worker_and_are_made_anew(system: System, damage: str) -> None:
    """One of each kind of entity."""
    victims = [VICTIM, EntityKey("product", ("p1",)), EntityKey("user_product", ("p1", "ü1"))]
    names = [redis_key(victim) for victim in victims]
    system.produce(shop(60))
    with system.running("a"), system.running("b"):
        system.await_logged(60)
        assert system.client.exists(*names) == 3
        for name in names:
            if damage == "garbage":
                system.client.hset(name, mapping={"s": b"\x02garbage", "t": b"", "u": b""})
            else:
                system.client.delete(name)
                system.client.set(name, b"x")
        system.produce(shop(60, first=60))
        system.await_logged(120)
        poll_until(lambda: sum(beat.set_aside for beat in system.beats()) >= 3)
        poll_until(lambda: not system.states.aside.look())
        poll_until(lambda: all(system.client.type(name) == b"hash" for name in names))
        system.produce(shop(30, first=120))
        system.await_logged(150)
        poll_until(lambda: system.committed() == 150)
    assert views(system) == 15
    assert system.values("product", "p1")["product_distinct_buyers"] == 5
    pair = system.values("user_product", "p1", "ü1")
    assert (pair["user_product_view_count"], pair["user_product_purchase_count"]) == (5, 0)
    with DuckDBEngine(system.log, threads=1) as engine:
        for entity_plan in system.plan.entities:
            for rebuilt in engine.states(entity_plan):
                (stored,) = system.states.read([rebuilt.key])
                assert stored.state == rebuilt.state, rebuilt.key


@pytest.mark.long
def test_a_batch_that_cannot_be_unpacked_is_passed_by(system: System) -> None:
    """Ten kilobytes on the wire that become more than librdkafka lets a message be: it would stay there for good."""
    settings = {"compression.codec": "zstd", "linger.ms": 200, "message.max.bytes": 500_000_000}
    producer = Producer({"bootstrap.servers": system.servers, **settings})
    for value in (b"{", b"0" * 110_000_000, b"["):
        producer.produce(system.topic, value, b"u", partition=1)
    producer.flush(60)
    system.produce(shop(20))
    with system.running():
        system.await_logged(20)
        poll_until(lambda: system.committed() == 23)
        letters = poll_until(lambda: found if len(found := system.letters()) >= 1 else None)
    told = [dict(letter.headers) for letter in letters or []]
    (unreadable,) = [headers for headers in told if headers["kind"] == b"unreadable"]
    assert unreadable["partition"] == b"1"
    assert b"cannot be read: Decompression" in unreadable["reason"]
    # So it is where the log is filled from the topic, and where a state is made anew.
    for file in system.log.files():
        file.path.unlink()
    source = topic_source(topic_id(system.servers, system.topic))
    with system.running():
        poll_until(lambda: sum(len(some) for n in range(4) for some in system.log.covered(source, n)) == 23)
    assert system.logged().num_rows == 20
    options = ConsumerOptions(servers=system.servers, topic=system.topic, group="none")
    read = [message for messages in read_offsets(options, 1, range(2**62)) for message in messages]
    assert [message.offset for message in read if message.fault] == [int(unreadable["offset"])]
    assert len(read) > 3, "and what lies behind it"


@pytest.mark.long
def test_a_message_that_unpacks_to_a_thousand_times_as_much_is_cut(system: System) -> None:
    """Seventy kilobytes on the wire, which neither the topic of dead letters nor a worker's memory is to hold."""
    large = b"0" * 70_000_000
    settings = {"compression.codec": "gzip", "compression.level": 9, "message.max.bytes": 500_000_000}
    producer = Producer({"bootstrap.servers": system.servers, **settings})
    for value in (b"{", large, b"["):
        producer.produce(system.topic, value, b"u", partition=1)
        producer.flush(60)
    system.produce(shop(20))
    # Letters wait for the log: until then a worker has no more of the message than the letter.
    with system.running(flush_s=600.0, flush_rows=23):
        system.await_logged(20)
        poll_until(lambda: system.committed() == 23)
    told = [(letter.value, dict(letter.headers)) for letter in system.letters()]
    ((kept, headers),) = [letter for letter in told if letter[1]["kind"] == b"too_large"]
    assert (kept, headers["partition"], headers["offset"]) == (b"0" * 1024, b"1", b"1")
    assert headers["reason"] == b"70000000 bytes; an event has at most 65536"
    assert (headers["value_bytes"], headers["value_sha256"].decode()) == (
        b"70000000",
        hashlib.sha256(large).hexdigest(),
    )
    assert len(told) == 3


@pytest.mark.parametrize("refusal", ["OOM", "READONLY"])
def test_what_redis_refuses_is_waited_for(own: System, refusal: str, caplog: pytest.LogCaptureFixture) -> None:
    own.produce(shop(20))
    with own.running():
        own.await_logged(20)
        if refusal == "OOM":
            own.client.config_set("maxmemory", 1)
        else:
            own.client.execute_command("REPLICAOF", "127.0.0.1", "1")
        own.produce(shop(20, first=20))
        poll_until(lambda: caplog.text.count("waiting: Redis refuses") > 2)
        assert own.committed() == 20
        if refusal == "OOM":
            own.client.config_set("maxmemory", 0)
        else:
            own.client.execute_command("REPLICAOF", "NO", "ONE")
        own.await_logged(40)
    assert views(own) == 4


@pytest.mark.long
def test_nothing_is_folded_onto_a_store_that_forgets(own: System) -> None:
    """FLUSHALL under a worker: it stands still and says so, until the states are made anew from the log."""
    own.produce(shop(60))
    states = OnlineStates(Redis(**own.client.connection_pool.connection_kwargs), guarded=True)
    with own.running(states=states):
        own.await_logged(60)
        own.client.flushall()
        own.produce(shop(20, first=60))
        poll_until(lambda: any("has forgotten" in beat.waiting for beat in own.beats()))
        assert own.client.keys("*p1*") == []
        assert own.committed() == 60
        with DuckDBEngine(own.log, threads=1) as engine:
            for entity_plan in own.plan.entities:
                materialize(own.states, engine.states(entity_plan), entity_plan, own.log)
        own.await_logged(80)
        poll_until(lambda: own.committed() == 80)
    assert bought(own) == 40
    assert own.values("product", "p1")["product_distinct_buyers"] == 5
    assert own.states.inventory.look().expected == own.states.counts()


@pytest.mark.long
def test_a_worker_does_not_begin_on_a_store_that_lacks_the_log(own: System) -> None:
    own.produce(shop(20))
    with own.running():
        own.await_logged(20)
    own.client.flushall()
    own.produce(shop(20, first=20))
    states = OnlineStates(Redis(**own.client.connection_pool.connection_kwargs), guarded=True)
    with own.running(states=states):
        poll_until(lambda: any("has forgotten" in beat.waiting for beat in own.beats()))
        assert own.states.counts() == {"user": 0, "product": 0, "user_product": 0, "category": 0, "user_category": 0}
    assert own.committed() == 20


@pytest.mark.long
def test_a_worker_that_cannot_go_on_says_so(own: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of its log is full, for long: its heart beats, and tells of what waits."""
    monkeypatch.setattr("events.stream.liveness.STALLED_S", 1.0)
    full = threading.Event()
    full.set()
    append = EventLog.append

    def no_space(self: EventLog, *given: object) -> Path:
        if full.is_set():
            raise OSError(28, "No space left on device")
        return append(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(EventLog, "append", no_space)

    def problems() -> list[str]:
        own.clock.now_us += 1_000_000
        return stream_problems(own.heartbeats, own.heartbeats.all())

    own.produce(shop(40))
    with own.running(flush_rows=10):
        poll_until(lambda: any("No space left" in one for one in problems()))
        full.clear()
        poll_until(lambda: own.committed() == 40)
        poll_until(lambda: problems() == [])
