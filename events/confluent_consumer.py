"""A consumer on librdkafka (`confluent_kafka`), whose threads fetch and decode outside of Python."""

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from data.errors import UnavailableError
from events.consumer import Assigned, ConsumerOptions, Message, NameTakenError, Owner, Progress

__all__ = ["ConfluentConsumer"]

logger = logging.getLogger(__name__)

_PATIENCE_S = 3.0

_PASSING = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE)
"""Errors that librdkafka tells of and mends by itself."""

_TAKEN = (KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL)

_OUT_OF_RANGE = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)


class ConfluentConsumer:
    """`events.consumer.Consumer` on librdkafka."""

    def __init__(self, options: ConsumerOptions, owner: Owner) -> None:
        self._options = options
        self._owner = owner
        client = {
            "bootstrap.servers": options.servers,
            "logger": logger,
            **options.access.for_library(),
        }
        self._error: object = None
        self._taken: NameTakenError | None = None
        self._begun: dict[int, Progress] = {}
        self._closing = False
        self._unbegun: list[Any] = []
        """Partitions that are ours and not begun: where to begin could not be said."""
        self._admin = AdminClient(dict(client))
        self._consumer = Consumer(
            {
                **client,
                "group.id": options.group,
                **({"group.instance.id": options.member} if options.member else {}),
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "session.timeout.ms": options.session_ms,
                "heartbeat.interval.ms": options.heartbeat_ms,
                "max.poll.interval.ms": options.poll_ms,
                "socket.timeout.ms": options.commit_ms,
                # kafka-python's members know this one too, so a group may be of both.
                "partition.assignment.strategy": "range",
                "topic.metadata.refresh.interval.ms": 2_000,
                # What waits in librdkafka's queue is memory of ours.
                "queued.max.messages.kbytes": 16 * 1024,
                "fetch.wait.max.ms": 100,
                "allow.auto.create.topics": False,
            }
        )
        self._consumer.subscribe([options.topic], on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose)

    def poll(self, timeout_s: float) -> list[Message]:
        """The first message, and those that are here already."""
        if self._taken is not None:
            raise self._taken
        error, self._error = self._error, None
        if error is not None:
            raise self._gone(error)
        try:
            if self._unbegun:
                self._assign(self._consumer, self._unbegun)
            first = self._consumer.poll(timeout_s)
        except KafkaException as error:
            raise self._gone(error) from error
        if first is None:
            return []
        found = [first]
        try:
            found += self._consumer.consume(self._options.most - 1, 0)
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
            self._unbegun = self._consumer.assignment()
        elif error.code() not in _PASSING:
            self._error = error
        return None

    def topic_id(self) -> bytes:
        """Asked of the broker."""
        topic = self._options.topic
        try:
            asked = self._admin.describe_topics(TopicCollection([topic]), request_timeout=_PATIENCE_S)
            found = asked[topic].result().topic_id
        except KafkaException as error:
            raise self._gone(error) from error
        # Two signed halves.
        parts = (found.get_most_significant_bits(), found.get_least_significant_bits())
        return b"".join((part & (2**64 - 1)).to_bytes(8, "big") for part in parts)

    def commit(self, offsets: Mapping[int, int], note: str) -> None:
        """Committed when it returns."""
        places = [TopicPartition(self._options.topic, number, offset, note) for number, offset in offsets.items()]
        try:
            done = self._consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            raise self._gone(error) from error
        for place in done or ():
            if place.error is not None:
                raise self._gone(place.error)

    def progress(self) -> dict[int, Progress]:
        """As the last fetch told."""
        found = {}
        try:
            for place in self._consumer.position(self._consumer.assignment()):
                begun = self._begun[place.partition]
                _, end = self._consumer.get_watermark_offsets(place, cached=True)
                # There is no position before the first message, and no end before the first fetch.
                position = place.offset if place.offset >= 0 else begun.position
                found[place.partition] = Progress(position, end if end >= 0 else begun.end)
        except KafkaException as error:
            raise self._gone(error) from error
        return found

    def close(self) -> None:
        """Leave the group."""
        self._closing = True
        self._consumer.close()

    def _assign(self, consumer: Any, places: list[Any]) -> None:
        if self._closing:
            return  # partitions that come as it leaves: nothing can be asked of Kafka any more
        self._unbegun = places
        try:
            found = [self._look(consumer, place) for place in places]
            starts = self._owner.assigned(found)
        except BaseException:
            consumer.assign([])  # or librdkafka would begin by itself
            raise
        self._begun = {one.partition: Progress(starts[one.partition], one.end) for one in found}
        consumer.assign([TopicPartition(self._options.topic, number, offset) for number, offset in starts.items()])
        self._unbegun = []

    @staticmethod
    def _look(consumer: Any, place: Any) -> Assigned:
        """What the group and Kafka have of a partition."""
        (committed,) = consumer.committed([place], timeout=_PATIENCE_S)
        if committed.error is not None:
            raise KafkaException(committed.error)
        first, end = consumer.get_watermark_offsets(place, timeout=_PATIENCE_S)
        offset = committed.offset if committed.offset >= 0 else None
        return Assigned(place.partition, offset, committed.metadata or "", first, end)

    def _revoke(self, _consumer: Any, _places: list[Any]) -> None:
        self._unbegun = []
        offsets = self._owner.revoked()
        if offsets:
            try:
                self.commit(offsets, self._owner.note)
            except UnavailableError as error:
                logger.warning("partitions left uncommitted: %s", error)

    def _lose(self, _consumer: Any, _places: list[Any]) -> None:
        self._unbegun = []
        self._owner.lost()

    def _gone(self, error: object) -> UnavailableError:
        cause = error.args[0] if isinstance(error, KafkaException) else error
        # Of a consumer only one error is fatal: that another one took its name.
        if isinstance(cause, KafkaError) and cause.code() in _TAKEN:
            self._taken = NameTakenError(self._options)
            return self._taken
        return UnavailableError(f"Kafka at {self._options.servers}, topic {self._options.topic}: {error}")
