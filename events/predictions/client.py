"""The Kafka producer of predictions, which counts what it sent and lost and never waits."""

from confluent_kafka import Producer

from events.kafka.access import OPEN, Access
from events.kafka.topics import await_broker, ensure_topic

__all__ = ["PredictionClient"]

_DELIVERY_S = 30

_CAPACITY = 10_000
"""Messages that may wait in librdkafka's queue."""


class PredictionClient:
    """Sends to `topic`, which is made if it is missing; safe to use from any thread.

    Raises UnavailableError without Kafka.
    """

    def __init__(self, servers: str, topic: str, access: Access = OPEN) -> None:
        server = await_broker(servers, timeout_s=1.0)
        ensure_topic(server, topic, access=access)
        self._topic = topic
        # Each is counted by one thread: by who sends, and by who polls and closes.
        self._given = self._refused = self._failed = self._left = 0
        self._producer = Producer(
            {
                **access.for_library(),
                "bootstrap.servers": server,
                "linger.ms": 20,
                # gzip is a tenth as fast: its work of some milliseconds a batch held up Redis, and with it answers.
                "compression.type": "lz4",
                "queue.buffering.max.messages": _CAPACITY,
                "message.timeout.ms": _DELIVERY_S * 1000,
                "log_level": 2,
                # Called back for those that fail only: a call for each costs as much as sending it.
                "on_delivery": self._on_failure,
                "delivery.report.only.error": True,
                "allow.auto.create.topics": False,
            }
        )

    def send(self, key: bytes, value: bytes) -> None:
        """Hand a message over; counted as lost where the queue is full."""
        try:
            self._producer.produce(self._topic, value, key)
            self._given += 1
        except BufferError:  # its own queue is full: Kafka is slow or gone
            self._refused += 1

    @property
    def sent(self) -> int:
        """Messages that the broker took."""
        return max(0, self._given - self._failed - len(self._producer))

    @property
    def lost(self) -> int:
        """Messages that it will never take."""
        return self._refused + self._failed + self._left

    def poll(self) -> None:
        """Hear of failures."""
        self._producer.poll(0)

    def close(self, timeout_s: float) -> None:
        """Send what waits, for so long; the rest is lost."""
        self._left = self._producer.flush(timeout_s)

    def _on_failure(self, *_: object) -> None:
        self._failed += 1
