"""What could not be accepted: its original bytes, with the reason and the place it came from, in a topic of its own."""

import time
from functools import cached_property
from typing import Any

from data.errors import ConfigurationError, UnavailableError
from data.event import Rejection
from events.kafka.access import OPEN, Access
from events.kafka.topics import LARGEST_LETTER, dead_letter_topic, ensure_dead_letter_topic

__all__ = ["DeadLetters"]

_BLOCK_MS = 1_000
"""How long one letter may wait for a broker that was not heard of yet."""


class DeadLetters:
    """Sends messages rejected from `topic` to its dead-letter topic, which is made if it is missing; `flush` returns
    when the broker has them all. It connects with the first letter: mostly there is none."""

    def __init__(self, servers: str, topic: str, access: Access = OPEN) -> None:
        self._topic = topic
        self._servers = servers
        self._access = access
        self._pending: list[tuple[dict[str, Any], Any]] = []

    @cached_property
    def _producer(self) -> Any:
        """Raises UnavailableError where Kafka does not answer, ConfigurationError where it will not have the topic."""
        from kafka import KafkaProducer  # noqa: PLC0415

        ensure_dead_letter_topic(self._servers, self._topic, timeout_s=_BLOCK_MS / 1000, access=self._access)
        # A letter may come twice (its headers say of what), so nothing needs the broker to know this producer; one that
        # insists on being known can send nothing more to a broker that was made anew.
        return KafkaProducer(
            **self._access.for_python(),
            bootstrap_servers=self._servers,
            acks="all",
            enable_idempotence=False,
            max_request_size=LARGEST_LETTER,
            max_block_ms=_BLOCK_MS,
        )

    def __len__(self) -> int:
        return len(self._pending)

    def send(self, record: Any, rejection: Rejection) -> None:
        """Send a consumed message on: key and value as they were; headers say why, and from where."""
        headers = [
            ("kind", rejection.kind.encode()),
            ("reason", rejection.reason.encode()),
            ("topic", record.topic.encode()),
            ("partition", str(record.partition).encode()),
            ("offset", str(record.offset).encode()),
        ]
        # Kafka's own clients may send a message of nothing at all; this one must send something.
        value = b"" if record.value is None and record.key is None else record.value
        message = {"value": value, "key": record.key, "headers": headers}
        try:
            sent = self._sent(message)
        except UnavailableError:
            sent = None  # `flush` tries again, and says so
        self._pending.append((message, sent))

    def _sent(self, message: dict[str, Any]) -> Any:
        """What will say whether the broker has a message. UnavailableError where it cannot be sent now."""
        from kafka.errors import KafkaError  # noqa: PLC0415

        try:
            return self._producer.send(dead_letter_topic(self._topic), **message)
        except (KafkaError, ConfigurationError) as error:
            raise UnavailableError(f"Kafka: {error!r}") from error

    def flush(self, patience_s: float) -> None:
        """Wait until all are kept; UnavailableError where one is not: the next `flush` waits on, or sends it again."""
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
