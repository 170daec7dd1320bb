"""Kafka producers for predictions, which count what they sent and lost and never wait long."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from data.errors import UnavailableError
from events.kafka.access import Access
from events.kafka.topics import await_broker, ensure_topic
from events.predictions.sink import CAPACITY, PredictionClient

__all__ = ["connect"]

_DELIVERY_S = 30

_SHARE = 0.1
"""The part of the time that a client in Python may take: it holds the interpreter, which answers need."""


def connect(servers: str, topic: str, access: Access) -> PredictionClient:
    """A client of the topic, which is made if it is missing. Raises `UnavailableError` without Kafka.

    It is librdkafka where that is installed (the extra `fast`): it costs a hundredth of the client in Python.
    """
    server = await_broker(servers, timeout_s=1.0)
    ensure_topic(server, topic, access=access)
    try:
        import confluent_kafka  # noqa: PLC0415 - an extra
    except ImportError:
        try:
            return _PythonClient(server, topic, access)
        except KafkaError as error:
            raise UnavailableError(f"Kafka at {servers}: {error}") from error
    return _LibraryClient(confluent_kafka.Producer, server, topic, access)


class _LibraryClient:
    never_waits = True
    rest = 0.0

    def __init__(self, producer: Callable[..., Any], server: str, topic: str, access: Access) -> None:
        self._topic = topic
        # Each is counted by one thread: by who sends, and by who polls and closes.
        self._given = self._refused = self._failed = self._left = 0
        self._producer = producer(
            {
                **access.for_library(),
                "bootstrap.servers": server,
                "linger.ms": 20,
                # gzip is a tenth as fast: its work of some milliseconds a batch held up Redis, and with it answers.
                "compression.type": "lz4",
                "queue.buffering.max.messages": CAPACITY,
                "message.timeout.ms": _DELIVERY_S * 1000,
                "log_level": 2,
                # Called back for those that fail only: a call for each costs as much as sending it.
                "on_delivery": self._on_failure,
                "delivery.report.only.error": True,
                "allow.auto.create.topics": False,
            }
        )

    def send(self, key: bytes, value: bytes) -> None:
        try:
            self._producer.produce(self._topic, value, key)
            self._given += 1
        except BufferError:  # its own queue is full: Kafka is slow or gone
            self._refused += 1

    @property
    def sent(self) -> int:
        return max(0, self._given - self._failed - len(self._producer))

    @property
    def lost(self) -> int:
        return self._refused + self._failed + self._left

    def poll(self) -> None:
        self._producer.poll(0)

    def close(self, timeout_s: float) -> None:
        self._left = self._producer.flush(timeout_s)

    def _on_failure(self, *_: object) -> None:
        self._failed += 1


class _PythonClient:
    never_waits = False
    rest = 1 / _SHARE - 1

    def __init__(self, server: str, topic: str, access: Access) -> None:
        self._topic = topic
        self.sent = self.lost = 0
        self._producer = KafkaProducer(
            **access.for_python(),
            bootstrap_servers=server,
            acks=1,
            enable_idempotence=False,
            allow_auto_create_topics=False,
            linger_ms=50,
            delivery_timeout_ms=_DELIVERY_S * 1000,
            request_timeout_ms=_DELIVERY_S * 500,
            max_block_ms=1000,
        )

    def send(self, key: bytes, value: bytes) -> None:
        try:
            future = self._producer.send(self._topic, value, key)
        except KafkaError:
            self.lost += 1
        else:
            future.add_callback(self._on_sent)
            future.add_errback(self._on_lost)

    def poll(self) -> None:
        """Its own thread does the work."""

    def close(self, timeout_s: float) -> None:
        with suppress(KafkaError):
            self._producer.flush(timeout=timeout_s)
        self._producer.close(timeout=timeout_s)

    def _on_sent(self, _: object) -> None:
        self.sent += 1

    def _on_lost(self, _: object) -> None:
        self.lost += 1
