"""A member of a consumer group over a real broker, by both of Kafka's group protocols."""

import time
from pathlib import Path
from typing import Any

import pytest
from classic_only import ClassicOnly
from confluent_kafka import Producer
from group_member import foreign_member, member
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import NewPartitions
from polling import poll_until

from data.errors import ConfigurationError, UnavailableError
from events.kafka.access import GroupProtocol
from events.kafka.consumer import (
    Assigned,
    ConsumerOptions,
    Message,
    OutOfRangeError,
    Progress,
    Topic,
    UnsupportedProtocolError,
    read_offsets,
)
from events.kafka.topics import ensure_topics, topic_id
from server.process.kafka_broker import KafkaBroker
from server.process.server_process import free_port

EVERY = {0, 1, 2, 3}
PROTOCOLS: list[GroupProtocol] = ["consumer", "classic"]


def send(servers: str, topic: str, *messages: tuple[int, bytes]) -> None:
    producer = KafkaProducer(bootstrap_servers=servers)
    for partition, value in messages:
        producer.send(topic, key=b"k", value=value, partition=partition)
    producer.flush()
    producer.close()


def committed(servers: str, group: str) -> dict[int, Any]:
    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        return {place.partition: at for place, at in admin.list_group_offsets(group)[group].items() if at.offset >= 0}
    finally:
        admin.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_messages_come_in_order_and_what_is_committed_is_found_again(
    protocol: GroupProtocol, kafka_servers: str, topic: str
) -> None:
    with member(kafka_servers, topic, protocol) as one:
        assert one.await_share(4) == EVERY
        assert one.consumer.look([2]) == [Assigned(2, None, "", 0, 0)]
        send(kafka_servers, topic, *((n % 4, b"%d" % n) for n in range(40)))
        found = one.take(40)
        assert all(it == Message(topic, it.partition, it.offset, b"k", it.value) for it in found)
        by_partition = {part: [int(m.value or b"") for m in found if m.partition == part] for part in EVERY}
        assert by_partition == {part: list(range(part, 40, 4)) for part in EVERY}
        assert one.consumer.progress() == dict.fromkeys(EVERY, Progress(10, 10))
        assert one.consumer.topic() == Topic(topic_id(kafka_servers, topic), 4)
        one.consumer.commit({0: 10, 1: 4}, "a note")
        one.consumer.commit({2: 7}, "")
    assert {part: at.offset for part, at in committed(kafka_servers, f"{topic}-g").items()} == {0: 10, 1: 4, 2: 7}

    with member(kafka_servers, topic, protocol) as one:
        assert sorted((m.partition, m.offset) for m in one.take(19)) == [
            *((1, n) for n in range(4, 10)),
            *((2, n) for n in range(7, 10)),
            *((3, n) for n in range(10)),
        ]
        looked = sorted(one.consumer.look(EVERY))
    assert [(at.committed, at.note) for at in looked] == [(10, "a note"), (4, "a note"), (7, ""), (None, "")]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_partitions_move_one_by_one_and_are_committed_before(
    protocol: GroupProtocol, kafka_servers: str, topic: str
) -> None:
    """
    first      0 1 2 3 | keeps two, and reads on | 0 1 2 3
    second             | the others              | leaves
    """
    send(kafka_servers, topic, *((n % 4, b"%d" % n) for n in range(40)))
    with member(kafka_servers, topic, protocol) as first:
        first.await_share(4)
        first.take(40)
        with member(kafka_servers, topic, protocol) as second:

            def shared() -> bool:
                first.turn()
                second.turn()
                return len(first.consumer.reading) == len(second.consumer.reading) == 2

            poll_until(shared, 60, every_s=0)
            assert first.consumer.reading | second.consumer.reading == EVERY
            kept = first.consumer.reading
            assert {what for what, some in first.heard if some & kept} == {"assigned"}, "what stays is not touched"
            assert {
                number: at.offset for number, at in committed(kafka_servers, f"{topic}-g").items()
            } == dict.fromkeys(EVERY - kept, 10)
            send(kafka_servers, topic, *((n % 4, b"%d" % n) for n in range(40, 80)))
            poll_until(
                lambda: (first.turn() and False) or (second.turn() and False) or len(second.taken) == 20, 40, every_s=0
            )
        first.await_share(4)
        poll_until(lambda: (first.turn() and False) or len(first.taken) >= 60, 40, every_s=0)
    taken = sorted((m.partition, m.offset) for m in first.taken + second.taken)
    assert sorted(set(taken)) == [(part, n) for part in EVERY for n in range(20)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_dropped_is_read_no_more_and_begins_where_it_is_told(
    protocol: GroupProtocol, kafka_servers: str, topic: str
) -> None:
    """What the client fetched of a partition before it left never comes; what goes on misses and repeats nothing."""
    send(kafka_servers, topic, *((n % 2, b"%d" % n) for n in range(400)))
    with member(kafka_servers, topic, protocol) as one:
        one.await_share(4)
        one.take(50)
        first = [m for m in one.taken if m.partition == 1]
        one.consumer.drop({0})
        one.consumer.begin({1: len(first)})
        rest = one.take(200 - len(first))
        assert [(m.partition, m.offset) for m in rest] == [(1, n) for n in range(len(first), 200)]
        one.consumer.pause()
        send(kafka_servers, topic, (1, b"later"))
        assert [one.consumer.poll(0.1, 50) for _ in range(5)] == [[]] * 5
        one.consumer.resume()
        assert [m.value for m in one.take(1)] == [b"later"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_dropped_while_paused_is_read_when_it_is_begun_again(
    protocol: GroupProtocol, kafka_servers: str, topic: str
) -> None:
    """A pause outlived the assignment, and a worker stood still for good in which a message had come just then."""
    send(kafka_servers, topic, *((1, b"%d" % n) for n in range(4)))
    with member(kafka_servers, topic, protocol) as one:
        one.await_share(4)
        one.take(4)
        one.consumer.pause()
        one.consumer.drop({1})
        one.consumer.begin({1: 2})
        one.consumer.resume()
        assert [m.offset for m in one.take(2)] == [2, 3]
        one.consumer.pause()
        one.consumer.drop({1})
        one.consumer.resume()
        one.consumer.begin({1: 2})
        assert [m.offset for m in one.take(2)] == [2, 3]


def test_offsets_that_kafka_holds_no_more_are_named(kafka_servers: str, topic: str) -> None:
    """Retention passes a reader by: it hears which partition it is, and others are read on."""
    send(kafka_servers, topic, *((n % 2, b"%d" % n) for n in range(60)))
    with member(kafka_servers, topic, "consumer") as one:
        one.await_share(4)
        one.consumer.commit({0: 5}, "a note")
        one.consumer.drop(EVERY)
        admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
        admin.delete_records({TopicPartition(topic, 0): 20})
        admin.close()
        assert one.consumer.look([0]) == [Assigned(0, 5, "a note", 20, 30)]
        one.taken.clear()
        one.consumer.begin({0: 5, 1: 0})

        def named() -> frozenset[int]:
            try:
                one.turn()
            except OutOfRangeError as error:
                return error.partitions
            return frozenset()

        assert poll_until(named, 40, every_s=0) == {0}
        one.consumer.begin({0: 20})
        one.take(40 - len(one.taken))
    assert sorted((m.partition, m.offset) for m in one.taken) == [(0, n) for n in range(20, 30)] + [
        (1, n) for n in range(30)
    ]


def test_a_commit_that_kafka_refuses_is_an_error(kafka_servers: str, topic: str) -> None:
    with member(kafka_servers, topic, "consumer") as one:
        one.await_share(4)
        with pytest.raises(UnavailableError, match=f"topic {topic}"):
            one.consumer.commit({0: 1, 99: 1}, "")  # there is no such partition
        one.consumer.commit({0: 0}, "")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_partitions_that_are_added_are_assigned(protocol: GroupProtocol, kafka_servers: str, topic: str) -> None:
    with member(kafka_servers, topic, protocol) as one:
        one.await_share(4)
        admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
        admin.create_partitions({topic: NewPartitions(6)})
        admin.close()
        one.await_share(6)
        assert one.consumer.topic().partitions == 6
        send(kafka_servers, topic, (5, b"new"), (0, b"old"))
        assert sorted(message.partition for message in one.take(2)) == [0, 5]


def test_messages_of_an_aborted_transaction_do_not_exist(kafka_servers: str, topic: str) -> None:
    for value, commits in ((b"kept", True), (b"aborted", False), (b"last", True)):
        producer = Producer({"bootstrap.servers": kafka_servers, "transactional.id": f"{topic}-{value.decode()}"})
        producer.init_transactions(30)
        producer.begin_transaction()
        producer.produce(topic, value, partition=0)
        producer.flush(10)
        if commits:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)
    with member(kafka_servers, topic, "consumer") as one:
        found = one.take(2)
        options = one.options
    assert [(m.value, m.offset) for m in found] == [(b"kept", 0), (b"last", 4)], "offsets in between are markers"
    again = [m.value for messages in read_offsets(options, 0, range(6)) for m, _ in messages]
    assert again == [b"kept", b"last"]


def test_a_range_of_offsets_is_read_beside_the_group(kafka_servers: str, topic: str) -> None:
    send(kafka_servers, topic, *((0, b"%d" % n) for n in range(30)))
    before_us = time.time_ns() // 1000
    options = ConsumerOptions(servers=kafka_servers, topic=topic, group=f"{topic}-g")
    found = [pair for messages in read_offsets(options, 0, range(7, 12)) for pair in messages]
    assert [message.offset for message, _ in found] == [7, 8, 9, 10, 11]
    assert all(before_us - 60_000_000 < at_us <= before_us for _, at_us in found)
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    admin.delete_records({TopicPartition(topic, 0): 20})
    admin.close()
    with pytest.raises(UnavailableError, match=topic):
        list(read_offsets(options, 0, range(7, 12)))


def test_a_group_of_another_program_is_refused(kafka_servers: str, topic: str) -> None:
    refused = pytest.raises(ConfigurationError, match=f"{topic}-g: another program")
    with foreign_member(kafka_servers, f"{topic}-g"), member(kafka_servers, topic, "classic") as one, refused:
        one.await_share(4)


def test_a_topic_that_is_gone_is_unavailable(kafka_servers: str, topic: str) -> None:
    with member(kafka_servers, topic, "consumer") as one:
        one.await_share(4)
        admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
        admin.delete_topics([topic])
        admin.close()

        def is_gone() -> bool:
            try:
                one.consumer.topic()
            except UnavailableError:
                return True
            return False

        poll_until(is_gone)


def test_a_protocol_that_the_broker_forbids_is_named(kafka_jars: Path, tmp_path: Path) -> None:
    with ClassicOnly(free_port(), tmp_path, jars=kafka_jars) as broker:
        ensure_topics(broker.servers, "t")
        with member(broker.servers, "t", "consumer") as one, pytest.raises(UnsupportedProtocolError):
            one.await_share(4)
        with member(broker.servers, "t", "classic") as one:
            one.await_share(4)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_broker_that_is_gone_is_not_waited_for(protocol: GroupProtocol, kafka_jars: Path, tmp_path: Path) -> None:
    """Whoever asks has a patience; those that the client has by itself are of half a minute and more."""
    with KafkaBroker(free_port(), tmp_path, jars=kafka_jars) as mortal:
        ensure_topics(mortal.servers, "t")
        with member(mortal.servers, "t", protocol, patience_ms=500) as one:
            one.await_share(4)
            one.consumer.commit({0: 0}, "")
            mortal.kill()
            died_s = time.monotonic()
            for ask in (lambda: one.consumer.commit({0: 0}, ""), lambda: one.consumer.look(EVERY), one.consumer.topic):
                with pytest.raises(UnavailableError):
                    ask()
            assert one.consumer.progress().keys() == EVERY
    assert time.monotonic() - died_s < 25
