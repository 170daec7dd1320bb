"""What a worker asks of a Kafka client, asked of both clients over each broker."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from polling import poll_until

from data.errors import ConfigurationError, UnavailableError
from events.consumer import Assigned, Client, Consumer, ConsumerOptions, Message, NameTakenError, open_consumer
from events.topics import topic_id

pytestmark = pytest.mark.parametrize("client", ["confluent", "kafka-python"])

EVERY = {0, 1, 2, 3}


class Reader:
    """An owner that begins where it is told, and remembers what it heard."""

    note = "a note"

    def __init__(self, begin: dict[int, int] | None = None) -> None:
        self.begin = begin or {}
        self.heard: list[list[Assigned]] = []
        self.refused = 0
        self.done: dict[int, int] = {}

    def assigned(self, partitions: list[Assigned]) -> dict[int, int]:
        if self.refused:
            self.refused -= 1
            raise UnavailableError("not yet")
        self.heard.append(sorted(partitions))
        return {one.partition: self.begin.get(one.partition, one.committed or one.first) for one in partitions}

    def revoked(self) -> dict[int, int]:
        return self.done

    def lost(self) -> None:
        pass


@contextmanager
def consuming(
    client: Client, servers: str, topic: str, owner: Reader, group: str = "g", member: str | None = None
) -> Iterator[Consumer]:
    options = ConsumerOptions(servers=servers, topic=topic, group=f"{topic}-{group}", most=50, member=member)
    consumer = open_consumer(client, options, owner)
    try:
        yield consumer
    finally:
        consumer.close()


def send(servers: str, topic: str, *messages: tuple[int, bytes]) -> None:
    producer = KafkaProducer(bootstrap_servers=servers)
    for partition, value in messages:
        producer.send(topic, key=b"k", value=value, partition=partition)
    producer.flush()
    producer.close()


def take(consumer: Consumer, count: int) -> list[Message]:
    found: list[Message] = []

    def enough() -> bool:
        try:
            found.extend(consumer.poll(0.1))
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


def test_messages_come_in_order_and_what_is_committed_does_not_come_again(
    client: Client, kafka_servers: str, topic: str
) -> None:
    owner = Reader()
    owner.refused = 1  # the first time it cannot say where to begin
    with consuming(client, kafka_servers, topic, owner) as consumer:
        send(kafka_servers, topic, *((n % 4, b"%d" % n) for n in range(40)))
        found = take(consumer, 40)
        assert all(one == Message(topic, one.partition, one.offset, b"k", one.value) for one in found)
        by_partition = {part: [int(m.value or b"") for m in found if m.partition == part] for part in EVERY}
        assert by_partition == {part: list(range(part, 40, 4)) for part in EVERY}
        assert {part: (at.position, at.end) for part, at in consumer.progress().items()} == dict.fromkeys(
            EVERY, (10, 10)
        )
        assert [one.partition for one in owner.heard[-1]] == [0, 1, 2, 3]
        assert all((one.committed, one.note, one.first) == (None, "", 0) for one in owner.heard[-1])
        assert consumer.topic_id() == topic_id(kafka_servers, topic)
        consumer.commit({0: 10, 1: 4}, "a note")
        owner.done = {2: 7}  # what is said at the farewell is committed too
    assert {part: at.offset for part, at in committed(kafka_servers, f"{topic}-g").items()} == {0: 10, 1: 4, 2: 7}

    again = Reader({3: 9})
    with consuming(client, kafka_servers, topic, again) as consumer:
        assert sorted((m.partition, m.offset) for m in take(consumer, 10)) == [
            *((1, n) for n in range(4, 10)),
            *((2, n) for n in range(7, 10)),
            (3, 9),
        ]
    assert [one.committed for one in again.heard[-1]] == [10, 4, 7, None]
    assert {one.note for one in again.heard[-1]} <= {"a note", ""}, "a broker may forget notes"


def test_a_topic_that_is_gone_is_said(client: Client, kafka_servers: str, topic: str) -> None:
    with consuming(client, kafka_servers, topic, Reader()) as consumer:
        admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
        admin.delete_topics([topic])
        admin.close()

        def is_gone() -> bool:
            try:
                consumer.topic_id()
            except UnavailableError:
                return True
            return False

        poll_until(is_gone)


@pytest.mark.parametrize("broker", ["apache"], indirect=True)
def test_offsets_that_kafka_holds_no_more_are_asked_about(client: Client, kafka_servers: str, topic: str) -> None:
    """Retention passes a reader by: the owner is asked again, and told of the first offset that there is."""
    owner = Reader()
    with consuming(client, kafka_servers, topic, owner) as consumer:
        send(kafka_servers, topic, *((0, b"%d" % n) for n in range(30)))
        take(consumer, 30)
        consumer.commit({0: 5}, "a note")
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    admin.delete_records({TopicPartition(topic, 0): 20})
    admin.close()
    late = Reader({0: 5})
    with consuming(client, kafka_servers, topic, late) as consumer:
        found: list[Message] = []

        def asked_again() -> bool:
            found.extend(consumer.poll(0.1))
            late.begin = {0: 20} if late.heard else late.begin
            return len(late.heard) >= 2 and len(found) >= 10

        poll_until(asked_again, 40, every_s=0)
    assert [m.offset for m in found] == list(range(20, 30))
    assert late.heard[0][0] == Assigned(0, 5, "a note", 20, 30)


@pytest.mark.parametrize("broker", ["apache"], indirect=True)
def test_a_commit_that_kafka_refuses_is_told(client: Client, kafka_servers: str, topic: str) -> None:
    owner = Reader()
    with consuming(client, kafka_servers, topic, owner) as consumer:
        send(kafka_servers, topic, (0, b"one"))
        take(consumer, 1)
        with pytest.raises(UnavailableError, match=f"topic {topic}"):
            consumer.commit({0: 1, 99: 1}, "")  # there is no such partition


@pytest.mark.parametrize("broker", ["apache"], indirect=True)
def test_a_static_member_comes_back_to_its_partitions(client: Client, kafka_servers: str, topic: str) -> None:
    """One comes back under its name before its session is over: the other one hears of nothing. Whose name is taken
    meanwhile is told so."""
    steady, first, second = Reader(), Reader(), Reader()

    def parts(owner: Reader) -> set[int]:
        return {one.partition for one in owner.heard[-1]} if owner.heard else set()

    with (
        consuming(client, kafka_servers, topic, steady, member="steady") as other,
        consuming(client, kafka_servers, topic, first, member="again") as taken,
    ):

        def shared() -> bool:
            other.poll(0.05)
            taken.poll(0.05)
            return len(parts(steady)) == len(parts(first)) == 2

        poll_until(shared, 40, every_s=0)
        heard = len(steady.heard)
        with consuming(client, kafka_servers, topic, second, member="again") as successor:

            def back() -> bool:
                other.poll(0.05)
                successor.poll(0.05)
                return bool(second.heard)

            poll_until(back, 40, every_s=0)
            assert parts(second) == parts(first)
            assert len(steady.heard) == heard

            def told() -> bool:
                taken.poll(0.05)
                taken.commit({min(parts(first)): 0}, "")
                return False

            with pytest.raises(NameTakenError, match="the place of again in the group"):
                poll_until(told, 40, every_s=0)
            with pytest.raises(NameTakenError):
                taken.poll(0)


def test_a_name_that_kafka_refuses(client: Client) -> None:
    with pytest.raises(ConfigurationError, match="worker name 'a b': use up to 249 letters"):
        ConsumerOptions(servers="127.0.0.1:1", topic="t", group=client, member="a b")


def test_nobody_there_is_unavailable(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    options = ConsumerOptions(servers="127.0.0.1:1", topic="t", group="g")
    if client == "confluent":
        with pytest.raises(ConfigurationError, match=r"encore-features\[fast\]"):
            open_consumer(client, options, Reader())
    else:
        monkeypatch.setattr("events.python_consumer.await_broker", _refuse)
        with pytest.raises(UnavailableError, match="nobody"):
            open_consumer("auto", options, Reader())


def _refuse(*_: object, **__: object) -> str:
    raise UnavailableError("nobody")
