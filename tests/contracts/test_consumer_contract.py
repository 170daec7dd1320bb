"""What every member of a group promises: in memory, and of Kafka by both of its group protocols."""

import hashlib
import time
from collections.abc import Iterator
from typing import Protocol

import pytest
from group_member import Member, joined
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import NewPartitions
from polling import poll_until

from data.errors import OutOfRangeError, UnavailableError
from data.event import Rejection
from events.kafka.access import GroupProtocol
from events.kafka.connection import Assigned, GroupMember, Message, Progress, Topic
from events.kafka.consumer import Consumer, ConsumerOptions, read_offsets
from events.kafka.memory import MemoryConsumer, MemoryTopic
from events.kafka.topics import LARGEST_BATCH, topic_id

EVERY = {0, 1, 2, 3}


class Subject(Protocol):
    """A topic of four partitions, and a group that reads it."""

    name: str

    def consumer(self) -> GroupMember:
        """Another member to be."""

    def topic(self) -> Topic:
        """What the topic is."""

    def send(self, *messages: tuple[int, bytes]) -> None:
        """Send values under the key `k`, each to its partition."""

    def drop_before(self, partition: int, offset: int) -> None:
        """Let retention drop what is before an offset."""

    def add_partitions(self, partitions: int) -> None:
        """Have so many from now on."""

    def committed(self) -> dict[int, int]:
        """How far the group has committed each partition."""

    def read(self, partition: int, offsets: range) -> Iterator[list[Message]]:
        """Messages and their times, beside the group."""


class InMemory:
    def __init__(self) -> None:
        self.name = "events"
        self._topic = MemoryTopic(self.name)
        self.drop_before, self.add_partitions = self._topic.drop_before, self._topic.add_partitions
        self.read = self._topic.read

    def consumer(self) -> GroupMember:
        return MemoryConsumer(self._topic, "g")

    def topic(self) -> Topic:
        return self._topic.topic

    def send(self, *messages: tuple[int, bytes]) -> None:
        for partition, value in messages:
            self._topic.send(b"k", value, partition)

    def committed(self) -> dict[int, int]:
        return {number: offset for number, (offset, _) in self._topic.committed("g").items()}


class OnKafka:
    def __init__(self, servers: str, topic: str, protocol: GroupProtocol) -> None:
        self.name = topic
        self._servers = servers
        self._options = ConsumerOptions(servers=servers, topic=topic, group=f"{topic}-g", protocol=protocol)

    def consumer(self) -> GroupMember:
        return Consumer(self._options)

    def topic(self) -> Topic:
        return Topic(topic_id(self._servers, self.name), 4)

    def send(self, *messages: tuple[int, bytes]) -> None:
        producer = KafkaProducer(bootstrap_servers=self._servers, compression_type="gzip", max_request_size=2**24)
        for partition, value in messages:
            producer.send(self.name, key=b"k", value=value, partition=partition)
        producer.flush()
        producer.close()

    def drop_before(self, partition: int, offset: int) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self._servers)
        admin.delete_records({TopicPartition(self.name, partition): offset})
        admin.close()

    def add_partitions(self, partitions: int) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self._servers)
        admin.create_partitions({self.name: NewPartitions(partitions)})
        admin.close()

    def committed(self) -> dict[int, int]:
        group = self._options.group
        admin = KafkaAdminClient(bootstrap_servers=self._servers)
        try:
            found = admin.list_group_offsets(group)[group].items()
            return {place.partition: at.offset for place, at in found if at.offset >= 0}
        finally:
            admin.close()

    def read(self, partition: int, offsets: range) -> Iterator[list[Message]]:
        return read_offsets(self._options, partition, offsets)


PROTOCOLS: dict[str, GroupProtocol] = {"kafka": "consumer", "classic kafka": "classic"}


@pytest.fixture(params=["memory", *PROTOCOLS])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "memory":
        return InMemory()
    servers, topic = request.getfixturevalue("kafka_servers"), request.getfixturevalue("topic")
    return OnKafka(servers, topic, PROTOCOLS[request.param])


