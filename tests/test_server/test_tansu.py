"""Tansu, the broker where Apache Kafka cannot be had: it starts, takes a message, gives it back, and stops."""

from pathlib import Path

import pytest
from consuming import read_topic
from kafka import KafkaProducer

from data.errors import ConfigurationError
from events.kafka.topics import ensure_topics
from server.process import tansu as tansu_module
from server.process.server_process import free_port
from server.process.tansu import Tansu, find_tansu

pytestmark = pytest.mark.integration


def test_it_takes_a_message_and_gives_it_back(tmp_path: Path) -> None:
    with Tansu(free_port(), tmp_path) as broker:
        ensure_topics(broker.servers, "t")
        producer = KafkaProducer(bootstrap_servers=broker.servers, acks="all")
        producer.send("t", b"value", b"key").get(timeout=60)
        producer.close()
        assert [(record.key, record.value) for record in read_topic(broker.servers, "t")] == [(b"key", b"value")]
    assert not broker.alive


def test_nothing_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tansu_module, "package_folder", lambda package: None)
    with pytest.raises(ConfigurationError, match=r"no Tansu here.*\.\[embedded\]"):
        find_tansu()
