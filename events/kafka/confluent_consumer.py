"""A consumer on librdkafka (`confluent_kafka`), whose threads fetch and decode outside of Python."""

import logging
import time
from collections.abc import Collection, Mapping
from typing import Any

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from data.errors import UnavailableError
from events.kafka.consumer import FETCH_WAIT_MS, Assigned, ConsumerOptions, Message, OutOfRangeError, Progress, Topic

__all__ = ["ConfluentConsumer"]

logger = logging.getLogger(__name__)

_PASSING = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE)
"""Errors that librdkafka tells of and mends by itself."""

_OUT_OF_RANGE = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)


class ConfluentConsumer:
    """`events.kafka.consumer.Consumer` on librdkafka."""

    def __init__(self, options: ConsumerOptions) -> None:
        self._options = options
        self._patience_s = options.patience_ms / 1000
        self._client = {
            "bootstrap.servers": options.servers,
            "logger": logger,
            **options.access.for_library(),
        }
        self._error: object = None
        self._out_of_range: set[int] = set()
        self._begun: dict[int, Progress] = {}
        self._ends: dict[int, int] = {}
        """Where partitions ended when they were looked at."""
        self._admin = self._new_admin()
        self._consumer = Consumer(
            {
                **self._client,
                "group.id": options.group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "socket.timeout.ms": options.patience_ms,
                # A topic may get more partitions.
                "topic.metadata.refresh.interval.ms": 2_000,
                # What waits in librdkafka's queue is memory of ours.
                "queued.max.messages.kbytes": 16 * 1024,
                "fetch.wait.max.ms": FETCH_WAIT_MS,
                "allow.auto.create.topics": False,
            }
        )

    def topic(self) -> Topic:
        """Asked of the broker."""
        topic = self._options.topic
        try:
            asked = self._admin.describe_topics(TopicCollection([topic]), request_timeout=self._patience_s)
            found = asked[topic].result()
        except KafkaException as error:
            self._admin = self._new_admin()
            raise self._gone(error) from error
        # Two signed halves.
        parts = (found.topic_id.get_most_significant_bits(), found.topic_id.get_least_significant_bits())
        return Topic(b"".join((part & (2**64 - 1)).to_bytes(8, "big") for part in parts), len(found.partitions))

    def look(self, partitions: Collection[int]) -> list[Assigned]:
        """Asked of the group's coordinator, and of each partition's leader."""
        found = []
        # All of it within the patience: a worker that is to stop waits for no more.
        deadline = time.monotonic() + self._patience_s
        try:
            for place in self._consumer.committed(self._places(dict.fromkeys(partitions, 0)), timeout=self._patience_s):
                if place.error is not None:
                    raise self._gone(place.error)
                remaining_s = max(0.1, deadline - time.monotonic())
                first, end = self._consumer.get_watermark_offsets(place, timeout=remaining_s)
                offset = place.offset if place.offset >= 0 else None
                found.append(Assigned(place.partition, offset, place.metadata or "", first, end))
        except KafkaException as error:
            raise self._gone(error) from error
        self._ends |= {one.partition: one.end for one in found}
        return found

    def assign(self, starts: Mapping[int, int]) -> None:
        """What librdkafka holds of others, or of other offsets, it drops."""
        try:
            self._consumer.assign(self._places(starts))
        except KafkaException as error:
            raise self._gone(error) from error
        self._begun = {number: Progress(start, self._ends.get(number, start)) for number, start in starts.items()}
        self._out_of_range.clear()

    def poll(self, timeout_s: float, most: int) -> list[Message]:
        """The first message, and those that are here already."""
        error, self._error = self._error, None
        if error is not None:
            raise self._gone(error)
        if self._out_of_range:
            raise OutOfRangeError(self._options.servers, self._options.topic, self._out_of_range)
        try:
            first = self._consumer.poll(timeout_s)
        except KafkaException as error:
            raise self._gone(error) from error
        if first is None:
            return []
        found = [first]
        try:
            found += self._consumer.consume(most - 1, 0)
        except KafkaException as late:
            self._error = late
        return [message for one in found if (message := self._message(one))]

    def _message(self, one: Any) -> Message | None:
        """A message as we take it; None where it is an error, which the next poll will raise: what came with it must be
        taken first, since it will not come again."""
        error = one.error()
        if error is None:
            return Message(one.topic(), one.partition(), one.offset(), one.key(), one.value())
        if error.code() in _OUT_OF_RANGE:
            self._out_of_range.add(one.partition())
        elif error.code() not in _PASSING:
            self._error = error
        return None

    def commit(self, offsets: Mapping[int, int], note: str, patience_s: float | None = None) -> None:
        """Committed when it returns."""
        # By the admin client, which keeps to its deadline: librdkafka's consumer was seen to wait for ever for a
        # coordinator that had just died.
        asked = [ConsumerGroupTopicPartitions(self._options.group, self._places(offsets, note))]
        try:
            told = self._admin.alter_consumer_group_offsets(asked, request_timeout=patience_s or self._patience_s)
            places = told[self._options.group].result().topic_partitions
        except KafkaException as error:
            self._admin = self._new_admin()
            raise self._gone(error) from error
        for place in places:
            if place.error is not None:
                raise self._gone(place.error)

    def progress(self) -> dict[int, Progress]:
        """As the last fetch told."""
        found = {}
        try:
            for place in self._consumer.position(self._places(dict.fromkeys(self._begun, 0))):
                begun = self._begun[place.partition]
                _, end = self._consumer.get_watermark_offsets(place, cached=True)
                # There is no position before the first message, and no end before the first fetch.
                position = place.offset if place.offset >= 0 else begun.position
                found[place.partition] = Progress(position, end if end >= 0 else begun.end)
        except KafkaException as error:
            raise self._gone(error) from error
        return found

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()

    def _new_admin(self) -> AdminClient:
        """One that has not failed yet: one that had was seen to reach a broker's coordinator no more, though the broker
        was there and described topics to it."""
        return AdminClient(dict(self._client))

    def _places(self, offsets: Mapping[int, int], note: str = "") -> list[Any]:
        return [TopicPartition(self._options.topic, number, offset, note) for number, offset in offsets.items()]

    def _gone(self, error: object) -> UnavailableError:
        return UnavailableError(f"Kafka at {self._options.servers}, topic {self._options.topic}: {error}")
