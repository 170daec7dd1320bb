"""Kafka topics: their names, their creation, and the id that distinguishes a recreated topic from its predecessor."""

import re
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from data.addresses import Address, parse_addresses
from data.errors import ConfigurationError, UnavailableError
from events.kafka.access import OPEN, Access

if TYPE_CHECKING:
    from kafka import KafkaAdminClient

__all__ = [
    "EVENTS_TOPIC",
    "LARGEST_BATCH",
    "LARGEST_LETTER",
    "PARTITIONS",
    "await_broker",
    "dead_letter_topic",
    "ensure_dead_letter_topic",
    "ensure_topic",
    "ensure_topics",
    "topic_id",
]

EVENTS_TOPIC = "ecommerce-events"

PARTITIONS = 4
"""Partitions of a new events topic, and so the number of workers that can share it."""

LARGEST_BATCH = 1024 * 1024
"""Bytes of the largest batch of messages, as it was compressed, that a new events topic takes: Kafka's own default.
gzip unpacks it to a thousand times as much, in a reader's memory."""

LARGEST_LETTER = 2 * LARGEST_BATCH
"""Bytes of the largest message that a new dead-letter topic takes. What is larger than a batch is cut."""

_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")

_OK = 0
_UNKNOWN_TOPIC = 3
_TOPIC_EXISTS = 36


def dead_letter_topic(topic: str = EVENTS_TOPIC) -> str:
    """Return the name of the topic for messages rejected from `topic`."""
    return f"{topic}.dead-letter"


def await_broker(servers: str, *, timeout_s: float = 30.0) -> str:
    """Return the first of `servers` ("host:port,host:port") that accepts a connection.

    Call it before making a Kafka client, and give the client the result: a client that meets a dead server leaves its
    socket open, and one that finds no server its thread too. Raises UnavailableError after `timeout_s`.
    """
    addresses = _addresses(servers)
    deadline = time.monotonic() + timeout_s
    while True:
        for address in addresses:
            try:
                socket.create_connection(address, timeout=max(0.1, min(2.0, deadline - time.monotonic()))).close()
            except OSError as error:
                last = error
            else:
                return str(address)
        if time.monotonic() >= deadline:
            raise _unavailable(servers, timeout_s, last)
        time.sleep(0.05)


def ensure_topics(
    servers: str,
    topic: str = EVENTS_TOPIC,
    *,
    partitions: int = PARTITIONS,
    replication: int = -1,
    timeout_s: float = 30.0,
    access: Access = OPEN,
) -> int:
    """Make `topic` and its dead-letter topic where they are missing; return the number of partitions of `topic`.

    An existing topic stays as it is, whatever `partitions` says: more partitions would move users between them. A
    dead-letter topic is made with one partition. `replication` -1 leaves the number of copies to the broker. Raises
    UnavailableError if no server answers within `timeout_s` or the topics do not come up.
    """
    if not _TOPIC_NAME.fullmatch(dead_letter_topic(topic)):
        raise ConfigurationError(f"topic {topic!r}: use up to 237 letters, digits, dots, dashes and underscores")
    if partitions < 1:
        raise ConfigurationError(f"topic {topic}: {partitions} partitions; ask for at least one")
    configs = {"max.message.bytes": str(LARGEST_BATCH)}
    wanted = {topic: {"num_partitions": partitions, "replication_factor": replication, "configs": configs}}
    return _ensure(servers, wanted | _letters_of(topic, replication), timeout_s, access)[topic]


def ensure_dead_letter_topic(servers: str, topic: str, *, timeout_s: float = 30.0, access: Access = OPEN) -> None:
    """Make the dead-letter topic of `topic` alone, as `ensure_topics` does."""
    _ensure(servers, _letters_of(topic, -1), timeout_s, access)


def _letters_of(topic: str, replication: int) -> dict[str, dict[str, Any]]:
    # A letter is its message plus headers: the largest message of the topic must still fit.
    configs = {"max.message.bytes": str(LARGEST_LETTER)}
    return {
        dead_letter_topic(topic): {"num_partitions": 1, "replication_factor": replication, "configs": configs},
    }


