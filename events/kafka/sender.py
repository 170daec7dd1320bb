"""Send messages into Kafka so that each arrives exactly once, or is counted as an error."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException, Producer

from data.errors import UnavailableError
from events.kafka.access import OPEN, Access
from events.kafka.deadline import Deadline
from events.trace import NO_TRACE, Sending, Trace

__all__ = ["Sender", "Summary"]

_DELIVERY_S = 30
"""An event that the broker has not acknowledged after this long counts as an error."""

_STOP_S = 15.0
"""Longest wait for acknowledgements once the producer is to stop: service managers kill it soon after (30 s)."""

_PATIENCE_S = 120.0
"""Where messages have failed for this long, and none was acknowledged, the sender gives up."""

_LOOK_S = 0.1
"""The longest wait for the broker between two looks at `stop`, s."""

_LARGEST = 1024 * 1024
"""Bytes of the largest message."""


@dataclass(frozen=True)
class Summary:
    """Counts of sent events, at the end or so far.

    The broker acknowledged `sent` of them; `errors` were given up; `waiting` are undecided (none at the end).
    `keyless` came from lines without a user; `unfit` are no events, and become dead letters: `unfit_because` is the
    reason of the first. Workers have made `letters` of them by now: `letter_because` says where one was, and why.
    `seconds` is from the start to the last acknowledgement.
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
    letters: int = 0
    letter_because: str = ""

    @property
    def ok(self) -> bool:
        """Return whether every message is in Kafka, and an event."""
        return not self.errors and not self.unfit and not self.letters

    @property
    def rate(self) -> float:
        """Acknowledged events per second."""
        return self.sent / self.seconds if self.seconds > 0 else 0.0

    def __str__(self) -> str:
        asked = "" if self.asked_rate is None else f" (asked {self.asked_rate:g}/s)"
        what = "event" if self.sent == 1 else "events"
        text = f"{self.sent} {what} to {self.topic} in {self.seconds:.1f} s: {self.rate:.1f}/s{asked}"
        text += f", {self.errors} errors"
        if self.waiting:
            text += f", {self.waiting} waiting"
        if self.keyless:
            text += f", {self.keyless} without a user"
        if self.unfit > self.letters:
            text += f", {self.unfit} that will be dead letters (the first: {self.unfit_because})"
        if self.letters:
            text += f", {self.letters} dead letters by now (of {self.letter_because})"
        return f"{text}; last error: {self.last_error}" if self.last_error else text


