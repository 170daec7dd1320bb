"""A topic of another shape is passed on over a real broker: each event once, whenever a relay dies."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from background import in_background
from confluent_kafka import Producer
from consuming import read_topic
from kafka import KafkaProducer
from polling import poll_until

from data.default_shop import SHOP
from data.errors import ConfigurationError
from data.event import Rejection
from events.kafka.consumer import ConsumerOptions
from events.kafka.topics import dead_letter_topic, ensure_topic
from events.translation.mapping import load_live_mapping
from events.translation.relay import Passed, Relay, RelayOptions
from events.translation.translator import Translator
from server.jobs.stream import run_relay
from server.process.kafka_broker import KafkaBroker
from server.settings import read_settings

MAPPING = """
topic = "{source}"
[event]
event_id = "id"
event_type = {{ value = "purchase" }}
user_id = "who"
product_id = "what"
amount = {{ value = 1 }}
[time]
path = "at"
form = "unix"
"""


class Dying(Translator):
    """Dies after so many messages, as if its process were killed."""

    left = -1

    def __call__(self, raw: bytes | None, place: str) -> list[tuple[bytes, bytes]] | Rejection:
        if self.left == 0:
            raise SystemExit
        self.left -= 1
        return super().__call__(raw, place)


@pytest.fixture
def relay(broker: KafkaBroker, topic: str, tmp_path: Path) -> Any:
    """What makes another relay of the same name, and the topic that it reads."""
    source = f"{topic}-orders"
    ensure_topic(broker.servers, source, partitions=3)
    path = tmp_path / "live.toml"
    path.write_text(MAPPING.format(source=source))
    reading = ConsumerOptions(servers=broker.servers, topic=source, group=f"{topic}-translate", name="r")
    options = RelayOptions(reading=reading, topic=topic, partitions=4)

    def make(dies_after: int = -1) -> Relay:
        translator = Dying(SHOP, load_live_mapping(path, SHOP))
        translator.left = dies_after
        return Relay(options, translator)

    return make


def send(servers: str, source: str, messages: list[bytes]) -> None:
    producer = KafkaProducer(bootstrap_servers=servers)
    for number, message in enumerate(messages):
        producer.send(source, message, partition=number % 3)  # in no user's order, and without a key
    producer.flush()
    producer.close()


def committed(servers: str, topic: str) -> list[Any]:
    return read_topic(servers, topic, isolation_level="read_committed")


def order(number: int) -> bytes:
    return json.dumps({"id": f"e{number}", "who": f"u{number % 7}", "what": "p", "at": 1_767_225_600 + number}).encode()


@pytest.mark.long
def test_each_event_is_passed_on_once_however_often_the_relay_dies(relay: Any, broker: KafkaBroker, topic: str) -> None:
    send(broker.servers, f"{topic}-orders", [order(number) for number in range(2_000)])
    for dies_after in (0, 30, 650):
        with pytest.raises(SystemExit):
            relay(dies_after).run(threading.Event())
    last = relay()
    with in_background(last.run):
        poll_until(lambda: len(committed(broker.servers, topic)) >= 2_000)
    found = committed(broker.servers, topic)
    assert sorted(json.loads(one.value)["event_id"] for one in found) == sorted(f"e{n}" for n in range(2_000))
    assert all(one.key == json.loads(one.value)["user_id"].encode() for one in found)
    assert len({(one.key, one.partition) for one in found}) == 7, "a user's events are in one partition"
    assert last.passed.letters == 0


@pytest.mark.long
def test_what_is_no_event_becomes_a_dead_letter(relay: Any, broker: KafkaBroker, topic: str) -> None:
    large = json.dumps({"id": "x", "who": "u", "what": "p", "at": "never", "more": "y" * 950_000}).encode()
    send(broker.servers, f"{topic}-orders", [order(1), b"{", large, order(2)])
    running = relay()
    with in_background(running.run):
        poll_until(lambda: running.passed.messages == 4)
    assert (running.passed.events, running.passed.letters) == (2, 2)
    letters = {one.partition: one for one in read_topic(broker.servers, dead_letter_topic(topic))}
    told = [dict(one.headers) for one in read_topic(broker.servers, dead_letter_topic(topic))]
    assert letters
    assert {one["kind"] for one in told} == {b"invalid"}
    assert {one["reason"].split(b":")[0] for one in told} == {b"not JSON", b"no time of the form unix at `at`"}
    assert {one["topic"] for one in told} == {f"{topic}-orders".encode()}
    assert {one.get("value_bytes") for one in told} == {None, str(len(large)).encode()}


@pytest.mark.long
def test_a_batch_that_cannot_be_unpacked_is_passed_by(relay: Any, broker: KafkaBroker, topic: str) -> None:
    """Ten kilobytes on the wire that become more than librdkafka lets a message be: it would stay there for good."""
    settings = {"compression.codec": "zstd", "linger.ms": 200, "message.max.bytes": 500_000_000}
    producer = Producer({"bootstrap.servers": broker.servers, **settings})
    producer.produce(f"{topic}-orders", b"0" * 110_000_000, partition=1)
    producer.flush(60)
    send(broker.servers, f"{topic}-orders", [order(number) for number in range(9)])
    running = relay()
    with in_background(running.run):
        poll_until(lambda: running.passed.messages == 10)
    assert (running.passed.events, running.passed.letters) == (9, 1)
    (letter,) = read_topic(broker.servers, dead_letter_topic(topic))
    assert dict(letter.headers)["kind"] == b"unreadable"
    assert len(committed(broker.servers, topic)) == 9
    again = relay()  # where the first one ended: behind it
    send(broker.servers, f"{topic}-orders", [order(number) for number in range(9, 12)])
    with in_background(again.run):
        poll_until(lambda: again.passed.messages == 3)
    assert again.passed.letters == 0


@pytest.mark.long
def test_the_command_reads_its_mapping_and_settings(
    home: Path, broker: KafkaBroker, topic: str, tmp_path: Path
) -> None:
    source = f"{topic}-live"
    ensure_topic(broker.servers, source, partitions=1)
    (tmp_path / "live.toml").write_text(MAPPING.format(source=source))
    settings = read_settings(home=home, kafka_servers=broker.servers, project="translated")
    stop = threading.Event()
    passed: list[Passed] = []
    thread = threading.Thread(
        target=lambda: passed.append(run_relay(settings, tmp_path / "live.toml", stop, name="relay-1"))
    )
    thread.start()
    producer = KafkaProducer(bootstrap_servers=broker.servers)
    producer.send(source, order(1))
    producer.close()
    try:
        poll_until(lambda: committed(broker.servers, "translated-events"))
    finally:
        stop.set()
        thread.join(60)
    assert passed == [Passed(messages=1, events=1)]
    (tmp_path / "live.toml").write_text('format = "avro"\n' + MAPPING.format(source=source))
    with pytest.raises(ConfigurationError, match="SCHEMA_REGISTRY_URL says where"):
        run_relay(settings, tmp_path / "live.toml", stop, name="relay-1")
