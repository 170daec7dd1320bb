"""Kafka over TLS with a name and a password: the settings reach every client, and a real broker takes them."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from group_member import member

from data.errors import ConfigurationError, UnavailableError
from events.kafka.access import Access, GroupProtocol
from events.kafka.sender import Sender
from events.kafka.topics import ensure_topics, topic_id
from server.process.kafka_broker import KafkaBroker
from server.process.server_process import free_port
from server.settings import environment_of, read_settings


def test_settings_become_each_clients_words() -> None:
    settings = read_settings(
        kafka_tls=True, kafka_ca="/ca.pem", kafka_username="encore", kafka_password="hunter2", kafka_mechanism="PLAIN"
    )
    access = settings.kafka_access
    patience = {"reconnect_backoff_max_ms": 500}
    assert access.for_kafka_python() == {
        **patience,
        "security_protocol": "SASL_SSL",
        "ssl_cafile": "/ca.pem",
        "ssl_check_hostname": True,
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "encore",
        "sasl_plain_password": "hunter2",
    }
    assert access.for_librdkafka() == {
        "reconnect.backoff.max.ms": 500,
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": "/ca.pem",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "encore",
        "sasl.password": "hunter2",
    }
    assert "hunter2" not in repr(access) + repr(settings)
    assert environment_of(settings)["KAFKA_PASSWORD"] == "hunter2", "children get in too"
    assert read_settings().kafka_access.for_kafka_python() == patience | {"security_protocol": "PLAINTEXT"}
    assert Access(tls=True).for_librdkafka() == {"reconnect.backoff.max.ms": 500, "security.protocol": "SSL"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kafka_username": "encore"}, "KAFKA_USERNAME, KAFKA_PASSWORD: set both"),
        ({"kafka_password": "hunter2"}, "KAFKA_USERNAME, KAFKA_PASSWORD: set both"),
        ({"kafka_ca": "/ca.pem"}, "KAFKA_CA: goes with KAFKA_TLS"),
    ],
)
def test_half_a_setting_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as refusal:
        read_settings(**given)
    assert "hunter2" not in str(refusal.value)


class Guarded(KafkaBroker):
    """Apache Kafka with a second door, which wants TLS, a name and a password."""

    def __init__(self, folder: Path, jars: Path) -> None:
        super().__init__(free_port(), folder, jars=jars)
        self.door = f"{self.host}:{free_port()}"
        self.certificate = folder / "certificate.pem"

    def _prepare(self) -> None:
        key = self.folder / "key.pem"
        request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=kafka"]
        names = ["-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run([*request, *names, "-keyout", key, "-out", self.certificate], check=True, capture_output=True)
        store = self.folder / "store.pem"
        store.write_text(key.read_text() + self.certificate.read_text())
        super()._prepare()
        text = self._properties.read_text()
        text = text.replace("listeners=BROKER", f"listeners=GUARDED://{self.door},BROKER", 1)
        text = text.replace("advertised.listeners=BROKER", f"advertised.listeners=GUARDED://{self.door},BROKER")
        text = text.replace("protocol.map=", "protocol.map=GUARDED:SASL_SSL,")
        login = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_encore="hunter2";'
        own = {
            "sasl.enabled.mechanisms": "PLAIN",
            "plain.sasl.jaas.config": login,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": store,
        }
        text += "".join(f"listener.name.guarded.{name}={value}\n" for name, value in own.items())
        self._properties.write_text(text)


@pytest.fixture(scope="module")
def guarded(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with Guarded(tmp_path_factory.mktemp("guarded"), kafka_jars) as running:
        yield running


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_a_guarded_broker_takes_and_gives(guarded: Guarded, protocol: GroupProtocol) -> None:
    topic = f"topic-{protocol}"
    access = Access(tls=True, ca=str(guarded.certificate), username="encore", password="hunter2")
    ensure_topics(guarded.door, topic, partitions=1, access=access)
    with Sender(guarded.door, topic, None, access) as sender:
        sender.send(b"key", b"value")
        sender.flush()
    with member(guarded.door, topic, protocol, access=access) as one:
        assert [message.value for message in one.take(1)] == [b"value"]
        assert one.consumer.topic().id == topic_id(guarded.door, topic, access=access)


def test_a_wrong_password_and_a_strangers_certificate_are_refused(guarded: Guarded) -> None:
    for wrong in (
        Access(tls=True, ca=str(guarded.certificate), username="encore", password="hunter3"),
        Access(tls=True, username="encore", password="hunter2"),
    ):
        with pytest.raises(UnavailableError):
            topic_id(guarded.door, "any", timeout_s=2, access=wrong)
