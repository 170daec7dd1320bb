"""Read predictions from Kafka into the archive, continuously or until nothing is left."""

import logging
import time
from typing import Any, Self

from kafka import KafkaConsumer, TopicPartition

from events.kafka.access import OPEN, Access
from events.kafka.topics import await_broker, ensure_topic, topic_id
from events.predictions.archive import Kept, PredictionArchive
from events.predictions.message import PREDICTIONS_TOPIC, decode_prediction

__all__ = ["PredictionReader"]

logger = logging.getLogger(__name__)

_FLUSH_S, _FLUSH_ROWS = 30.0, 20_000


class PredictionReader:
    """Reads the topic from where the archive ends. Not thread-safe; close it when done.

    Raises `UnavailableError` without Kafka.
    """

    def __init__(
        self, servers: str, archive: PredictionArchive, *, topic: str = PREDICTIONS_TOPIC, access: Access = OPEN
    ) -> None:
        server = await_broker(servers, timeout_s=2.0)
        partitions = ensure_topic(server, topic, access=access)
        self._archive = archive
        self._id = topic_id(server, topic, access=access).hex()
        self._waiting: list[Kept] = []
        self._flushed = time.monotonic()
        # The broker checked the messages when it stored them; checking again costs Python more than everything else.
        self._consumer = KafkaConsumer(
            **access.for_kafka_python(),
            bootstrap_servers=server,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            check_crcs=False,
        )
        places = [TopicPartition(topic, number) for number in range(partitions)]
        self._consumer.assign(places)
        ends = archive.ends(self._id)
        for place in places:
            if place.partition in ends:
                self._consumer.seek(place, ends[place.partition] + 1)
            else:
                self._consumer.seek_to_beginning(place)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, wait_s: float = 0.5) -> int:
        """Read what has arrived, waiting at most `wait_s` for something; return the number of predictions.

        They are written to the archive every 30 s or 20,000 rows.
        """
        records: Any = self._consumer.poll(timeout_ms=int(wait_s * 1000), max_records=5000)
        before = len(self._waiting)
        for batch in records.values():
            for record in batch:
                prediction = decode_prediction(record.value)
                if prediction is None:
                    logger.warning("%s offset %d is not a prediction; skipped", record.topic, record.offset)
                else:
                    self._waiting.append(Kept(record.partition, record.offset, prediction))
        taken = len(self._waiting) - before
        due = time.monotonic() - self._flushed > _FLUSH_S
        if self._waiting and (due or len(self._waiting) >= _FLUSH_ROWS):
            self.flush()
        return taken

    def take_all(self, quiet_s: float = 1.0) -> int:
        """Read until nothing has arrived for `quiet_s`, and write it; return the number of predictions."""
        taken = 0
        while some := self.take(quiet_s):
            taken += some
        self.flush()
        return taken

    def flush(self) -> None:
        """Write buffered predictions to the archive."""
        if self._waiting:
            self._archive.append(self._id, self._waiting)
            self._waiting = []
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Write buffered predictions and close the connection."""
        try:
            self.flush()
        finally:
            self._consumer.close()
