"""What could not be accepted: its original bytes, with the reason and the place it came from, in a topic of its own."""

from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from data.errors import UnavailableError
from data.event import Rejection

__all__ = ["DeadLetters"]

_LARGEST = 64 * 1024 * 1024
_PATIENCE_S = 30


class DeadLetters:
    """Sends rejected messages to the dead-letter topic; `flush` returns when the broker has them all."""

    def __init__(self, servers: str, topic: str) -> None:
        self.topic = topic
        self._pending: list[Any] = []
        self._producer = KafkaProducer(
            bootstrap_servers=servers, acks="all", max_request_size=_LARGEST, buffer_memory=2 * _LARGEST
        )

    def send(self, record: Any, rejection: Rejection) -> None:
        """Send a consumed message on: key and value as they were; headers say why, and from where."""
        headers = [
            ("kind", rejection.kind.encode()),
            ("reason", rejection.reason.encode()),
            ("topic", record.topic.encode()),
            ("partition", str(record.partition).encode()),
            ("offset", str(record.offset).encode()),
        ]
        self._pending.append(self._producer.send(self.topic, value=record.value, key=record.key, headers=headers))

    def flush(self) -> None:
        """Wait until all are kept; UnavailableError where one is not."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        try:
            self._producer.flush(timeout=_PATIENCE_S)
            for sent in pending:
                sent.get(timeout=_PATIENCE_S)
        except KafkaError as error:
            self._pending = pending
            raise UnavailableError(f"Kafka: {self.topic} did not take a dead letter ({error!r})") from error

    def close(self) -> None:
        """Close the connection; call `flush` before."""
        self._producer.close(timeout=5)
