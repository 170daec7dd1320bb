"""Three Apache Kafka brokers: the loss of one stops nobody, and loses nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos.kafka_cluster import KafkaCluster
from consuming import read_topic
from kafka import KafkaAdminClient, KafkaProducer
from polling import poll_until

from events.kafka.topics import ensure_topics


@pytest.fixture
def cluster(kafka_jars: Path, tmp_path: Path) -> Iterator[KafkaCluster]:
    with KafkaCluster(tmp_path, jars=kafka_jars) as running:
        yield running


def partition(admin: KafkaAdminClient, topic: str) -> dict[str, Any]:
    (found,) = admin.describe_topics([topic])[0]["partitions"]
    return dict(found)


def test_it_goes_on_without_the_leader(cluster: KafkaCluster) -> None:
    servers = cluster.servers
    ensure_topics(servers, "t", partitions=1, replication=3)
    admin = KafkaAdminClient(bootstrap_servers=servers)
    producer = KafkaProducer(bootstrap_servers=servers, acks="all", delivery_timeout_ms=60_000)
    try:
        before = partition(admin, "t")
        assert sorted(before["replica_nodes"]) == [1, 2, 3]
        producer.send("t", b"before").get(timeout=30)
        cluster.node(before["leader_id"]).kill()
        producer.send("t", b"while it is away").get(timeout=60)
        assert [record.value for record in read_topic(servers, "t")] == [b"before", b"while it is away"]
        assert partition(admin, "t")["leader_id"] != before["leader_id"]
        cluster.start()
        poll_until(lambda: len(partition(admin, "t")["isr_nodes"]) == 3)
    finally:
        producer.close()
        admin.close()


def test_two_copies_must_take_a_message(kafka_jars: Path, tmp_path: Path) -> None:
    node = KafkaCluster(tmp_path, jars=kafka_jars).node(2)
    node.launch()
    node.stop(0.1)
    settings = (tmp_path / "2" / "server.properties").read_text().splitlines()
    assert {"default.replication.factor=3", "min.insync.replicas=2", "unclean.leader.election.enable=false"} < set(
        settings
    )
