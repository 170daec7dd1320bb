"""Looking into a topic: what lies there, who has read how far, and that looking changes nothing."""

from collections.abc import Iterator

import pytest
from confluent_kafka import Producer
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from data.errors import DataError, UnavailableError
from events.kafka.inspector import GroupLag, Inspector
from events.kafka.topics import dead_letter_topic
from server.process.server_process import free_port


@pytest.fixture
def inspector(kafka_servers: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inspector]:
    # A page that is looked at waits two seconds, in which a broker beside other tests may not answer.
    monkeypatch.setattr("events.kafka.inspector._PATIENCE_S", 60.0)
    inspector = Inspector(kafka_servers)
    yield inspector
    inspector.close()


@pytest.fixture
def filled(kafka_servers: str, topic: str) -> str:
    """Ten messages in partition 1 of a topic, five in 2, of which a group has read the first four of 1."""
    producer = KafkaProducer(bootstrap_servers=kafka_servers)
    for number in range(15):
        partition = 1 if number < 10 else 2
        headers = [("kind", b"odd")] if number % 2 else []
        sent = producer.send(topic, f"value-{number}".encode(), b"key", headers, partition, 1_000 * (number + 1))
        sent.get(timeout=60)  # one batch each: the embedded broker names as the end the start of its last batch
    producer.close()
    reader = KafkaConsumer(bootstrap_servers=kafka_servers, group_id=f"{topic}-readers", enable_auto_commit=False)
    reader.assign([TopicPartition(topic, 1)])
    reader.commit({TopicPartition(topic, 1): OffsetAndMetadata(4, "", -1)})
    reader.close()
    return topic


@pytest.mark.parametrize("library", ["snappy", "zstd"])
def test_a_codec_that_is_not_installed_is_named_and_not_kafkas_fault(
    inspector: Inspector, topic: str, kafka_servers: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"kafka.codec.has_{library}", lambda: False)
    producer = Producer({"bootstrap.servers": kafka_servers, "compression.codec": library})
    producer.produce(topic, b"x" * 1_000, b"key", partition=1)
    producer.flush(10)
    with pytest.raises(DataError, match=f"topic {topic}: the newest messages are compressed by a codec .*{library}"):
        inspector.newest(topic)
    assert {one.end for one in inspector.partitions() if one.topic == topic} == {0, 1}, "the rest can be looked at"


def test_it_tells_what_lies_where_and_how_far_groups_are(inspector: Inspector, filled: str) -> None:
    ranges = inspector.partitions()
    ours = [one for one in ranges if one.topic == filled]
    assert [(one.partition, one.first, one.end, one.messages) for one in ours] == [
        (0, 0, 0, 0),
        (1, 0, 10, 10),
        (2, 0, 5, 5),
        (3, 0, 0, 0),
    ]
    assert dead_letter_topic(filled) in {one.topic for one in ranges}
    groups = [one for one in inspector.groups(ranges) if one.topic == filled]
    assert groups == [GroupLag(f"{filled}-readers", filled, 1, 4, 6)]


def test_it_tells_how_many_messages_wait_for_a_group(inspector: Inspector, filled: str, kafka_servers: str) -> None:
    assert inspector.waiting(filled, f"{filled}-readers") == 11
    assert inspector.waiting(filled, "nobody") == 15
    assert inspector.waiting("no such topic", f"{filled}-readers") == 0
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    admin.delete_records({TopicPartition(filled, 1): 6})
    admin.close()
    assert inspector.waiting(filled, f"{filled}-readers") == 9, "what Kafka has deleted does not wait"


def test_the_newest_messages_come_newest_first_with_all_that_they_carry(inspector: Inspector, filled: str) -> None:
    newest = inspector.newest(filled, 7)
    assert [message.value for message in newest] == [f"value-{number}".encode() for number in range(14, 7, -1)]
    assert [message.partition for message in newest] == [2] * 5 + [1] * 2
    last = newest[0]
    assert (last.key, last.offset, last.timestamp_us) == (b"key", 4, 15_000_000)
    assert newest[1].headers == (("kind", b"odd"),)
    assert inspector.newest(filled, 7) == newest
    assert inspector.newest(dead_letter_topic(filled)) == []


def test_what_a_producer_has_taken_back_or_not_finished_is_no_message(
    inspector: Inspector, topic: str, kafka_servers: str
) -> None:
    producer = Producer({"bootstrap.servers": kafka_servers, "transactional.id": topic})
    producer.init_transactions(30)
    for value, end in ((b"kept", producer.commit_transaction), (b"aborted", producer.abort_transaction)):
        producer.begin_transaction()
        producer.produce(topic, value, b"key", partition=1)
        producer.flush(10)
        end(30)
    assert [message.value for message in inspector.newest(topic)] == [b"kept"]
    producer.begin_transaction()
    producer.produce(topic, b"open", b"key", partition=1)
    producer.flush(10)
    assert [message.value for message in inspector.newest(topic)] == [b"kept"]
    producer.abort_transaction(30)


def test_messages_that_do_not_come_are_not_shown_as_none(
    inspector: Inspector, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(inspector.newest(filled)) == 15
    monkeypatch.setattr("events.kafka.inspector._PATIENCE_S", 0.2)
    monkeypatch.setattr(KafkaConsumer, "poll", lambda *_, **__: {})  # a broker that stands still is not had at will
    with pytest.raises(UnavailableError, match=r"no message within 0\.2 s"):
        inspector.newest(filled)


def test_a_topic_that_is_not_there_has_no_messages(inspector: Inspector) -> None:
    assert inspector.newest("no-such-topic") == []
    assert "no-such-topic" not in {one.topic for one in inspector.partitions()}


def test_without_kafka_it_says_what_to_do() -> None:
    nobody = Inspector(f"127.0.0.1:{free_port()}", wait_s=0.1)
    with pytest.raises(UnavailableError, match=r"encore infra.*KAFKA_SERVERS"):
        nobody.partitions()
    with pytest.raises(UnavailableError):
        nobody.newest("events")
