"""Dead letters: rejected messages in a topic of their own, with their bytes, the reason, and their origin."""

import time
from functools import cached_property
from typing import Any

from data.errors import ConfigurationError, UnavailableError
from data.event import Rejection
from events.kafka.access import OPEN, Access
from events.kafka.topics import LARGEST_LETTER, dead_letter_topic, ensure_dead_letter_topic

__all__ = ["DeadLetters"]

_BLOCK_MS = 1_000
"""How long sending one letter may block for a broker that is not known yet, ms."""


class DeadLetters:
    """Sends messages rejected from `topic` to its dead-letter topic, which is made if it is missing.

    It connects with the first letter, since mostly there is none. `flush` returns when the broker has all letters.
    """

    def __init__(self, servers: str, topic: str, access: Access = OPEN) -> None:
        self._topic = topic
        self._servers = servers
        self._access = access
        self._pending: list[tuple[dict[str, Any], Any]] = []

    @cached_property
    def _producer(self) -> Any:
        """Connect. Raises UnavailableError where Kafka does not answer, ConfigurationError where it refuses a topic."""
        from kafka import KafkaProducer  # noqa: PLC0415

        ensure_dead_letter_topic(self._servers, self._topic, timeout_s=_BLOCK_MS / 1000, access=self._access)
        # Letters are at least once (their headers identify duplicates), so the producer need not be idempotent; an
        # idempotent one can send nothing more to a broker that was made anew.
        return KafkaProducer(
            **self._access.for_kafka_python(),
            bootstrap_servers=self._servers,
            acks="all",
            enable_idempotence=False,
            max_request_size=LARGEST_LETTER,
            max_block_ms=_BLOCK_MS,
        )

    def __len__(self) -> int:
        return len(self._pending)

    def send(self, record: Any, rejection: Rejection) -> None:
        """Send a consumed message on: key and value unchanged, with headers for the reason and the origin."""
        headers = [
            ("kind", rejection.kind.encode()),
            ("reason", rejection.reason.encode()),
            ("topic", record.topic.encode()),
            ("partition", str(record.partition).encode()),
            ("offset", str(record.offset).encode()),
        ]
        # A message may have neither key nor value; kafka-python refuses to send such a one.
        value = b"" if record.value is None and record.key is None else record.value
        message = {"value": value, "key": record.key, "headers": headers}
        try:
            sent = self._sent(message)
        except UnavailableError:
            sent = None  # `flush` tries again, and raises
        self._pending.append((message, sent))

    def _sent(self, message: dict[str, Any]) -> Any:
        """Send a message and return its future. Raises UnavailableError where it cannot be sent now."""
        from kafka.errors import KafkaError  # noqa: PLC0415

        try:
            return self._producer.send(dead_letter_topic(self._topic), **message)
        except (KafkaError, ConfigurationError) as error:
            raise UnavailableError(f"Kafka: {error!r}") from error

    def flush(self, patience_s: float) -> None:
        """Wait until the broker has all letters. Raises UnavailableError otherwise.

        The next `flush` waits or sends again.
        """
        deadline = time.monotonic() + patience_s
        pending, self._pending = self._pending, []
        failure: Exception | None = None
        if not pending:
            return
        from kafka.errors import KafkaError  # noqa: PLC0415

        for number, (message, sent) in enumerate(pending):
            if failure is not None and time.monotonic() > deadline:
                self._pending += pending[number:]
                break
            future = sent
            try:
                future = future or self._sent(message)
                future.get(timeout=max(0.0, deadline - time.monotonic()))
            except (KafkaError, UnavailableError) as error:
                on_its_way = future is not None and not future.is_done
                self._pending.append((message, future if on_its_way else None))
                failure = error
        if self._pending:
            raise UnavailableError(
                f"Kafka: {dead_letter_topic(self._topic)} did not take {len(self._pending)} dead letters ({failure!r})"
            ) from failure

    def close(self) -> None:
        """Close the connection, if there is one; call `flush` before."""
        if "_producer" in self.__dict__:
            self._producer.close(timeout=1)