def test_messages_come_in_order_and_what_is_committed_is_found_again(subject: Subject) -> None:
    with joined(subject.consumer()) as one:
        assert one.await_share(4) == EVERY
        assert one.consumer.member_id
        assert one.consumer.look([2]) == [Assigned(2, None, "", 0, 0)]
        subject.send(*((n % 4, b"%d" % n) for n in range(40)))
        found = one.take(40)
        assert all(it == Message(subject.name, it.partition, it.offset, b"k", it.value, at_us=it.at_us) for it in found)
        assert all(abs((it.at_us or 0) - time.time_ns() // 1000) < 60_000_000 for it in found)
        by_partition = {part: [int(m.value or b"") for m in found if m.partition == part] for part in EVERY}
        assert by_partition == {part: list(range(part, 40, 4)) for part in EVERY}
        assert one.consumer.progress() == dict.fromkeys(EVERY, Progress(10, 10))
        assert one.consumer.topic() == subject.topic()
        one.consumer.commit({0: 10, 1: 4}, "a note")
        one.consumer.commit({2: 7}, "")
    assert subject.committed() == {0: 10, 1: 4, 2: 7}

    with joined(subject.consumer()) as one:
        assert sorted((m.partition, m.offset) for m in one.take(19)) == [
            *((1, n) for n in range(4, 10)),
            *((2, n) for n in range(7, 10)),
            *((3, n) for n in range(10)),
        ]
        looked = sorted(one.consumer.look(EVERY))
    assert [(at.committed, at.note) for at in looked] == [(10, "a note"), (4, "a note"), (7, ""), (None, "")]


@pytest.mark.long
def test_partitions_move_one_by_one_and_are_committed_before(subject: Subject) -> None:
    """
    first      0 1 2 3 | keeps two, and reads on | 0 1 2 3
    second             | the others              | leaves
    """
    subject.send(*((n % 4, b"%d" % n) for n in range(40)))
    with joined(subject.consumer()) as first:
        first.await_share(4)
        first.take(40)
        with joined(subject.consumer()) as second:

            def shared() -> bool:
                first.turn()
                second.turn()
                return len(first.consumer.reading) == len(second.consumer.reading) == 2

            poll_until(shared, 60, every_s=0)
            assert first.consumer.reading | second.consumer.reading == EVERY
            kept = first.consumer.reading
            assert {what for what, some in first.heard if some & kept} == {"assigned"}, "what stays is not touched"
            assert subject.committed() == dict.fromkeys(EVERY - kept, 10)
            subject.send(*((n % 4, b"%d" % n) for n in range(40, 80)))
            poll_until(
                lambda: (first.turn() and False) or (second.turn() and False) or len(second.taken) == 20, 40, every_s=0
            )
        first.await_share(4)
        poll_until(lambda: (first.turn() and False) or len(first.taken) >= 60, 40, every_s=0)
    taken = sorted((m.partition, m.offset) for m in first.taken + second.taken)
    assert sorted(set(taken)) == [(part, n) for part in EVERY for n in range(20)]


def test_what_is_dropped_is_read_no_more_and_begins_where_it_is_told(subject: Subject) -> None:
    """What was fetched of a partition before it left never comes; what goes on misses and repeats nothing."""
    subject.send(*((n % 2, b"%d" % n) for n in range(400)))
    with joined(subject.consumer()) as one:
        one.await_share(4)
        one.take(50)
        first = [m for m in one.taken if m.partition == 1]
        one.consumer.drop({0})
        one.consumer.begin({1: len(first)})
        rest = one.take(200 - len(first))
        assert [(m.partition, m.offset) for m in rest] == [(1, n) for n in range(len(first), 200)]
        assert 0 not in one.consumer.reading
        subject.send((1, b"later"))
        assert [m.value for m in one.take(1)] == [b"later"]


def test_no_more_messages_come_at_once_than_are_asked_for(subject: Subject) -> None:
    subject.send(*((n % 4, b"%d" % n) for n in range(40)))
    with joined(subject.consumer()) as one:
        one.await_share(4)
        sizes = []
        while len(one.taken) < 40:
            found = one.consumer.poll(1.0, 7)
            sizes.append(len(found))
            one.taken += found
    assert max(sizes) <= 7
    assert sorted((m.partition, m.offset) for m in one.taken) == [(part, n) for part in EVERY for n in range(10)]


def test_of_a_large_message_the_beginning_comes_with_its_size(subject: Subject) -> None:
    """It has been unpacked: nobody holds it for longer than it takes to see that it is none of ours."""
    values = [b"small", b"0" * (LARGEST_BATCH + 1), b"next"]
    subject.send(*((0, value) for value in values))
    with joined(subject.consumer()) as member:
        member.await_share(4)
        polled = member.take(3)
    beside = [message for messages in subject.read(0, range(3)) for message in messages]
    for found in (polled, beside):
        assert [one.value for one in found] == [b"small", b"0" * 1024, b"next"]
        assert [dict(one.cut).get("value_bytes") for one in found] == [None, b"1048577", None]
        assert dict(found[1].cut)["value_sha256"].decode() == hashlib.sha256(values[1]).hexdigest()
        assert found[1].refusal() == Rejection("too_large", "1048577 bytes; an event has at most 65536")


def test_who_polls_waits_for_the_first_message_and_no_longer(subject: Subject) -> None:
    with joined(subject.consumer()) as one:
        one.await_share(4)
        for _ in range(10):  # if each waited as long as a client does by itself, they would outlast the test
            began_s = time.monotonic()
            assert one.consumer.poll(0.3, 50) == []
            assert time.monotonic() - began_s > 0.25
        for _ in range(20):  # and so would these, if each poll waited to its end
            subject.send((2, b"here"))
            assert [m.value for m in one.consumer.poll(20.0, 50)] == [b"here"]


@pytest.mark.parametrize("start", [5, 31])
def test_offsets_that_are_not_held_are_named(subject: Subject, start: int) -> None:
    """Retention passes a reader by, or it begins past the end: it hears of which partition, and others are read on."""
    subject.send(*((n % 2, b"%d" % n) for n in range(60)))
    with joined(subject.consumer()) as one:
        one.await_share(4)
        one.consumer.commit({0: 5}, "a note")
        one.consumer.drop(EVERY)
        subject.drop_before(0, 20)
        assert one.consumer.look([0]) == [Assigned(0, 5, "a note", 20, 30)]
        one.taken.clear()
        one.consumer.begin({0: start, 1: 0})

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


def test_a_commit_that_is_refused_is_an_error(subject: Subject) -> None:
    with joined(subject.consumer()) as one:
        one.await_share(4)
        with pytest.raises(UnavailableError, match=f"topic {subject.name}"):
            one.consumer.commit({0: 1, 99: 1}, "")  # there is no such partition
        one.consumer.commit({0: 0}, "")
    assert subject.committed() == {0: 0}


@pytest.mark.long
def test_partitions_that_are_added_are_assigned(subject: Subject) -> None:
    with joined(subject.consumer()) as one:
        one.await_share(4)
        subject.add_partitions(6)
        one.await_share(6)
        assert one.consumer.topic().partitions == 6
        subject.send((5, b"new"), (0, b"old"))
        assert sorted(message.partition for message in one.take(2)) == [0, 5]


def test_what_a_listener_raises_the_next_poll_raises(subject: Subject) -> None:
    class Broken(Member):
        def assigned(self, partitions: frozenset[int]) -> None:
            super().assigned(partitions)
            raise ValueError("not today")

    one = Broken(subject.consumer())
    one.consumer.join(one)
    try:

        def raised() -> bool:
            try:
                one.turn()
            except ValueError as error:
                return str(error) == "not today"
            return False

        poll_until(raised, 40, every_s=0)
        assert one.await_share(4) == EVERY
    finally:
        one.consumer.close()


def test_a_range_of_offsets_is_read_beside_the_group(subject: Subject) -> None:
    subject.send(*((0, b"%d" % n) for n in range(30)))
    before_us = time.time_ns() // 1000
    found = [message for messages in subject.read(0, range(7, 12)) for message in messages]
    assert [message.offset for message in found] == [7, 8, 9, 10, 11]
    assert all(before_us - 60_000_000 < (message.at_us or 0) <= before_us for message in found)
    assert [m.offset for messages in subject.read(0, range(28, 40)) for m in messages] == [28, 29]
    subject.drop_before(0, 20)
    with pytest.raises(UnavailableError, match=subject.name):
        list(subject.read(0, range(7, 12)))
