"""Apache Kafka on one machine: it keeps what it took, and says in words what it lacks."""

import re
from pathlib import Path
from uuid import UUID

import pytest
import yaml
from consuming import read_topic
from kafka import KafkaProducer

from data.errors import ConfigurationError
from events.kafka.topics import ensure_topics, topic_id
from server.process.embedded import Broker
from server.process.kafka_broker import ApacheKafka, fetch_jars
from server.process.server_process import free_port
from server.runner import infra_of
from server.settings import Settings

ROOT = Path(__file__).parents[1]


def test_topics_and_messages_outlast_a_crash_and_a_stop(
    kafka_jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A cluster id that begins with a minus sign, as one in 64 does.
    monkeypatch.setattr("server.process.kafka_broker.uuid.uuid4", lambda: UUID(bytes=b"\xf8" * 16))
    broker = ApacheKafka(free_port(), tmp_path, jars=kafka_jars)
    with broker:
        ensure_topics(broker.servers, "kept")
        made = topic_id(broker.servers, "kept")
        producer = KafkaProducer(bootstrap_servers=broker.servers, acks="all")
        producer.send("kept", b"value", b"key").get(timeout=10)
        producer.close()
        broker.kill()
        assert not broker.alive
        broker.start()
        assert topic_id(broker.servers, "kept") == made
    with broker:
        assert topic_id(broker.servers, "kept") == made
        assert [(record.key, record.value) for record in read_topic(broker.servers, "kept")] == [(b"key", b"value")]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(ConfigurationError, match="Apache Kafka: there is no Java that runs here; install Java 17"):
        fetch_jars(tmp_path / "cache")
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    with pytest.raises(ConfigurationError, match=r"Java 11\.0\.2 is too old"):
        fetch_jars(tmp_path / "cache")
    java.write_text("#!/bin/sh\necho 'openjdk version \"21\"' >&2\n")
    with pytest.raises(ConfigurationError, match=r"no Maven here .*apt install maven.*`--kafka tansu`"):
        fetch_jars(tmp_path / "cache")


def test_a_home_goes_on_with_the_broker_that_keeps_its_topics(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert type(infra_of(settings)[0]) is Broker
    assert type(infra_of(settings, "apache")[0]) is ApacheKafka
    settings.apache_kafka.mkdir(parents=True)
    assert type(infra_of(settings)[0]) is ApacheKafka
    with pytest.raises(ConfigurationError, match="go on with `--kafka apache`"):
        infra_of(settings, "tansu")


def test_containers_run_the_same_version() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    pom = (ROOT / "server" / "apache_kafka_pom.xml").read_text()
    found = re.search(r"<artifactId>kafka_2\.13</artifactId>\s*<version>([\d.]+)</version>", pom)
    assert found is not None
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{found[1]}"
