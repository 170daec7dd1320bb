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
from events.predictions.archive import Kept, PredictionArchive
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
        self._waiting: list[Kept] = []
        self._flushed = time.monotonic()
        self.damaged = 0
        # It joins no group, and librdkafka wants to know one all the same.
        options = ConsumerOptions(servers=server, topic=topic, group="encore-predictions", access=access)
        self._topic = topic
        self._settings = options.consumer()
        self._behind: dict[int, int] = {}
        """Per partition, where reading went on behind what cannot be read."""
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
        taken = len(self._waiting) - before
        due = time.monotonic() - self._flushed > _FLUSH_S
        if self._waiting and (due or len(self._waiting) >= _FLUSH_ROWS):
            self.flush()
        return taken

    def _take(self, wait_s: float) -> int:
        """Keep what has come; how many messages that were."""
        came = self._come(wait_s)
        for message in came:
            prediction = decode_prediction(message.value(), self._schema)
            if prediction is None:
                self.damaged += 1
                logger.warning("%s offset %d is not a prediction; skipped", message.topic(), message.offset())
            else:
                self._waiting.append(Kept(message.partition(), message.offset(), prediction))
        return len(came)

    def _come(self, wait_s: float) -> list[Any]:
        """The messages that have come. UnavailableError where Kafka says that it cannot give them."""
        try:
            first = self._consumer.poll(wait_s)
            came = [] if first is None else [first, *self._consumer.consume(_MOST - 1, 0)]
        except KafkaException as error:
            raise UnavailableError(f"Kafka at {self._servers}: {error}") from error
        for one in came:
            failure = one.error()
            if failure is not None and failure.code() in UNREADABLE:
                self._pass_by(one)
            elif failure is not None and failure.code() not in PASSING:
                raise UnavailableError(f"Kafka at {self._servers}: {failure}")
        return [one for one in came if one.error() is None]

    def _pass_by(self, unreadable: Any) -> None:
        """Go on behind messages that cannot be read at all."""
        partition, offset = unreadable.partition(), unreadable.offset()
        if offset < self._behind.get(partition, 0):
            return  # it was said before
        behind = next_readable(self._settings, self._topic, partition, offset)
        self._behind[partition] = behind
        self.damaged += behind - offset
        logger.warning("%s offsets %d to %d cannot be read; skipped", self._topic, offset, behind - 1)
        self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])
        self._consumer.incremental_assign([TopicPartition(self._topic, partition, behind)])

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
        self._waiting = [one for one in self._waiting if not self._is_suppressed(one.prediction)]
        if self._waiting:
            self._archive.append(self._id, self._waiting)
            self._waiting = []
        self._flushed = time.monotonic()

    def _is_suppressed(self, prediction: Prediction) -> bool:
        if not self._suppression:
            return False
        named = ((key, getattr(prediction, key)) for key in self._schema.asked_keys)
        given_us = to_micros(prediction.timestamp)
        return any(value is not None and self._suppression.refuses(key, value, given_us) for key, value in named)

    def close(self) -> None:
        """Write buffered predictions and close the connection."""
        try:
            self.flush()
        finally:
            self._consumer.close()