def ensure_topic(
    servers: str, topic: str, *, partitions: int = 1, timeout_s: float = 30.0, access: Access = OPEN
) -> int:
    """Make a topic without a dead-letter topic, for our own messages, as `ensure_topics` does."""
    wanted = {topic: {"num_partitions": partitions, "replication_factor": -1}}
    return _ensure(servers, wanted, timeout_s, access)[topic]


def _ensure(servers: str, wanted: dict[str, dict[str, Any]], timeout_s: float, access: Access) -> dict[str, int]:
    """Make the topics that are missing; return the number of partitions of each."""
    deadline = time.monotonic() + timeout_s
    with _admin(servers, timeout_s, access) as admin:
        existing = {
            entry["name"] for entry in admin.describe_topics(list(wanted)) if entry["error_code"] != _UNKNOWN_TOPIC
        }
        missing = {name: options for name, options in wanted.items() if name not in existing}
        if missing:
            for entry in admin.create_topics(missing, raise_errors=False)["topics"]:
                # Another process may have made it a moment ago.
                if entry["error_code"] not in (_OK, _TOPIC_EXISTS):
                    raise ConfigurationError(
                        f"Kafka at {servers}: topic {entry['name']} cannot be made ({entry['error_message']}); check "
                        "its settings and the broker's, or make the topic by hand"
                    )
        admin.wait_for_topics(list(wanted), timeout_ms=max(1000.0, (deadline - time.monotonic()) * 1000))
        return {entry["name"]: len(entry["partitions"]) for entry in admin.describe_topics(list(wanted))}


def topic_id(servers: str, topic: str = EVENTS_TOPIC, *, timeout_s: float = 30.0, access: Access = OPEN) -> bytes:
    """Return the 16 bytes of the topic's UUID. A topic that is deleted and made again has a new one.

    Raises UnavailableError if no server answers within `timeout_s` or the topic is missing; ConfigurationError if the
    broker is so old (before Kafka 2.8) that its topics have no id.
    """
    with _admin(servers, timeout_s, access) as admin:
        entry = admin.describe_topics([topic])[0]
    if entry["error_code"] != _OK:
        raise UnavailableError(f"Kafka at {servers}: no topic {topic}; `ensure_topics` makes it")
    identifier = entry.get("topic_id")
    if not identifier:
        raise ConfigurationError(f"Kafka at {servers}: topic {topic} has no id; use Kafka 2.8 or newer")
    return uuid.UUID(str(identifier)).bytes


@contextmanager
def _admin(servers: str, timeout_s: float, access: Access) -> "Iterator[KafkaAdminClient]":
    """Yield an admin client and close it afterwards; Kafka's errors become UnavailableError."""
    # Imported when needed: a worker whose topics exist starts a fifth of a second sooner.
    from kafka import KafkaAdminClient  # noqa: PLC0415
    from kafka.errors import KafkaError  # noqa: PLC0415

    started = time.monotonic()
    server = await_broker(servers, timeout_s=timeout_s)
    remaining_s = max(1.0, timeout_s - (time.monotonic() - started))
    try:
        admin = KafkaAdminClient(
            bootstrap_servers=server, bootstrap_timeout_ms=int(remaining_s * 1000), **access.for_kafka_python()
        )
        try:
            yield admin
        finally:
            admin.close()
    except KafkaError as error:
        raise _unavailable(servers, timeout_s, error) from error


def _unavailable(servers: str, timeout_s: float, error: Exception) -> UnavailableError:
    return UnavailableError(
        f"Kafka at {servers}: not ready within {timeout_s:g} s ({error}); check that the broker runs and that the "
        "address is right"
    )


def _addresses(servers: str) -> list[Address]:
    """Parse "host:port,host:port"."""
    try:
        return parse_addresses(servers)
    except ValueError as error:
        raise ConfigurationError(f"Kafka servers: {error}") from error
