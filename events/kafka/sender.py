"""Send messages into Kafka so that each is there exactly once, or is counted as an error."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from kafka import KafkaProducer
from kafka.errors import KafkaError

from events.kafka.access import OPEN, Access

__all__ = ["Sender", "Summary"]

_DELIVERY_S = 30
"""An event that the broker has not acknowledged after this long counts as an error."""


@dataclass(frozen=True)
class Summary:
    """Counts of sent events, at the end or so far.

    The broker acknowledged `sent` of them; `errors` were given up; `waiting` are undecided (none at the end).
    `keyless` came from lines without a user; `unfit` are no events, and become dead letters: `unfit_because` is the
    reason of the first. `seconds` is from the start to the last acknowledgement.
    """

    topic: str
    sent: int
    errors: int
    waiting: int
    keyless: int
    seconds: float
    asked_rate: float | None
    last_error: str | None = None
    unfit: int = 0
    unfit_because: str = ""

    @property
    def ok(self) -> bool:
        """Return whether every message is in Kafka, and an event."""
        return not self.errors and not self.unfit

    @property
    def rate(self) -> float:
        """Acknowledged events per second."""
        return self.sent / self.seconds if self.seconds > 0 else 0.0

    def __str__(self) -> str:
        asked = "" if self.asked_rate is None else f" (asked {self.asked_rate:g}/s)"
        text = f"{self.sent} events to {self.topic} in {self.seconds:.1f} s: {self.rate:.1f}/s{asked}"
        text += f", {self.errors} errors"
        if self.waiting:
            text += f", {self.waiting} waiting"
        if self.keyless:
            text += f", {self.keyless} without a user"
        if self.unfit:
            text += f", {self.unfit} that will be dead letters (the first: {self.unfit_because})"
        return f"{text}; last error: {self.last_error}" if self.last_error else text


class Sender:
    """A Kafka producer that counts the outcome of each message. It is idempotent: retries make no duplicates."""

    def __init__(self, server: str, topic: str, asked_rate: float | None, access: Access = OPEN) -> None:
        self._access = access
        self._server = server
        self._topic = topic
        self._asked_rate = asked_rate
        self._sent = 0
        self._refused = 0
        self._lost = 0
        self._handed = 0
        self._keyless = 0
        self._unfit = 0
        self._unfit_because = ""
        self._last_error: Exception | None = None
        self._producer = _producer(server, access)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._producer.close(timeout=_DELIVERY_S)

    # Public methods are for one thread; the producer's own thread counts `_sent` and `_lost`, this one the others.

    def send(self, key: bytes | None, value: bytes | None, acknowledged: Callable[[Any], None] | None = None) -> None:
        """Send one message; blocks while the producer's buffer is full or it knows no broker.

        `acknowledged` is called in another thread with the record's metadata (partition, offset) if the broker has it.
        """
        self._handed += 1
        self._keyless += key is None
        if self._is_spent():
            self._producer.close(timeout=0)
            self._producer = _producer(self._server, self._access)
        try:
            future = self._producer.send(self._topic, value, key)
        except KafkaError as error:
            self._refused += 1
            self._last_error = error
        else:
            future.add_callback(self._on_sent)
            if acknowledged is not None:
                future.add_callback(acknowledged)
            future.add_errback(self._on_lost)

    def note_unfit(self, reason: str) -> None:
        """Count a message that is no event, for this reason."""
        self._unfit_because = self._unfit_because or reason
        self._unfit += 1

    def flush(self) -> None:
        """Wait until every message is acknowledged or has failed."""
        try:
            self._producer.flush(timeout=_DELIVERY_S + 5)
        except KafkaError as error:
            self._last_error = error
        self._lost = self._handed - self._sent - self._refused

    def summary(self, seconds: float) -> Summary:
        """Return the counts so far; `seconds` since the start, for the rate."""
        sent, errors = self._sent, self._refused + self._lost
        return Summary(
            topic=self._topic,
            sent=sent,
            errors=errors,
            waiting=self._handed - sent - errors,
            keyless=self._keyless,
            seconds=seconds,
            asked_rate=self._asked_rate,
            last_error=str(self._last_error) if self._last_error is not None else None,
            unfit=self._unfit,
            unfit_because=self._unfit_because,
        )

    def _is_spent(self) -> bool:
        """Return whether the producer can send no more: a broker that was made anew does not know its producer id."""
        manager = self._producer._transaction_manager  # noqa: SLF001 - kafka-python says it nowhere else
        return manager is not None and bool(manager.has_fatal_error())

    def _on_sent(self, _: object) -> None:
        self._sent += 1

    def _on_lost(self, error: Exception) -> None:
        self._lost += 1
        self._last_error = error


def _producer(server: str, access: Access) -> KafkaProducer:
    return KafkaProducer(
        **access.for_kafka_python(),
        bootstrap_servers=server,
        acks="all",
        enable_idempotence=True,
        allow_auto_create_topics=False,
        linger_ms=5,
        batch_size=64 * 1024,
        delivery_timeout_ms=_DELIVERY_S * 1000,
        request_timeout_ms=_DELIVERY_S * 500,
        max_block_ms=_DELIVERY_S * 500,
    )
