"""What topics hold of a person: removed from dead letters, marked where a topic is compacted, else left to retention.

Kafka deletes nothing from the middle of a topic. Dead letters are at least once and in no order, so those of others are
sent again unchanged, behind the person's last one, and all up to that one are deleted. Offsets of other topics are in
use by readers: what is in these goes by their retention, which is reported.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from confluent_kafka import Consumer as RdConsumer
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka import Producer as RdProducer

from data.units import MICROS
from events.kafka.access import OPEN, Access
from events.kafka.consumer import PASSING, ConsumerOptions
from events.kafka.deadline import Deadline
from events.kafka.topic_retention import TopicRetention
from events.kafka.topics import LARGEST_LETTER

__all__ = ["TopicTraces", "Traces"]

_TIMEOUT_S = 10.0

IsTheirs = Callable[[bytes], bool]
"""Returns whether a message's key or value names the person."""


class Traces(NamedTuple):
    """A topic, and what becomes of what it holds of a person.

    `removed`: letters that were deleted, `marked`: whether a tombstone was written, by which compaction removes what
    has the person's key. `gone_us`: when retention will have dropped all that is in it now, UTC µs; None: never.
    """

    topic: str
    removed: int
    marked: bool
    gone_us: int | None


class TopicTraces:
    """Works on one Kafka, within a `with` block. Every method raises UnavailableError where Kafka does not answer."""

    def __init__(self, servers: str, access: Access = OPEN) -> None:
        self._topics = TopicRetention(servers, access)
        self._access = access
        settings = {**access.for_librdkafka(), "bootstrap.servers": self._topics.server, "log_level": 2}
        self._producer = RdProducer(
            {**settings, "acks": "all", "message.max.bytes": LARGEST_LETTER, "message.timeout.ms": 30_000}
        )

    def __enter__(self) -> "TopicTraces":
        return self

    def __exit__(self, *_: object) -> None:
        self._producer.close()

    def remove_letters(self, topic: str, is_theirs: IsTheirs) -> int:
        """Delete what a topic of dead letters holds of a person; return how many letters that were."""
        return sum(
            self._remove_letters(TopicPartition(topic, number), is_theirs) for number in self._topics.partitions(topic)
        )

    def mark(self, topic: str, key: bytes) -> None:
        """Write a tombstone of a key to each partition of a compacted topic."""
        for number in self._topics.partitions(topic):
            self._producer.produce(topic, None, key, partition=number)
        self._flush(topic)

    def of(self, topic: str, now_us: int, key: bytes, *, removed: int = 0) -> Traces | None:
        """Return what becomes of what a topic holds, and mark the key where it is compacted; None without a topic."""
        if not self._topics.partitions(topic):
            return None
        kept_ms, rolled_ms, compacted = self._topics.read(topic)
        if compacted:
            self.mark(topic, key)
        # A segment goes as a whole, when the newest message in it is too old.
        gone_us = None if kept_ms is None else now_us + (kept_ms + rolled_ms) * (MICROS // 1000)
        return Traces(topic, removed, compacted, gone_us)

    def _remove_letters(self, place: TopicPartition, is_theirs: IsTheirs) -> int:
        theirs = [letter.offset() for letter in self._letters(place) if _names(letter, is_theirs)]
        if not theirs:
            return 0
        for letter in self._letters(place):
            if letter.offset() > theirs[-1]:
                break
            if not _names(letter, is_theirs):
                self._resend(letter)
        self._flush(place.topic)
        upto = TopicPartition(place.topic, place.partition, theirs[-1] + 1)
        try:
            for future in self._topics.admin.delete_records([upto], request_timeout=_TIMEOUT_S).values():
                future.result(_TIMEOUT_S)
        except KafkaException as error:
            raise self._topics.unavailable(place.topic, error) from error
        return len(theirs)

    def _letters(self, place: TopicPartition) -> Iterator[Any]:
        """Yield all messages that a partition holds now."""
        options = ConsumerOptions(
            servers=self._topics.server, topic=place.topic, group="encore-traces", access=self._access
        )
        consumer = RdConsumer(options.consumer())
        try:
            first, end = consumer.get_watermark_offsets(place, _TIMEOUT_S)
            consumer.assign([TopicPartition(place.topic, place.partition, first)])
            deadline, position = Deadline(_TIMEOUT_S), first
            while position < end:
                for letter in consumer.consume(1_000, 0.2):
                    error = letter.error()
                    if error is None:
                        deadline, position = Deadline(_TIMEOUT_S), letter.offset() + 1
                        if position <= end:
                            yield letter
                    elif error.code() not in PASSING:
                        raise self._topics.unavailable(place.topic, error)
                if deadline.expired:
                    raise self._topics.unavailable(place.topic, "no messages in time")
        except KafkaException as error:
            raise self._topics.unavailable(place.topic, error) from error
        finally:
            consumer.close()

    def _resend(self, letter: Any) -> None:
        """Send a letter again as it is; its headers say what it is of."""
        _, at_ms = letter.timestamp()
        while True:
            try:
                self._producer.produce(
                    letter.topic(),
                    letter.value(),
                    letter.key(),
                    headers=letter.headers() or [],
                    timestamp=max(0, at_ms),
                )
            except BufferError:  # the queue is full
                self._producer.poll(0.1)
            else:
                return

    def _flush(self, topic: str) -> None:
        if left := self._producer.flush(_TIMEOUT_S * 3):
            raise self._topics.unavailable(topic, f"{left} messages were not taken in time")


def _names(letter: Any, is_theirs: IsTheirs) -> bool:
    """Return whether a letter names the person, in its key, its value or the reason that it has."""
    parts = [letter.key(), letter.value(), *(value for _, value in letter.headers() or ())]
    return any(part is not None and is_theirs(part) for part in parts)
