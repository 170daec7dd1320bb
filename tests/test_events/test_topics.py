"""Topics: made once, found again, told apart by their id; an absent broker is named."""

import pytest
from confluent_kafka import KafkaError, Producer
from kafka import KafkaAdminClient

from data.errors import ConfigurationError, UnavailableError
from events.kafka.topics import (
    EVENTS_TOPIC,
    LARGEST_BATCH,
    await_broker,
    dead_letter_topic,
    ensure_topics,
    topic_id,
)
from server.process.server_process import free_port


def test_names() -> None:
    assert EVENTS_TOPIC == "ecommerce-events"
    assert dead_letter_topic() == "ecommerce-events.dead-letter"
    assert dead_letter_topic("other") == "other.dead-letter"


def test_topics_are_made_with_their_partitions(kafka_servers: str) -> None:
    assert ensure_topics(kafka_servers, "made", partitions=3) == 3
    assert _partitions(kafka_servers, "made") == 3
    assert _partitions(kafka_servers, "made.dead-letter") == 1


@pytest.mark.parametrize("bytes_of_batch", [LARGEST_BATCH - 4_096, LARGEST_BATCH + 1])
def test_a_batch_has_a_bound(kafka_servers: str, bytes_of_batch: int) -> None:
    """It may become a thousand times as much in the memory of whoever reads it."""
    ensure_topics(kafka_servers, "bound", partitions=1)
    refused: list[KafkaError | None] = []
    producer = Producer({"bootstrap.servers": kafka_servers, "message.max.bytes": 4 * LARGEST_BATCH})
    producer.produce("bound", bytes(bytes_of_batch), on_delivery=lambda error, _: refused.append(error))
    producer.flush(30)
    (error,) = refused
    assert (error and error.code()) == (KafkaError.MSG_SIZE_TOO_LARGE if bytes_of_batch > LARGEST_BATCH else None)


def test_making_topics_again_changes_nothing(kafka_servers: str) -> None:
    ensure_topics(kafka_servers, "again", partitions=2)
    before = topic_id(kafka_servers, "again")
    assert ensure_topics(kafka_servers, "again", partitions=8) == 2
    assert topic_id(kafka_servers, "again") == before


def test_a_missing_dead_letter_topic_is_added(kafka_servers: str) -> None:
    ensure_topics(kafka_servers, "half")
    _delete(kafka_servers, "half.dead-letter")
    before = topic_id(kafka_servers, "half")
    ensure_topics(kafka_servers, "half")
    assert topic_id(kafka_servers, "half") == before
    assert _partitions(kafka_servers, "half.dead-letter") == 1


def test_a_recreated_topic_has_another_id(kafka_servers: str) -> None:
    ensure_topics(kafka_servers, "phoenix")
    before = topic_id(kafka_servers, "phoenix")
    assert len(before) == 16
    _delete(kafka_servers, "phoenix")
    ensure_topics(kafka_servers, "phoenix")
    assert topic_id(kafka_servers, "phoenix") != before


def test_the_id_of_a_missing_topic(kafka_servers: str) -> None:
    with pytest.raises(UnavailableError, match="no topic nowhere"):
        topic_id(kafka_servers, "nowhere")


def test_a_topic_needs_a_partition(kafka_servers: str) -> None:
    with pytest.raises(ConfigurationError, match="topic impossible: 0 partitions"):
        ensure_topics(kafka_servers, "impossible", partitions=0)


@pytest.mark.parametrize("topic", ["a b", "é", "x" * 238])
def test_a_name_that_kafka_refuses(kafka_servers: str, topic: str) -> None:
    with pytest.raises(ConfigurationError, match="letters, digits"):
        ensure_topics(kafka_servers, topic)


@pytest.mark.integration
def test_an_absent_broker_is_named() -> None:
    servers = f"127.0.0.1:{free_port()}"
    for call in (await_broker, ensure_topics, topic_id):
        with pytest.raises(UnavailableError, match=f"Kafka at {servers}: not ready within 0.2 s"):
            call(servers, timeout_s=0.2)


def test_one_server_of_several_is_enough(kafka_servers: str) -> None:
    servers = f"127.0.0.1:{free_port()}, {kafka_servers}"
    assert await_broker(servers) == kafka_servers
    assert ensure_topics(servers, "several", partitions=2) == 2


@pytest.mark.parametrize("servers", ["", "localhost", "localhost:", ":9092", "localhost:none", "a:1,b", "a:70000"])
def test_servers_that_are_none(servers: str) -> None:
    with pytest.raises(ConfigurationError, match="is not host:port"):
        await_broker(servers)


def _partitions(servers: str, topic: str) -> int:
    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        return len(admin.describe_topics([topic])[0]["partitions"])
    finally:
        admin.close()


def _delete(servers: str, topic: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        admin.delete_topics([topic])
    finally:
        admin.close()