class Sender:
    """A Kafka producer that counts the outcome of each message. It is idempotent: retries make no duplicates.

    It connects when it first sends, and continues when a broker that was away, or recreated, is back. Messages
    that wait longer than `delivery_s` are errors; where none is acknowledged for `patience_s`, sending raises. Once
    `stop` is set, messages are waited for a quarter of a minute.
    """

    def __init__(
        self,
        server: str,
        topic: str,
        asked_rate: float | None,
        access: Access = OPEN,
        *,
        stop: threading.Event | None = None,
        trace: Trace = NO_TRACE,
        delivery_s: float = _DELIVERY_S,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._access = access
        self._trace = trace
        self._server = server
        self._topic = topic
        self._asked_rate = asked_rate
        self._stop = stop or threading.Event()
        self._delivery_s = delivery_s
        self._patience_s = patience_s
        self._sent = 0
        self._lost = 0
        self._handed = 0
        self._keyless = 0
        self._unfit = 0
        self._unfit_because = ""
        self._last_error: str | None = None
        self._failing_since: float | None = None
        self._has_failed = False
        self._producer = self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        self._producer.close()

    def send(
        self, key: bytes | None, value: bytes | None, acknowledged: Callable[[int, int], None] | None = None
    ) -> None:
        """Send one message; blocks while the queue is full.

        `acknowledged` is called with partition and offset, by this or a later method, once the broker has the message.
        Raises UnavailableError where the broker has taken nothing for so long that only a restart may help.
        """
        self._require_progress()
        if self._has_failed:
            self._reconnect()

        sending = self._trace.send(self._topic)

        def decided(error: KafkaError | None, message: Any) -> None:
            sending.end(error.str() if error is not None else "")
            if error is not None:
                self._lose(error.str())
                self._failing_since = self._failing_since or time.monotonic()
                return
            self._sent += 1
            self._failing_since = None
            if acknowledged is not None:
                acknowledged(message.partition(), message.offset())

        self._handed += 1
        self._keyless += key is None
        while not self._hand_over(key, value, decided, sending):
            self._producer.poll(_LOOK_S)
            if self._stop.is_set():
                self._lose("it was stopped while Kafka took nothing")
                sending.end("stopped")
                break
        self._producer.poll(0)

    def note_unfit(self, reason: str) -> None:
        """Count a message that is no event, for this reason."""
        self._unfit_because = self._unfit_because or reason
        self._unfit += 1

    def flush(self) -> None:
        """Wait until every message is acknowledged or has failed."""
        deadline = Deadline(self._delivery_s + 5)
        stopped: Deadline | None = None
        while len(self._producer) and not deadline.expired and not (stopped is not None and stopped.expired):
            self._producer.poll(_LOOK_S)
            if stopped is None and self._stop.is_set():
                stopped = Deadline(_STOP_S)
        self._give_up_rest()

    def summary(self, seconds: float) -> Summary:
        """Return the counts so far; `seconds` since the start, for the rate."""
        self._producer.poll(0)
        return Summary(
            topic=self._topic,
            sent=self._sent,
            errors=self._lost,
            waiting=self._handed - self._sent - self._lost,
            keyless=self._keyless,
            seconds=seconds,
            asked_rate=self._asked_rate,
            last_error=self._last_error,
            unfit=self._unfit,
            unfit_because=self._unfit_because,
        )

    def _hand_over(
        self, key: bytes | None, value: bytes | None, decided: Callable[..., None], sending: Sending
    ) -> bool:
        """Queue a message, or count it as refused; return False where the queue is full."""
        try:
            self._producer.produce(self._topic, value, key, on_delivery=decided, headers=sending.headers)
        except BufferError:
            return False
        except KafkaException as error:
            self._lose(f"a message of {len(key or b'') + len(value or b'')} bytes: {error.args[0].str()}")
            self._note(error.args[0])
            sending.end(error.args[0].str())
        return True

    def _lose(self, reason: str) -> None:
        self._lost += 1
        self._last_error = reason

    def _note(self, error: KafkaError) -> None:
        """Note an error that belongs to no message. A producer whose error is fatal sends no more."""
        self._has_failed = self._has_failed or error.fatal() or error.code() == KafkaError._FATAL

    def _require_progress(self) -> None:
        since = self._failing_since
        if since is not None and time.monotonic() - since > self._patience_s:
            self._give_up_rest()
            raise UnavailableError(
                f"Kafka at {self._server}: {self._topic} has taken nothing for {self._patience_s:g} s "
                f"({self._last_error}); check the broker and the topic, then start this again"
            )

    def _reconnect(self) -> None:
        self._give_up_rest()
        self._producer.close()
        self._has_failed = False
        self._producer = self._connect()

    def _give_up_rest(self) -> None:
        """Count as errors what is undecided."""
        self._producer.purge()
        self._producer.flush(1.0)

    def _connect(self) -> Producer:
        delivery_ms = int(self._delivery_s * 1000)
        return Producer(
            {
                **self._access.for_librdkafka(),
                "bootstrap.servers": self._server,
                "log_level": 2,  # what matters comes with the messages
                "error_cb": self._note,
                "acks": "all",
                "enable.idempotence": True,
                # As Kafka's own clients do, so that a user's events lie in one partition whichever client sent them.
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "batch.size": 64 * 1024,
                "message.max.bytes": _LARGEST,
                "queue.buffering.max.kbytes": 32 * 1024,
                "delivery.timeout.ms": delivery_ms,
                "request.timeout.ms": delivery_ms // 2,
                "allow.auto.create.topics": False,
            }
        )
