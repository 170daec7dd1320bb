"""Predictions on their way to Kafka: handed over in no time, sent by a thread, dropped and counted if that lags.

    answer ─▶ offer ─▶ bounded buffer ─▶ thread: encode, send ─▶ topic `predictions`
                             └─▶ full: dropped, counted

Nothing here can slow an answer: `offer` appends to a list, and where Kafka is gone the buffer fills and then drops.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from kafka import KafkaProducer
from kafka.errors import KafkaError

from data.errors import EncoreError, UnavailableError
from events.predictions import PREDICTIONS_TOPIC
from events.topics import await_broker, ensure_topic

__all__ = ["CAPACITY", "Message", "PredictionSink", "SinkCounts"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

Message = tuple[bytes, bytes]
"""A key and a value."""

CAPACITY = 10_000
"""Answers that may wait for the thread."""

_BATCH = 500
_IDLE_S = 0.05
_RETRY_S = 5.0
_DELIVERY_S = 30
_SHARE = 0.1
"""The part of the time that a client in Python may take: it holds the interpreter, which answers need."""


class SinkCounts(NamedTuple):
    """Predictions that the broker took, that were dropped or lost, and that wait; `error` is why none go, or empty."""

    sent: int
    dropped: int
    waiting: int
    error: str


class PredictionSink(Generic[T]):
    """Takes answers of any type T; `messages` makes Kafka messages of them, in the thread."""

    def __init__(
        self,
        servers: str,
        messages: Callable[[Sequence[T]], Iterable[Message]],
        *,
        topic: str = PREDICTIONS_TOPIC,
        capacity: int = CAPACITY,
    ) -> None:
        self._servers = servers
        self._messages = messages
        self._topic = topic
        self._capacity = capacity
        self._waiting: deque[T] = deque()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._dropped = 0
        self._lost = 0
        self._client: _Client | None = None
        self._earlier = 0
        self._error = "not started"
        self._retry_s = _RETRY_S

    def offer(self, answers: Sequence[T]) -> None:
        """Take answers, or count them as dropped. For one thread at a time; it never waits."""
        room = self._capacity - len(self._waiting)
        if room < len(answers):
            self._dropped += len(answers) - max(room, 0)
            answers = answers[: max(room, 0)]
        self._waiting.extend(answers)

    def counts(self) -> SinkCounts:
        """What became of the answers so far."""
        client = self._client
        sent, lost = (client.sent, client.lost) if client else (0, 0)
        return SinkCounts(self._earlier + sent, self._dropped + self._lost + lost, len(self._waiting), self._error)

    def start(self) -> None:
        """Begin to send, as soon as there is a broker."""
        self._error = "connecting"
        self._thread = threading.Thread(target=self._run, name="predictions", daemon=True)
        self._thread.start()

    def close(self, patience_s: float = 2.0) -> None:
        """Send what waits, for so long, and end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(patience_s + 1.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._serve(_connect(self._servers, self._topic))
            except (EncoreError, KafkaError, OSError) as error:
                if str(error) != self._error:
                    self._error = str(error)
                    logger.warning("predictions are not kept: %s", error)
                self._stop.wait(self._retry_s)
            except Exception:  # whatever it is, answers go on, and so must this
                self._error = "a bug; the log says more"
                logger.exception("predictions are not kept")
                self._stop.wait(self._retry_s)

    def _serve(self, client: "_Client") -> None:
        self._client, self._error = client, ""
        try:
            while not (self._stop.is_set() and not self._waiting):
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                began = time.monotonic()
                try:
                    for key, value in self._messages(batch) if batch else ():
                        client.send(key, value)
                except BaseException:
                    self._lost += len(batch)
                    raise
                client.poll()
                if client.lost and not self._stop.is_set():
                    # The broker, or the topic with it, may be another one now.
                    raise UnavailableError(f"Kafka at {self._servers} did not take {client.lost} predictions")
                if not self._stop.is_set():
                    busy = time.monotonic() - began
                    self._stop.wait(max(0.0 if len(batch) == _BATCH else _IDLE_S, busy * client.rest))
        finally:
            client.close(2.0)
            self._earlier, self._lost = self._earlier + client.sent, self._lost + client.lost
            self._client = None


class _Client(Protocol):
    """A Kafka producer that counts what it sent and lost; `rest` is how long to rest per second of work."""

    sent: int
    lost: int
    rest: float

    def send(self, key: bytes, value: bytes) -> None: ...

    def poll(self) -> None: ...

    def close(self, timeout_s: float) -> None: ...


def _connect(servers: str, topic: str) -> _Client:
    """librdkafka where it is installed (the extra `fast`): it costs a hundredth of the client in Python."""
    server = await_broker(servers, timeout_s=1.0)
    ensure_topic(server, topic)
    try:
        import confluent_kafka  # noqa: PLC0415 - an extra
    except ImportError:
        return _PythonClient(server, topic)
    return _LibraryClient(confluent_kafka.Producer, server, topic)


class _LibraryClient:
    rest = 0.0

    def __init__(self, producer: Callable[..., Any], server: str, topic: str) -> None:
        self._topic = topic
        self.sent = self.lost = 0
        self._producer = producer(
            {
                "bootstrap.servers": server,
                "linger.ms": 50,
                "compression.type": "gzip",  # the one that every client can read without another library
                "compression.level": 1,
                "queue.buffering.max.messages": CAPACITY,
                "message.timeout.ms": _DELIVERY_S * 1000,
                "log_level": 2,
                "allow.auto.create.topics": False,
            }
        )

    def send(self, key: bytes, value: bytes) -> None:
        try:
            self._producer.produce(self._topic, value, key, on_delivery=self._done)
        except BufferError:  # its own queue is full: Kafka is slow or gone
            self.lost += 1
            self._producer.poll(0)

    def poll(self) -> None:
        self._producer.poll(0)

    def close(self, timeout_s: float) -> None:
        self.lost += self._producer.flush(timeout_s)

    def _done(self, error: object, _: object) -> None:
        if error is None:
            self.sent += 1
        else:
            self.lost += 1


class _PythonClient:
    rest = 1 / _SHARE - 1

    def __init__(self, server: str, topic: str) -> None:
        self._topic = topic
        self.sent = self.lost = 0
        self._producer = KafkaProducer(
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
