"""Predictions on their way to Kafka: queued without waiting, dropped and counted where Kafka lags.

    answer ─▶ offer ─┬─▶ librdkafka's queue ─────────────────────┬─▶ topic `predictions`
                     └─▶ bounded buffer ─▶ thread: encode, send ─┘
                              └─▶ full: dropped, counted

Messages go straight to librdkafka: that is little work, and a thread for it would compete with the answers for the
interpreter. The thread sends what must wait: for a broker that is not reached yet, or because its messages take long to
make. Without Kafka the buffer fills, and then answers are dropped.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from data.errors import EncoreError, UnavailableError
from events.kafka.access import OPEN, Access
from events.predictions.message import PREDICTIONS_TOPIC

__all__ = ["CAPACITY", "Message", "PredictionSink", "SinkCounts"]

if TYPE_CHECKING:
    from events.predictions.client import PredictionClient

logger = logging.getLogger(__name__)

T = TypeVar("T")

Message = tuple[bytes, bytes]
"""A key and a value."""

CAPACITY = 10_000
"""Answers that may wait for the thread."""

_BATCH = 500
_IDLE_S = 0.05
_RETRY_S = 5.0


class SinkCounts(NamedTuple):
    """Numbers of predictions sent, dropped or lost, and waiting; `error` is why none are sent, or empty."""

    sent: int
    dropped: int
    waiting: int
    error: str


class PredictionSink(Generic[T]):
    """Takes answers of any type T; `messages` makes Kafka messages of them, on whichever thread sends."""

    def __init__(
        self,
        servers: str,
        messages: Callable[[Sequence[T]], Iterable[Message]],
        *,
        topic: str = PREDICTIONS_TOPIC,
        capacity: int = CAPACITY,
        access: Access = OPEN,
        retry_s: float = _RETRY_S,
    ) -> None:
        self._access = access
        self._servers = servers
        self._messages = messages
        self._topic = topic
        self._capacity = capacity
        self._waiting: deque[T] = deque()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._dropped = 0
        self._lost = 0
        self._client: PredictionClient | None = None
        self._direct_client: PredictionClient | None = None
        self._sent_before = 0
        self._error = "not started"
        self._retry_s = retry_s

    def offer(self, answers: Sequence[T], *, later: bool = False) -> None:
        """Queue answers, or count them as dropped. Never blocks; for one thread at a time.

        `later`: their messages take long to make, so the sink's thread makes them.
        """
        client = None if later else self._direct_client
        if client is not None:
            try:
                for key, value in self._messages(answers):
                    client.send(key, value)
            except BaseException:
                self._dropped += len(answers)
                raise
            return
        room = self._capacity - len(self._waiting)
        if room < len(answers):
            self._dropped += len(answers) - max(room, 0)
            answers = answers[: max(room, 0)]
        self._waiting.extend(answers)

    def counts(self) -> SinkCounts:
        """Return the counts so far."""
        client = self._client
        sent, lost = (client.sent, client.lost) if client else (0, 0)
        return SinkCounts(self._sent_before + sent, self._dropped + self._lost + lost, len(self._waiting), self._error)

    def start(self) -> None:
        """Start sending, as soon as there is a broker."""
        self._error = "connecting"
        self._thread = threading.Thread(target=self._run, name="predictions", daemon=True)
        self._thread.start()

    def close(self, patience_s: float = 2.0) -> None:
        """Send what waits, for at most `patience_s` seconds, and end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(patience_s + 1.0)

    def _run(self) -> None:
        # Imported on this thread, so that the server's start does not wait for Kafka's libraries.
        from events.predictions.client import PredictionClient  # noqa: PLC0415

        while not self._stop.is_set():
            try:
                self._serve(PredictionClient(self._servers, self._topic, self._access))
            except (EncoreError, OSError) as error:
                if str(error) != self._error:
                    self._error = str(error)
                    logger.warning("predictions are not stored: %s", error)
                self._stop.wait(self._retry_s)
            except Exception:  # a bug here must not end the thread, since answers go on
                self._error = "a bug; the log says more"
                logger.exception("predictions are not stored")
                self._stop.wait(self._retry_s)

    def _serve(self, client: "PredictionClient") -> None:
        self._client, self._error = client, ""
        self._direct_client = client
        try:
            while not (self._stop.is_set() and not self._waiting):
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                try:
                    for key, value in self._messages(batch) if batch else ():
                        client.send(key, value)
                except BaseException:
                    self._lost += len(batch)
                    raise
                client.poll()
                if client.lost and not self._stop.is_set():
                    # The broker, or its topic, may have been recreated.
                    raise UnavailableError(f"Kafka at {self._servers} did not take {client.lost} predictions")
                if len(batch) < _BATCH:
                    self._stop.wait(_IDLE_S)
        finally:
            self._direct_client = None
            client.close(2.0)
            self._sent_before, self._lost = self._sent_before + client.sent, self._lost + client.lost
            self._client = None
