"""What a worker asks of a Kafka client, asked of both clients over each broker."""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import NewPartitions
from polling import poll_until

from data.errors import ConfigurationError, UnavailableError
from events.kafka.consumer import (
    Assigned,
    Client,
    Consumer,
    ConsumerOptions,
    Message,
    OutOfRangeError,
    Progress,
    Topic,
    open_consumer,
)
from events.kafka.topics import ensure_topics, topic_id
from server.process.kafka_broker import KafkaBroker
from server.process.server_process import free_port
from server.process.tansu import Tansu

pytestmark = pytest.mark.parametrize("client", ["confluent", "kafka-python"])

EVERY = {0, 1, 2, 3}


@contextmanager
def consuming(
    client: Client, servers: str, topic: str, begin: Collection[int] = EVERY, patience_ms: int = 3_000
) -> Iterator[Consumer]:
    """A consumer that reads some partitions from where their group is."""
    options = ConsumerOptions(servers=servers, topic=topic, group=f"{topic}-g", patience_ms=patience_ms)
    consumer = open_consumer(client, options)
    try:
        if begin:
            consumer.assign({one.partition: one.committed or one.first for one in look(consumer, begin)})
        yield consumer
    finally:
        consumer.close()


def send(servers: str, topic: str, *messages: tuple[int, bytes]) -> None:
    producer = KafkaProducer(bootstrap_servers=servers)
    for partition, value in messages:
        producer.send(topic, key=b"k", value=value, partition=partition)
    producer.flush()
    producer.close()


def look(consumer: Consumer, partitions: Collection[int]) -> list[Assigned]:
    """What it says of partitions, once the group's coordinator is there."""

    def found() -> list[Assigned]:
        try:
            return consumer.look(partitions)
        except UnavailableError:
            return []

    return poll_until(found)


def take(consumer: Consumer, count: int) -> list[Message]:
    found: list[Message] = []

    def enough() -> bool:
        try:
            found.extend(consumer.poll(0.1, 50))
        except UnavailableError:
            return False
        return len(found) >= count

    poll_until(enough, 40, every_s=0)
    return found


def committed(servers: str, group: str) -> dict[int, Any]:
    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        return {place.partition: at for place, at in admin.list_group_offsets(group)[group].items() if at.offset >= 0}
    finally:
        admin.close()


def test_messages_come_in_order_and_what_is_committed_is_found_again(
    client: Client, kafka_servers: str, topic: str
) -> None:
    with consuming(client, kafka_servers, topic, ()) as consumer:
        assert look(consumer, [2, 0]) == [Assigned(2, None, "", 0, 0), Assigned(0, None, "", 0, 0)]
        consumer.assign(dict.fromkeys(EVERY, 0))
        send(kafka_servers, topic, *((n % 4, b"%d" % n) for n in range(40)))
        found = take(consumer, 40)
        assert all(one == Message(topic, one.partition, one.offset, b"k", one.value) for one in found)
        by_partition = {part: [int(m.value or b"") for m in found if m.partition == part] for part in EVERY}
        assert by_partition == {part: list(range(part, 40, 4)) for part in EVERY}
        assert {part: (at.position, at.end) for part, at in consumer.progress().items()} == dict.fromkeys(
            EVERY, (10, 10)
        )
        assert consumer.topic() == Topic(topic_id(kafka_servers, topic), 4)
        consumer.commit({0: 10, 1: 4}, "a note")
        consumer.commit({2: 7}, "")
    assert {part: at.offset for part, at in committed(kafka_servers, f"{topic}-g").items()} == {0: 10, 1: 4, 2: 7}

    with consuming(client, kafka_servers, topic) as consumer:
        assert sorted((m.partition, m.offset) for m in take(consumer, 19)) == [
            *((1, n) for n in range(4, 10)),
            *((2, n) for n in range(7, 10)),
            *((3, n) for n in range(10)),
        ]
        looked = sorted(look(consumer, EVERY))
    assert [one.committed for one in looked] == [10, 4, 7, None]
    assert {one.note for one in looked} <= {"a note", ""}, "a broker may forget notes"


def test_what_is_assigned_is_all_that_is_read(client: Client, kafka_servers: str, topic: str) -> None:
    """What the client fetched of a partition before it left never comes; what goes on misses and repeats nothing."""
    send(kafka_servers, topic, *((n % 2, b"%d" % n) for n in range(400)))
    with consuming(client, kafka_servers, topic, ()) as consumer:
        assert consumer.poll(0, 50) == []
        consumer.assign({0: 0, 1: 0})
        first = take(consumer, 50)
        done = max((m.offset for m in first if m.partition == 1), default=-1) + 1
        consumer.assign({1: done, 2: 0})
        assert [(m.partition, m.offset) for m in take(consumer, 200 - done)] == [(1, n) for n in range(done, 200)]
        assert consumer.progress()[1] == Progress(200, 200)
        consumer.assign({})
        assert consumer.progress() == {}
        assert consumer.poll(0.05, 50) == []


