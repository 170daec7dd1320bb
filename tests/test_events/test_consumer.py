"""A member of a Kafka group where it matters that it is Kafka: other programs, protocols, brokers that are gone.

What every consumer promises is in `tests/contracts/test_consumer_contract.py`.
"""

import gc
from pathlib import Path

import pytest
from classic_only import ClassicOnly
from confluent_kafka import Producer
from group_member import foreign_member, member
from kafka import KafkaAdminClient
from polling import poll_until

from data.errors import ConfigurationError, UnavailableError, UnsupportedProtocolError
from events.kafka.access import GroupProtocol
from events.kafka.consumer import (
    Consumer,
    ConsumerOptions,
    read_offsets,
)
from events.kafka.topics import ensure_topics
from server.process.kafka_broker import KafkaBroker
from server.process.server_process import free_port

EVERY = {0, 1, 2, 3}
PROTOCOLS: list[GroupProtocol] = ["consumer", "classic"]


@pytest.mark.long
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
    assert [(m.value, m.offset) for m in found] == [(b"kept", 0), (b"last", 4)], "offsets in between are markers"
    options = ConsumerOptions(servers=kafka_servers, topic=topic, group=f"{topic}-g")
    again = [m.value for messages in read_offsets(options, 0, range(6)) for m in messages]
    assert again == [b"kept", b"last"]


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
    """Whoever asks has a patience. The client's own are of half a minute and more: fifteen of them outlast the test."""
    with KafkaBroker(free_port(), tmp_path, jars=kafka_jars) as mortal:
        ensure_topics(mortal.servers, "t")
        with member(mortal.servers, "t", protocol, patience_ms=500) as one:
            one.await_share(4)
            one.consumer.commit({0: 0}, "")
            mortal.kill()
            assert one.consumer.progress().keys() == EVERY
            asks = (lambda: one.consumer.commit({0: 0}, ""), lambda: one.consumer.look(EVERY), one.consumer.topic)
            for ask in asks * 5:
                with pytest.raises(UnavailableError):
                    ask()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the threads of this process are counted in /proc")
def test_what_was_opened_in_vain_leaves_nothing_behind() -> None:
    """A worker that waits for Kafka opens a consumer every few seconds."""

    def threads() -> int:
        return sum(1 for _ in Path("/proc/self/task").iterdir())

    options = ConsumerOptions(servers=f"127.0.0.1:{free_port()}", topic="t", group="g", patience_ms=100)
    before = threads()
    gc.disable()
    try:
        for _ in range(5):
            Consumer(options).close()
        poll_until(lambda: threads() <= before + 2)
    finally:
        gc.enable()
