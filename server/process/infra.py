"""The broker and the store that run beside Encore on one machine."""

from collections.abc import Callable
from typing import Literal

from data.addresses import parse_addresses
from data.errors import ConfigurationError, EncoreError
from server.process.broker import Broker
from server.process.java import find_java
from server.process.kafka_broker import KafkaBroker, has_topics
from server.process.kafka_jars import fetch_jars
from server.process.server_process import LOOPBACK
from server.process.store import Store
from server.process.tansu import Tansu
from server.settings import Settings

__all__ = ["Kafka", "infra_of"]

Kafka = Literal["apache", "tansu"]

_EXTERNAL_ONLY = (
    "kafka_tls",
    "kafka_username",
    "redis_username",
    "redis_password",
    "redis_tls",
    "redis_cluster",
)
"""Settings for external servers only: with them no client could connect to the embedded ones."""


def infra_of(settings: Settings, kafka: Kafka | None, say: Callable[[str], None]) -> tuple[Broker, Store]:
    """Return a broker and the embedded store on the ports of the settings. Raises ConfigurationError for remote hosts.

    The broker is Apache Kafka, whose jars are fetched the first time. If they or Java are unavailable, `kafka` None
    means Tansu, after a line to `say`. Tansu is refused in a home with Apache Kafka's topics: its events would lie in
    two topics, of which the older may return.
    """
    kafka_host, port = parse_addresses(settings.kafka_servers)[0]
    for name, address in (("KAFKA_SERVERS", kafka_host), ("REDIS_HOST", settings.redis_host)):
        if address not in {"localhost", LOOPBACK}:
            raise ConfigurationError(
                f"{name} names {address}: the embedded broker and store are of this machine; set it to {LOOPBACK}, or "
                "use `encore up --no-infra` with servers of your own"
            )
    for name in _EXTERNAL_ONLY:
        if getattr(settings, name):
            variable = Settings.model_fields[name].validation_alias
            raise ConfigurationError(
                f"{variable}: the embedded broker and store have no users and no TLS, and are one each; unset it, or "
                "use `encore up --no-infra` with servers of your own"
            )
    store = Store(settings.redis_port, settings.store)
    broker = _broker_of(settings, port, kafka, say)
    for server in (broker, store):
        server.output.most_bytes = settings.run_log_bytes
    return broker, store


def _broker_of(settings: Settings, port: int, kafka: Kafka | None, say: Callable[[str], None]) -> Broker:
    has_kafka_topics = has_topics(settings.apache_kafka)
    if kafka == "tansu" and has_kafka_topics:
        raise ConfigurationError(
            f"this home's topics are Apache Kafka's, in {settings.apache_kafka}; go on with `--kafka apache`, or "
            "choose another ENCORE_HOME"
        )
    if kafka != "tansu":
        try:
            find_java()
            return KafkaBroker(port, settings.apache_kafka, jars=fetch_jars(say=say))
        except EncoreError as error:
            if kafka == "apache" or has_kafka_topics:
                raise
            say(f"{error}. Until then Tansu is the broker: it keeps topics in memory only.")
    return Tansu(port, settings.broker)
