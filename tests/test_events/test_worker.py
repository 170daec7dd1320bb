"""The worker over a real broker and store: everything in once, in states and log, whatever stops it.

What it does where something fails is in `test_session.py`, over a topic, states and a log in memory.
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from classic_only import ClassicOnly
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from consuming import read_topic
from event_streams import Act, act, shop
from group_member import foreign_member
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import NewPartitions
from kafka.structs import OffsetAndMetadata
from polling import poll_until
from redis import Redis
from stream_system import GROUP, System
from verifying import verify_log

from data.default_shop import ShopEvent
from data.errors import ConfigurationError, UnavailableError
from data.event import MAX_EVENT_BYTES, Event, Rejection, encode_event
from data.log.event_log import EventLog
from data.log.event_table import EVENT_COLUMNS
from data.log.sources import topic_source
from data.units import DAY_US, HOUR_US
from events.kafka.connection import Message
from events.kafka.dead_letters import DeadLetters
from events.kafka.topics import LARGEST_BATCH, LARGEST_LETTER, dead_letter_topic, ensure_topics, topic_id
from events.stream.heartbeat import WorkerStatus
from features.batch.engine import DuckDBEngine
from features.batch.materializer import materialize
from features.entities import ENTITIES
from features.plan.cache import load_plan
from features.plan.plan import Plan
from features.state.online.owner import Owner
from features.state.states import EntityKey
from server.process.server_process import free_port


@pytest.fixture
def system(plan: Plan, kafka_servers: str, topic: str, redis_client: "Redis[bytes]", tmp_path: Path) -> System:
    return System(plan, kafka_servers, topic, redis_client, EventLog(tmp_path / "log"))


def test_events_are_folded_logged_and_committed(system: System) -> None:
    events = shop(60)
    full = ShopEvent(
        "full",
        "purchase",
        "ü1",
        "p9",
        1e15,
        datetime(2026, 1, 1, tzinfo=UTC),
        quantity=3,
        session_id="s1",
        category="coffee",
        metadata={"device": "phone", "n": [1, None]},
    )
    system.produce([*events, full])
    with system.running():
        system.await_logged(61)
        poll_until(lambda: system.committed() == 61)
    table = system.logged()
    assert sorted(table["event_id"].to_pylist()) == sorted(event.event_id for event in [*events, full])
    (row,) = (row for row in table.to_pylist() if row["event_id"] == "full")
    assert json.loads(row.pop("metadata")) == full.metadata
    assert {name: row[name] for name in EVENT_COLUMNS.names if name != "metadata"} == {
        name: getattr(full, name) for name in EVENT_COLUMNS.names if name != "metadata"
    }
    assert row["source"] == topic_source(topic_id(system.servers, system.topic))
    assert system.values("user", "ü2")["user_purchase_count"] == 6
    assert system.values("product", "p0")["product_view_count"] == 10
    assert system.values("user_product", "p9", "ü1")["user_product_total_spend"] == 1e15
    assert system.states.newest_event() == max(event.timestamp_us for event in events)
    assert system.letters() == []


def test_the_log_is_what_was_produced(system: System) -> None:
    events = shop(50)
    system.produce(events)
    with system.running():
        system.await_logged(50)
    in_topic = [
        (r.partition, r.offset, json.loads(r.value)["event_id"]) for r in read_topic(system.servers, system.topic)
    ]
    table = system.logged()
    assert (
        sorted(zip(*(table[name].to_pylist() for name in ("partition", "offset", "event_id")), strict=True)) == in_topic
    )


@pytest.mark.long
def test_what_is_sent_again_counts_once_whoever_reads_it(system: System) -> None:
    """In states, log and heartbeat, and a retry that comes after a rebuild is known too."""
    events = shop(40)
    system.produce([*events[:30], *events[:20], *events[10:]])
    with system.running():
        poll_until(lambda: system.committed() == 80)
        poll_until(lambda: sum(beat.repeats for beat in system.beats()) == 40)
    system.produce(events[25:])
    with system.running("another"):
        poll_until(lambda: system.committed() == 95)
    table = system.logged()
    assert sorted(table["event_id"].to_pylist()) == sorted(event.event_id for event in events)
    assert table["arrived"].null_count == 0
    assert counts(system) == [4] * 10

    kept = {key: system.states.read([key]) for n in range(10) for key in [EntityKey("user", (f"ü{n}",))]}
    system.states.clear()
    with DuckDBEngine(system.log) as engine:
        for entity in ENTITIES:
            plan = system.plan.of(entity.name)
            materialize(system.states, engine.states(plan), plan, system.log)
    assert {key: [one.state for one in system.states.read([key])] for key in kept} == {
        key: [one.state for one in was] for key, was in kept.items()
    }
    system.produce(events)
    with system.running("third"):
        poll_until(lambda: system.committed() == 135)
    assert system.logged().num_rows == 40
    assert counts(system) == [4] * 10
    verdict = verify_log(system.plan, system.log, system.states, sample=50, at_us=events[-1].timestamp_us)
    assert verdict.ok


def _take_batches_of(system: System, size: int) -> None:
    """Let the topic take larger batches than Encore gives it."""
    change = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, system.topic, incremental_configs=[change])
    admin = AdminClient({"bootstrap.servers": system.servers})
    (done,) = admin.incremental_alter_configs([resource]).values()
    done.result(30)


@pytest.mark.long
def test_what_is_no_event_becomes_a_dead_letter_and_nothing_stops(system: System) -> None:
    good = act(Act("view", "u", "p", 0), "good")
    future = act(Act("view", "u", "p", 400 * DAY_US), "future")
    raw = json.loads(encode_event(good))
    bad: dict[str, tuple[bytes | None, bytes | None]] = {
        "not JSON": (b"u", b"{"),
        "not UTF-8": (b"u", b"\xff\xfe"),
        "unknown type": (b"u", json.dumps(raw | {"event_type": "steal"}).encode()),
        "negative": (b"u", json.dumps(raw | {"amount": -1}).encode()),
        "no zone": (b"u", json.dumps(raw | {"timestamp": "2026-01-01T00:00:00"}).encode()),
        "not a number": (b"u", encode_event(good).replace(b'"amount":1.0', b'"amount":NaN')),
        "future": (b"u", encode_event(future)),
        "wrong key": (b"v", encode_event(good)),
        "no key": (None, encode_event(good)),
        "no value": (b"u", None),
        "nothing": (None, None),
        "10 MB": (b"u", json.dumps(raw | {"metadata": {"x": "y" * 10_000_000}}).encode()),
    }
    kinds = (
        ["malformed"] * 2
        + ["invalid"] * 3
        + ["malformed", "future", "wrong_key", "wrong_key", "empty", "empty", "too_large"]
    )
    _take_batches_of(system, 16 * LARGEST_BATCH)  # somebody else's topic may
    system.send([message for message in bad.values() if message != (None, None)])
    system.produce([good])
    with system.running():
        table = system.await_logged(1)
        letters = poll_until(lambda: found if len(found := system.letters()) >= len(bad) - 1 else [])
        (status,) = poll_until(lambda: [s for s in system.beats() if s.received == len(bad)])
    assert table["event_id"].to_pylist() == ["good"]
    assert system.values("user", "u")["user_view_count"] == 1
    key, whole = bad["10 MB"]
    bad["10 MB"] = key, (whole or b"")[:1024]
    expected = {message: kind for message, kind in zip(bad.values(), kinds, strict=True) if message != (None, None)}
    assert {(letter.key, letter.value): dict(letter.headers)["kind"].decode() for letter in letters} == expected
    sent = {(r.partition, r.offset): (r.key, r.value) for r in read_topic(system.servers, system.topic)}
    for letter in letters:
        headers = {name: value.decode() for name, value in letter.headers}
        assert headers["topic"] == system.topic
        assert headers["reason"]
        key, value = sent[int(headers["partition"]), int(headers["offset"])]
        if headers["kind"] == "too_large":
            assert (headers["value_bytes"], value) == (str(len(whole or b"")), whole)
            assert headers["value_sha256"] == hashlib.sha256(whole or b"").hexdigest()
            value = (value or b"")[:1024]
        assert (key, value) == (letter.key, letter.value)
    assert status.dead_letters == {
        "malformed": 3,
        "invalid": 3,
        "future": 1,
        "wrong_key": 2,
        "empty": 1,
        "too_large": 1,
    }
    assert (status.received, status.folded) == (len(bad), 1)


def post(system: System, *messages: Message) -> None:
    letters = DeadLetters(system.servers, system.topic)
    for message in messages:
        letters.send(message, Rejection("empty", "the message has no value"))
    letters.flush(30)
    assert len(letters) == 0
    letters.close()


def test_a_message_of_nothing_at_all_is_a_dead_letter_too(system: System) -> None:
    """Kafka takes a message with neither key nor value from some clients."""
    post(system, Message(system.topic, 0, 7, None, None))
    (letter,) = system.letters()
    assert not letter.value
    assert dict(letter.headers)["offset"] == b"7"


def test_a_letter_that_the_topic_does_not_take_is_cut(system: System) -> None:
    """No waiting would heal it. Those beside it stay whole."""
    system.topic += "-small"
    admin = KafkaAdminClient(bootstrap_servers=system.servers)
    small = {"num_partitions": 1, "replication_factor": 1, "configs": {"max.message.bytes": "4000"}}
    admin.create_topics({dead_letter_topic(system.topic): small})
    admin.close()
    long = {1: b"v" * 5_000, 2: b"v" * (LARGEST_LETTER + 1)}
    post(
        system,
        *(Message(system.topic, 0, offset, b"k" * 2_000, b"fits") for offset in range(10, 30)),
        *(Message(system.topic, 0, offset, b"k", value) for offset, value in long.items()),
        *(Message(system.topic, 0, offset, b"k" * 2_000, b"fits") for offset in range(30, 50)),
    )
    found = {int(dict(letter.headers)["offset"]): letter for letter in system.letters()}
    assert found.keys() == {*long, *range(10, 50)}
    for offset, letter in found.items():
        headers = dict(letter.headers)
        if offset in long:
            assert (letter.key, letter.value) == (b"k", b"v" * 1024)
            assert int(headers["value_bytes"]) == len(long[offset])
            assert headers["value_sha256"].decode() == hashlib.sha256(long[offset]).hexdigest()
            assert "key_bytes" not in headers
        else:
            assert (letter.key, letter.value) == (b"k" * 2_000, b"fits")
            assert "value_bytes" not in headers


def test_letters_wait_for_a_broker_that_is_away(system: System) -> None:
    letters = DeadLetters(f"127.0.0.1:{free_port()}", system.topic)
    letters.send(Message(system.topic, 0, 7, b"k", b"v"), Rejection("empty", "why"))
    for _ in range(2):
        with pytest.raises(UnavailableError, match="did not take 1 dead letters"):
            letters.flush(0.1)
    assert len(letters) == 1
    letters.close()


def test_a_broker_without_the_newer_group_protocol_is_joined_by_the_classic_one(
    plan: Plan, kafka_jars: Path, redis_client: "Redis[bytes]", tmp_path: Path
) -> None:
    with ClassicOnly(free_port(), tmp_path / "broker", jars=kafka_jars) as broker:
        ensure_topics(broker.servers, "t")
        system = System(plan, broker.servers, "t", redis_client, EventLog(tmp_path / "log"))
        system.produce(shop(10))
        with system.running():
            system.await_logged(10)
            poll_until(lambda: [status.membership.protocol for status in system.beats()] == ["classic"])


@pytest.mark.long
def test_stop_and_start_again(system: System) -> None:
    """A stop commits; what is folded but not committed (here: the first worker's log is gone) comes again, once."""
    events = shop(90)
    for part in (events[:30], events[30:60], events[60:]):
        system.produce(part)
        with system.running(flush_s=3600.0):  # nothing is written before the stop
            poll_until(lambda part=part: system.states.newest_event() == max(e.timestamp_us for e in part))  # type: ignore[misc]
            rows = int(part[-1].event_id[1:]) + 1
            poll_until(lambda rows=rows: sum(counts(system)) == rows)  # type: ignore[misc]
    assert system.committed() == 90
    assert sorted(system.logged()["event_id"].to_pylist()) == sorted(event.event_id for event in events)


def counts(system: System) -> list[int]:
    """Events per user."""
    users = [system.values("user", f"ü{n}") for n in range(10)]
    return [int(u["user_view_count"]) + int(u["user_purchase_count"]) for u in users]  # type: ignore[call-overload]


@pytest.mark.long
def test_two_workers_share_the_partitions(system: System) -> None:
    """One joins while the other works, one leaves: events flow all the while, and each counts once."""
    users = [f"user {n}" for n in range(40)]

    def some(first: int) -> list[Event]:
        return [act(Act("purchase", user, "p", first * HOUR_US), f"e{first}-{user}") for user in users]

    def folded() -> int:
        return int(system.values("product", "p")["product_purchase_count"])  # type: ignore[call-overload,no-any-return]

    def owned() -> dict[str, set[int]]:
        return {status.worker: set(status.lag) for status in system.beats()}

    with ExitStack() as stack:
        stack.enter_context(system.running("a"))
        system.produce(some(0))
        poll_until(lambda: folded() == 40)
        with system.running("b"):
            system.produce(some(1))

            def shared() -> bool:
                system.produce(some(next(rounds))[:4])
                parts = owned()
                return len(parts) == 2 and all(parts.values()) and not set.intersection(*parts.values())

            rounds = iter(range(2, 10_000))
            poll_until(shared, 60, every_s=0.3)
            extra = next(rounds) - 2
            poll_until(lambda: folded() == 80 + 4 * extra)
        system.produce(some(8_000))
        poll_until(lambda: folded() == 120 + 4 * extra)
        system.await_logged(120 + 4 * extra)
    table = system.logged()
    assert table.num_rows == len(set(table["event_id"].to_pylist())) == 120 + 4 * extra
    assert system.values("product", "p")["product_distinct_buyers"] == 40
    assert system.committed() == 120 + 4 * extra


def test_a_worker_commits_what_it_hands_over(system: System) -> None:
    """Nothing is committed by time here: what is committed, the first worker did when its partitions left."""
    system.produce(shop(40))
    with system.running("a", flush_s=3600.0):
        poll_until(lambda: sum(counts(system)) == 40)
        assert system.committed() == 0
        with system.running("b", flush_s=3600.0):
            poll_until(lambda: system.committed() == 40)
            assert system.logged().num_rows == 40


@pytest.mark.long
def test_a_worker_asked_to_stop_under_load_does_so_within_five_seconds(system: System, tmp_path: Path) -> None:
    """What it has folded by then is committed. Five seconds is what supervisors are promised, not how fast it is: it
    takes half a second."""
    system.produce([act(Act("view", f"ü{n % 10}", f"p{n % 3}", n * 1_000_000), f"e{n}") for n in range(12_000)])
    home = tmp_path / "home"
    load_plan(home / "plan.json")
    environment = {"ENCORE_HOME": home, "KAFKA_SERVERS": system.servers, "REDIS_PORT": system.redis_port}
    command = [sys.executable, "-m", "server.cli", "stream", "--name", "w", "--topic", system.topic]
    command += ["--group", f"{GROUP}-{system.topic}"]
    with subprocess.Popen(command, env=os.environ | {k: str(v) for k, v in environment.items()}) as process:
        try:
            poll_until(lambda: sum(counts(system)) > 0, 60, every_s=0.01)
            process.terminate()
            asked_s = time.monotonic()
            assert process.wait(30) == 0
            assert time.monotonic() - asked_s < 5
        finally:
            process.kill()
    assert system.committed() == sum(counts(system)) > 0


@pytest.mark.long
def test_a_topic_made_anew_begins_anew(system: System) -> None:
    """The new topic's offsets are those of the old one: events at them count all the same, each once."""
    system.produce(shop(20))
    with system.running(flush_s=3600.0, check_s=0.2):
        poll_until(lambda: sum(counts(system)) == 20)
        admin = KafkaAdminClient(bootstrap_servers=system.servers)
        admin.delete_topics([system.topic])
        poll_until(lambda: not _exists(admin, system.topic))
        ensure_topics(system.servers, system.topic)
        admin.close()
        system.produce(shop(20, first=20))
        poll_until(lambda: sum(counts(system)) == 40)
    table = system.logged()
    assert sorted(table["event_id"].to_pylist()) == sorted(event.event_id for event in shop(40))
    assert len(set(table["source"].to_pylist())) == 2
    assert system.committed() == 20


@pytest.mark.long
def test_a_worker_whose_name_is_taken_goes_on_under_another(system: System, caplog: pytest.LogCaptureFixture) -> None:
    system.produce(shop(20))
    with system.running("w"):
        poll_until(lambda: sum(counts(system)) == 20)
        with system.running("w"):
            poll_until(lambda: len({beat.worker for beat in system.beats() if beat.lag}) == 2)
            assert "another worker is named w" in caplog.text
            system.produce(shop(20, first=20))
            poll_until(lambda: sum(counts(system)) == 40)
    assert system.logged().num_rows == 40


@pytest.mark.long
def test_partitions_that_come_later_are_read(system: System) -> None:
    system.produce(shop(20))
    with system.running():
        poll_until(lambda: sum(counts(system)) == 20)
        admin = KafkaAdminClient(bootstrap_servers=system.servers)
        admin.create_partitions({system.topic: NewPartitions(8)})
        admin.close()
        system.produce(shop(40, first=20))
        poll_until(lambda: sum(counts(system)) == 60)
    assert max(system.logged()["partition"].to_pylist()) > 3


@pytest.mark.long
def test_what_kafka_dropped_is_folded_from_the_log_or_named(system: System, tmp_path: Path) -> None:
    """Retention passes a group by: of what it had not committed, the log's part is folded and the rest is lost.

    offset     0 ── committed 5 ── dropped to 20 ── 30
    log        |===============================|
    states                 |-- log --|-- Kafka --|     (with the log gone: 15 are lost)
    """
    events = [act(Act("view", "u", f"p{n}", n * HOUR_US), f"e{n}") for n in range(30)]
    system.produce(events)
    with system.running():
        poll_until(lambda: system.committed() == 30)
    (file,) = system.log.files()
    place = TopicPartition(system.topic, file.segment.partition)
    admin = KafkaAdminClient(bootstrap_servers=system.servers)
    admin.delete_records({place: 20})
    group = f"{GROUP}-{system.topic}"
    for log, lost in ((system.log, 0), (EventLog(tmp_path / "another"), 15)):
        admin.alter_group_offsets(group, {place: OffsetAndMetadata(5, "", -1)})
        system.client.flushall()
        system.log = log
        with system.running():
            poll_until(lambda: system.committed() == 30)
            poll_until(lambda lost=lost: [beat.lost for beat in system.beats()] == [lost])  # type: ignore[misc]
            assert system.values("user", "u")["user_view_count"] == 25 - lost
    admin.close()


def test_a_file_of_the_log_that_is_lost_is_read_again_from_kafka(system: System) -> None:
    """Events and dead letters beside it stay as they are; readers refuse the log until it is whole."""
    system.produce(shop(40))
    system.send([(b"u", b"no event")] * 3)
    with system.running():
        poll_until(lambda: system.committed() == 43)
    before = system.logged()
    lost = max(system.log.files(), key=lambda file: file.segment.stop - file.segment.first)
    lost.path.unlink()
    with system.running("next"):
        poll_until(lambda: not system.log.holes())
        system.await_logged(40)
    assert sorted(system.logged()["event_id"].to_pylist()) == sorted(before["event_id"].to_pylist())
    assert len(system.letters()) == 3
    assert counts(system) == [4] * 10


def test_what_nobody_read_is_noted_as_lost_and_the_log_stays_whole(system: System) -> None:
    events = [act(Act("view", "u", f"p{n}", n * HOUR_US), f"e{n}") for n in range(30)]
    system.produce(events)
    partition = next(record.partition for record in read_topic(system.servers, system.topic))
    admin = KafkaAdminClient(bootstrap_servers=system.servers)
    admin.delete_records({TopicPartition(system.topic, partition): 20})
    admin.close()
    with system.running():
        poll_until(lambda: system.committed() == 30)
    assert system.logged().num_rows == 10
    assert system.log.holes() == []


@pytest.mark.long
def test_the_worker_joins_the_small_files_of_its_partitions(system: System) -> None:
    with system.running(tidy_s=0.2):
        for number in range(20):
            system.produce([act(Act("view", "u", "p", number * HOUR_US), f"e{number}")])
            system.await_logged(number + 1)
        poll_until(lambda: len(system.log.files()) < 16)
    assert sorted(system.logged()["event_id"].to_pylist()) == sorted(f"e{n}" for n in range(20))


def test_a_group_of_another_program_is_refused_by_name(system: System) -> None:
    with foreign_member(system.servers, f"{GROUP}-{system.topic}"):
        worker = system.worker()
        with pytest.raises(ConfigurationError, match=f"{GROUP}-{system.topic}: another program"):
            worker.run(threading.Event())


def test_a_group_of_another_home_is_refused_by_name(system: System) -> None:
    """Two homes with one project on two Redis and one Kafka, one of which has only partitions without messages left."""
    theirs, ours = Owner("theirs", "/srv/their home"), Owner("ours", "/srv/ours")
    system.owner = theirs
    system.produce([act(Act("view", "u", "p", 0), "e0")])
    with system.running("a"):
        poll_until(lambda: system.committed() == 1)
        system.owner = ours
        with pytest.raises(ConfigurationError, match=r"for the home /srv/their home, .* set ENCORE_PROJECT to another"):
            system.worker("b").run(threading.Event())
        system.owner = theirs  # another worker of theirs, or their home moved
        with system.running("c"):
            system.produce(shop(20, first=1))
            poll_until(lambda: system.committed() == 21)
    system.owner = None  # an older Encore's
    with system.running("d"):
        system.produce(shop(20, first=21))
        poll_until(lambda: system.committed() == 41)


def _exists(admin: KafkaAdminClient, topic: str) -> bool:
    return topic in admin.list_topics()


def test_heartbeats_tell_and_vanish(system: System) -> None:
    system.produce(shop(20))
    with system.running("teller"):
        system.await_logged(20)

        def told() -> list[WorkerStatus]:
            return [s for s in system.beats() if s.received == 20 and sum(s.lag.values()) == 0]

        (status,) = poll_until(told)
        assert system.client.ttl("encore:worker:teller") > 0
    assert (status.worker, status.folded, status.dead_letters, status.conflicts) == ("teller", 20, {}, 0)
    assert status.newest_event_us == shop(20)[-1].timestamp_us
    assert status.lag.keys() <= {0, 1, 2, 3}
    assert sum(status.types.values()) == 20
    assert status.types["view"] == sum(event.event_type == "view" for event in shop(20))
    assert status.freshness_ms is not None
    median, high = status.freshness_ms
    assert median <= high
    assert system.heartbeats.all() == []


def test_a_large_value_within_the_limit_is_an_event(system: System) -> None:
    event = act(Act("view", "u", "p", 0), "large")
    raw = json.loads(encode_event(event)) | {"metadata": {"x": "y" * (MAX_EVENT_BYTES - 400)}}
    system.send([(b"u", json.dumps(raw).encode())])
    with system.running():
        system.await_logged(1)
    assert system.letters() == []