def test_a_topic_that_is_gone_is_said(client: Client, broker: KafkaBroker | Tansu, topic: str) -> None:
    # librdkafka crashes (in a thread of its own) when Tansu deletes a topic under a fetch: there it reads nothing.
    begin = () if client == "confluent" and isinstance(broker, Tansu) else EVERY
    with consuming(client, broker.servers, topic, begin) as consumer:
        admin = KafkaAdminClient(bootstrap_servers=broker.servers)
        admin.delete_topics([topic])
        admin.close()

        def is_gone() -> bool:
            try:
                consumer.topic()
            except UnavailableError:
                return True
            return False

        poll_until(is_gone)


@pytest.mark.parametrize("broker", ["apache"], indirect=True)
def test_offsets_that_kafka_holds_no_more_are_told(client: Client, kafka_servers: str, topic: str) -> None:
    """Retention passes a reader by: it hears which partition it is, and others are read on."""
    send(kafka_servers, topic, *((n % 2, b"%d" % n) for n in range(60)))
    with consuming(client, kafka_servers, topic, ()) as consumer:
        consumer.commit({0: 5}, "a note")
        admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
        admin.delete_records({TopicPartition(topic, 0): 20})
        admin.close()
        assert look(consumer, [0]) == [Assigned(0, 5, "a note", 20, 30)]
        consumer.assign({0: 5, 1: 0})
        found: list[Message] = []

        def is_told() -> frozenset[int]:
            try:
                found.extend(consumer.poll(0.1, 50))
            except OutOfRangeError as error:
                return error.partitions
            return frozenset()

        assert poll_until(is_told, 40, every_s=0) == {0}
        consumer.assign({0: 20, 1: len(found)})
        found += take(consumer, 40 - len(found))
    assert sorted((m.partition, m.offset) for m in found) == [(0, n) for n in range(20, 30)] + [
        (1, n) for n in range(30)
    ]


@pytest.mark.parametrize("broker", ["apache"], indirect=True)
def test_a_commit_that_kafka_refuses_is_told(client: Client, kafka_servers: str, topic: str) -> None:
    with consuming(client, kafka_servers, topic) as consumer:
        send(kafka_servers, topic, (0, b"one"))
        take(consumer, 1)
        with pytest.raises(UnavailableError, match=f"topic {topic}"):
            consumer.commit({0: 1, 99: 1}, "")  # there is no such partition


@pytest.mark.parametrize("broker", ["apache"], indirect=True)
def test_a_topic_may_grow(client: Client, kafka_servers: str, topic: str) -> None:
    with consuming(client, kafka_servers, topic) as consumer:
        admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
        admin.create_partitions({topic: NewPartitions(6)})
        admin.close()
        poll_until(lambda: consumer.topic().partitions == 6)
        consumer.assign({one.partition: one.first for one in look(consumer, [0, 5])})
        send(kafka_servers, topic, (5, b"new"), (0, b"old"))
        assert sorted(message.partition for message in take(consumer, 2)) == [0, 5]


@pytest.mark.parametrize("broker", ["tansu"], indirect=True)
def test_a_broker_that_is_gone_is_not_waited_for(client: Client, topic: str, tmp_path: Path) -> None:
    """Whoever asks has a patience; those that the clients have by themselves are of half a minute and more."""
    with Tansu(free_port(), tmp_path) as mortal:
        ensure_topics(mortal.servers, topic)
        with consuming(client, mortal.servers, topic, (), patience_ms=500) as consumer:
            look(consumer, EVERY)
            consumer.commit({0: 0}, "")
            mortal.kill()
            died_s = time.monotonic()
            with pytest.raises(UnavailableError):
                consumer.commit({0: 0}, "")
            with pytest.raises(UnavailableError):
                consumer.look(EVERY)
            with pytest.raises(UnavailableError):
                consumer.topic()
    assert time.monotonic() - died_s < 25


def test_nobody_there_is_unavailable(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    options = ConsumerOptions(servers="127.0.0.1:1", topic="t", group="g")
    if client == "confluent":
        with pytest.raises(ConfigurationError, match=r"encore-features\[fast\]"):
            open_consumer(client, options)
    else:
        monkeypatch.setattr("events.kafka.python_consumer.await_broker", _refuse)
        with pytest.raises(UnavailableError, match="nobody"):
            open_consumer("auto", options)


def _refuse(*_: object, **__: object) -> str:
    raise UnavailableError("nobody")
