"""Read predictions from Kafka into the archive, continuously or until nothing is left."""

import logging
import time
from typing import Any, Self

from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicPartition
from confluent_kafka import Consumer as RdConsumer

from data.default_shop import SHOP
from data.errors import UnavailableError
from data.log.suppression import Suppression
from data.schema import Schema
from data.units import to_micros
from events.kafka.access import OPEN, Access
from events.kafka.consumer import PASSING, ConsumerOptions
from events.kafka.topics import await_broker, ensure_topic, topic_id
from events.kafka.unreadable import UNREADABLE, next_readable
from events.predictions.archive import Archived, PredictionArchive
from events.predictions.message import PREDICTIONS_TOPIC, Prediction, decode_prediction

__all__ = ["PredictionReader"]

logger = logging.getLogger(__name__)

_FLUSH_S, _FLUSH_ROWS = 30.0, 20_000
_MOST = 5_000


class PredictionReader:
    """Reads the topic from where the archive ends. Not thread-safe; close it when done.

    Predictions about people whom `suppression` refuses are not kept.

    Raises `UnavailableError` without Kafka.
    """

    def __init__(
        self,
        servers: str,
        archive: PredictionArchive,
        *,
        topic: str = PREDICTIONS_TOPIC,
        access: Access = OPEN,
        schema: Schema = SHOP,
        suppression: Suppression | None = None,
    ) -> None:
        server = await_broker(servers, timeout_s=2.0)
        partitions = ensure_topic(server, topic, access=access)
        self._servers = servers
        self._archive = archive
        self._schema = schema
        self._suppression = suppression or Suppression(None)
        self._id = topic_id(server, topic, access=access).hex()
        self._waiting: list[Archived] = []
        self._flushed = time.monotonic()
        self.damaged = 0
        # It joins no group, but librdkafka requires one.
        options = ConsumerOptions(servers=server, topic=topic, group="encore-predictions", access=access)
        self._topic = topic
        self._settings = options.consumer()
        self._resumed: dict[int, int] = {}
        """Per partition, the offset at which reading resumed behind unreadable messages."""
        self._consumer = RdConsumer(self._settings | {"auto.offset.reset": "earliest"})
        ends = archive.ends(self._id)
        starts = {number: ends[number] + 1 if number in ends else OFFSET_BEGINNING for number in range(partitions)}
        self._consumer.assign([TopicPartition(topic, number, start) for number, start in starts.items()])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, wait_s: float = 0.5) -> int:
        """Read what has arrived, waiting at most `wait_s` for something; return the number of predictions.

        They are written to the archive every 30 s or 20,000 rows.
        """
        before = len(self._waiting)
        self._take(wait_s)
        count = len(self._waiting) - before
        due = time.monotonic() - self._flushed > _FLUSH_S
        if self._waiting and (due or len(self._waiting) >= _FLUSH_ROWS):
            self.flush()
        return count

    def _take(self, wait_s: float) -> int:
        """Buffer what has arrived; return the number of messages."""
        messages = self._received(wait_s)
        for message in messages:
            prediction = decode_prediction(message.value(), self._schema)
            if prediction is None:
                self.damaged += 1
                logger.warning("%s offset %d is not a prediction; skipped", message.topic(), message.offset())
            else:
                self._waiting.append(Archived(message.partition(), message.offset(), prediction))
        return len(messages)

    def _received(self, wait_s: float) -> list[Any]:
        """Return the messages that have arrived. Raises UnavailableError where Kafka cannot return them."""
        try:
            first = self._consumer.poll(wait_s)
            received = [] if first is None else [first, *self._consumer.consume(_MOST - 1, 0)]
        except KafkaException as error:
            raise UnavailableError(f"Kafka at {self._servers}: {error}") from error
        for message in received:
            failure = message.error()
            if failure is not None and failure.code() in UNREADABLE:
                self._pass_by(message)
            elif failure is not None and failure.code() not in PASSING:
                raise UnavailableError(f"Kafka at {self._servers}: {failure}")
        return [message for message in received if message.error() is None]

    def _pass_by(self, unreadable: Any) -> None:
        """Continue behind messages that cannot be read at all."""
        partition, offset = unreadable.partition(), unreadable.offset()
        if offset < self._resumed.get(partition, 0):
            return  # it was reported before
        resumed = next_readable(self._settings, self._topic, partition, offset)
        self._resumed[partition] = resumed
        self.damaged += resumed - offset
        logger.warning("%s offsets %d to %d cannot be read; skipped", self._topic, offset, resumed - 1)
        self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])
        self._consumer.incremental_assign([TopicPartition(self._topic, partition, resumed)])

    def take_all(self, quiet_s: float = 1.0) -> int:
        """Read until nothing has arrived for `quiet_s`, and write it; return the number of predictions."""
        taken = 0
        while self._take(quiet_s):
            if len(self._waiting) >= _FLUSH_ROWS:
                taken += len(self._waiting)
                self.flush()
        taken += len(self._waiting)
        self.flush()
        return taken

    def flush(self) -> None:
        """Write buffered predictions to the archive."""
        self._suppression.look(now=True)
        self._waiting = [kept for kept in self._waiting if not self._is_suppressed(kept.prediction)]
        if self._waiting:
            self._archive.append(self._id, self._waiting)
            self._waiting = []
        self._flushed = time.monotonic()

    def _is_suppressed(self, prediction: Prediction) -> bool:
        if not self._suppression:
            return False
        keys = ((key, getattr(prediction, key)) for key in self._schema.asked_keys)
        answered_us = to_micros(prediction.timestamp)
        return any(value is not None and self._suppression.refuses(key, value, answered_us) for key, value in keys)

    def close(self) -> None:
        """Write buffered predictions and close the connection."""
        try:
            self.flush()
        finally:
            self._consumer.close()
