"""The Kafka producer of predictions, which counts what was sent and lost, and never blocks."""

from confluent_kafka import Producer

from events.kafka.access import OPEN, Access
from events.kafka.topics import await_broker, ensure_topic

__all__ = ["PredictionClient"]

_DELIVERY_S = 30

_CAPACITY = 10_000
"""Messages that may wait in librdkafka's queue."""


class PredictionClient:
    """Sends to `topic`, which is made if it is missing. Thread-safe.

    Raises UnavailableError without Kafka.
    """

    def __init__(self, servers: str, topic: str, access: Access = OPEN) -> None:
        server = await_broker(servers, timeout_s=1.0)
        ensure_topic(server, topic, access=access)
        self._topic = topic
        # Each counter is written by one thread: the one that sends, or the one that polls and closes.
        self._queued = self._refused = self._failed = self._left = 0
        self._producer = Producer(
            {
                **access.for_librdkafka(),
                "bootstrap.servers": server,
                "linger.ms": 20,
                # gzip is a tenth as fast: its milliseconds per batch delayed reads of Redis, and so answers.
                "compression.type": "lz4",
                "queue.buffering.max.messages": _CAPACITY,
                "message.timeout.ms": _DELIVERY_S * 1000,
                "log_level": 2,
                # Callbacks for failures only: one per message costs as much as sending it.
                "on_delivery": self._on_failure,
                "delivery.report.only.error": True,
                "allow.auto.create.topics": False,
            }
        )

    def send(self, key: bytes, value: bytes) -> None:
        """Queue a message; counted as lost where the queue is full."""
        try:
            self._producer.produce(self._topic, value, key)
            self._queued += 1
        except BufferError:  # the queue is full: Kafka is slow or absent
            self._refused += 1

    @property
    def sent(self) -> int:
        """Number of messages that the broker has acknowledged."""
        return max(0, self._queued - self._failed - len(self._producer))

    @property
    def lost(self) -> int:
        """Number of messages that the broker will never have."""
        return self._refused + self._failed + self._left

    def poll(self) -> None:
        """Serve delivery failure callbacks."""
        self._producer.poll(0)

    def close(self, timeout_s: float) -> None:
        """Flush for at most `timeout_s` seconds; the rest is lost."""
        self._left = self._producer.flush(timeout_s)

    def _on_failure(self, *_: object) -> None:
        self._failed += 1
