"""A member of a Kafka consumer group, on librdkafka (`confluent_kafka`), which fetches and decodes outside of Python.

The broker assigns and revokes partitions incrementally: by its own group protocol (KIP-848) where it has that, else by
the classic one with cooperative-sticky assignment. Either way it happens inside `poll`, on the caller's thread.
"""

import logging
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka import Consumer as RdConsumer
from confluent_kafka.admin import AdminClient

from data.errors import (
    ConfigurationError,
    MissingTopicError,
    OutOfRangeError,
    UnavailableError,
    UnsupportedProtocolError,
)
from events.kafka.access import OPEN, Access, GroupProtocol
from events.kafka.connection import Assigned, Listener, Message, Progress, Topic
from events.kafka.deadline import Deadline
from events.kafka.topics import LARGEST_BATCH
from events.kafka.unreadable import UNPACKING_S, UNREADABLE, passed_by
from events.trace import TRACE_HEADER

__all__ = ["PASSING", "Consumer", "ConsumerOptions", "message_of", "read_offsets"]

logger = logging.getLogger(__name__)

_SESSION_MS = 6_000
"""Session timeout of a member of a classic group: the least that brokers allow by default. Under KIP-848 the broker
sets it (`group.consumer.session.timeout.ms`)."""

_CLOSE_S = 1.0
"""Time limit for leaving the group: librdkafka waits a whole session for a coordinator that is gone."""

_TOPIC_S = 1.0
"""Time limit for describing the topic: a client that has lost its broker finds another one later than a new client."""

PASSING = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE)
"""Errors that librdkafka reports and recovers from by itself."""

_LONGEST_TRACE = 64

_OUT_OF_RANGE = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)

_GROUP_TAKEN = (KafkaError.INCONSISTENT_GROUP_PROTOCOL, KafkaError.GROUP_ID_NOT_FOUND)
"""Errors that mean that another program uses the group, under another protocol."""


@dataclass(frozen=True, kw_only=True)
class ConsumerOptions:
    """Settings of a group member.

    `servers` as "host:port,host:port"; `name` is the client id that Kafka's tools show. A request to Kafka that takes
    longer than `patience_ms` has failed; `fetch_wait_ms` is how long the broker may wait for messages before it answers
    a fetch. `traced`: messages tell their sender's span.
    """

    servers: str
    topic: str
    group: str
    name: str = "encore"
    protocol: GroupProtocol = "consumer"
    patience_ms: int = 3_000
    fetch_wait_ms: int = 100
    access: Access = OPEN
    traced: bool = False

    def client(self) -> dict[str, Any]:
        """Return settings of every librdkafka client."""
        return {
            "bootstrap.servers": self.servers,
            "client.id": self.name,
            "logger": logger,
            **self.access.for_librdkafka(),
        }

    def consumer(self) -> dict[str, Any]:
        """Return settings of a librdkafka consumer that begins at explicit offsets only."""
        return {
            **self.client(),
            "group.id": self.group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "socket.timeout.ms": self.patience_ms,
            # To notice partitions that are added to the topic.
            "topic.metadata.refresh.interval.ms": 2_000,
            # librdkafka's queue is memory of this process.
            "queued.max.messages.kbytes": 16 * 1024,
            # What a broker gives at once can become a thousand times as much, all of which is unpacked before the first
            # message is here. A batch that is larger comes alone.
            "fetch.message.max.bytes": 256 * 1024,
            "fetch.max.bytes": LARGEST_BATCH,
            "message.max.bytes": LARGEST_BATCH,  # librdkafka fetches no less than what it would send
            "fetch.wait.max.ms": self.fetch_wait_ms,
            "allow.auto.create.topics": False,
        }


class Consumer:
    """Reads the partitions of one topic that the group assigns to this member. Not thread-safe.

    It begins a partition at an explicit offset: one that Kafka does not hold is never skipped silently. Messages of
    transactions are delivered once they are committed. Every method may raise UnavailableError; call it again.
    """

    def __init__(self, options: ConsumerOptions) -> None:
        self._options = options
        self._patience_s = options.patience_ms / 1000
        self._listener: Listener | None = None
        self._failure: Exception | None = None
        self._out_of_range: set[int] = set()
        self._unreadable: dict[int, tuple[int, str]] = {}
        """Per partition, the offset before which librdkafka stands, and why."""
        self._begun: dict[int, Progress] = {}
        self._ends: dict[int, int] = {}
        """The end offsets of partitions at the last `look`."""
        self._stashed: list[Any] = []
        """Messages received while waiting for a commit."""
        self._admin = self._new_admin()
        classic = {
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": _SESSION_MS,
            "heartbeat.interval.ms": _SESSION_MS // 6,
        }
        self._consumer = RdConsumer(
            {
                **options.consumer(),
                "group.protocol": options.protocol,
                **(classic if options.protocol == "classic" else {}),
                "on_commit": self._on_commit,
            }
        )
        self._was_assigned = False
        self._commits_sent = self._commits_answered = 0
        self._commit_error: KafkaError | None = None

    @property
    def member_id(self) -> str:
        """Kafka's id of this member; empty before it has joined."""
        return str(self._consumer.memberid() or "")

    @property
    def reading(self) -> frozenset[int]:
        """Partitions that are begun."""
        return frozenset(self._begun)

    def topic(self) -> Topic:
        """Return the topic's present id and number of partitions, as the broker reports them.

        Raises MissingTopicError where there is no such topic.
        """
        topic = self._options.topic
        try:
            limit_s = min(self._patience_s, _TOPIC_S)
            answer = self._admin.describe_topics(TopicCollection([topic]), request_timeout=limit_s)[topic].result()
        except KafkaException as error:
            # An admin client that failed once may never reconnect to a broker that is back.
            self._admin = self._new_admin()
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise MissingTopicError(f"Kafka at {self._options.servers}: there is no topic {topic}") from error
            raise self._unavailable(error) from error
        # A UUID as two signed 64-bit halves.
        parts = (answer.topic_id.get_most_significant_bits(), answer.topic_id.get_least_significant_bits())
        return Topic(b"".join((part & (2**64 - 1)).to_bytes(8, "big") for part in parts), len(answer.partitions))

    def join(self, listener: Listener) -> None:
        """Join the group; `listener` receives its assignments from the next `poll` on."""
        self._listener = listener
        self._consumer.subscribe(
            [self._options.topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def look(self, partitions: Collection[int]) -> list[Assigned]:
        """Return what the group has committed of partitions, and which offsets Kafka holds."""
        assigned = []
        # All requests share one time limit, since a worker that is to stop must not wait longer.
        deadline = Deadline(self._patience_s)
        try:
            for place in self._consumer.committed(self._places(dict.fromkeys(partitions, 0)), timeout=self._patience_s):
                if place.error is not None:
                    raise self._unavailable(place.error)
                first, end = self._consumer.get_watermark_offsets(place, timeout=deadline.remaining(0.1))
                offset = place.offset if place.offset >= 0 else None
                assigned.append(Assigned(place.partition, offset, place.metadata or "", first, end))
        except KafkaException as error:
            raise self._unavailable(error) from error
        self._ends |= {partition.partition: partition.end for partition in assigned}
        return assigned

    def begin(self, starts: Mapping[int, int]) -> None:
        """Read these partitions from the given offsets; a partition that was begun before is restarted."""
        self.drop(self.reading & starts.keys())
        if not starts:
            return
        try:
            self._consumer.incremental_assign(self._places(starts))
        except KafkaException as error:
            raise self._unavailable(error) from error
        self._begun |= {number: Progress(start, self._ends.get(number, start)) for number, start in starts.items()}

    def drop(self, partitions: Collection[int]) -> None:
        """Stop reading these partitions until they are begun again; messages already fetched are dropped."""
        begun = self.reading & set(partitions)
        if begun:
            self._consumer.incremental_unassign(self._places(dict.fromkeys(begun, 0)))
        self._stashed = [raw for raw in self._stashed if raw.partition() not in begun]
        self._out_of_range -= begun
        self._unreadable = {number: fault for number, fault in self._unreadable.items() if number not in begun}
        for number in begun:
            del self._begun[number]

    def poll(self, timeout_s: float, most: int) -> list[Message]:
        """Return up to `most` messages that have arrived, in offset order per partition; wait only for the first.

        Raises:
            OutOfRangeError: names partitions whose next offset Kafka does not hold.
            ConfigurationError: the group belongs to another program.
        """
        self._raise_failure()
        if self._out_of_range:
            raise OutOfRangeError(self._options.servers, self._options.topic, self._out_of_range)
        received, self._stashed = self._stashed, []
        try:
            if not received:
                first = self._consumer.poll(timeout_s)
                if first is None:
                    return []
                received = [first]
            received += self._consumer.consume(most - len(received), 0) if most > len(received) else []
        except KafkaException as error:
            if not received:
                raise self._unavailable(error) from error
            self._failure = self._unavailable(error)
        messages = [message for raw in received if (message := self._message(raw))] + self._pass_by()
        # A partition can be revoked between two messages of one call: one not begun now is another member's.
        return [message for message in messages if message.partition in self._begun]

    def commit(self, offsets: Mapping[int, int], note: str, patience_s: float | None = None) -> None:
        """Commit the next offset of each partition, with a note for the next reader.

        Raises UnavailableError where Kafka has not confirmed it within `patience_s` (by default the options').
        """
        self.commit_soon(offsets, note)
        number, deadline = self._commits_sent, Deadline(self._patience_s if patience_s is None else patience_s)
        # librdkafka calls back inside poll; its own synchronous commit waits for a lost coordinator for a session.
        while self._commits_answered < number:
            if deadline.expired:
                raise UnavailableError(f"Kafka at {self._options.servers}: the commit was not confirmed in time")
            raw = self._consumer.poll(min(0.05, deadline.remaining()))
            if raw is not None:
                self._stashed.append(raw)
        if self._commit_error is not None:
            raise self._unavailable(self._commit_error)

    def commit_soon(self, offsets: Mapping[int, int], note: str) -> None:
        """Send a commit without waiting for its answer.

        Brokers process a member's requests in order: the commit takes effect before any later release of a partition.
        """
        try:
            self._consumer.commit(offsets=self._places(offsets, note), asynchronous=True)
        except KafkaException as error:
            raise self._unavailable(error) from error
        self._commits_sent += 1

    def progress(self) -> dict[int, Progress]:
        """Return how far the partitions are read, as of the last fetch."""
        progress = {}
        try:
            for place in self._consumer.position(self._places(dict.fromkeys(self._begun, 0))):
                begun = self._begun[place.partition]
                _, end = self._consumer.get_watermark_offsets(place, cached=True)
                # There is no position before the first message, and no end before the first fetch.
                position = place.offset if place.offset >= 0 else begun.position
                progress[place.partition] = Progress(position, end if end >= 0 else begun.end)
        except KafkaException as error:
            raise self._unavailable(error) from error
        return progress

    def close(self) -> None:
        """Leave the group and close connections.

        Messages not committed are delivered again, to the partition's next reader.
        """
        self._listener = None
        closing = threading.Thread(target=self._consumer.close, name="kafka-close", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)
        # It ends with its last reference, and this object is in a reference cycle with its callbacks: a worker that
        # waits for Kafka opens another every few seconds.
        vars(self).pop("_admin", None)

    def _on_assign(self, _: object, places: list[Any]) -> None:
        logger.info("%s: assigned partitions %s", self._options.topic, sorted(place.partition for place in places))
        self._was_assigned = True
        # Where each begins depends on Kafka and the log: `begin` assigns it.
        self._consumer.incremental_assign([])
        self._notify("assigned", places)

    def _on_revoke(self, _: object, places: list[Any]) -> None:
        logger.info("%s: revoked partitions %s", self._options.topic, sorted(place.partition for place in places))
        self._notify("revoked", places)
        self._leave(places)

    def _on_lost(self, _: object, places: list[Any]) -> None:
        logger.warning("%s: lost partitions %s", self._options.topic, sorted(place.partition for place in places))
        self._notify("lost", places)
        self._leave(places)

    def _leave(self, places: list[Any]) -> None:
        numbers = {place.partition for place in places}
        if numbers & self.reading:
            self.drop(numbers)
        else:
            self._consumer.incremental_unassign([])

    def _notify(self, what: str, places: list[Any]) -> None:
        if self._listener is None:
            return
        try:
            getattr(self._listener, what)(frozenset(place.partition for place in places))
        except Exception as error:  # noqa: BLE001 - raised through librdkafka it would take fetched messages with it
            self._failure = error

    def _on_commit(self, error: KafkaError | None, places: list[Any]) -> None:
        self._commit_error = error or next((place.error for place in places if place.error is not None), None)
        self._commits_answered += 1

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _message(self, raw: Any) -> Message | None:
        """Return a received message; None where it is an error, which the next poll raises.

        What was received with the error must be returned first, since it is not delivered again.
        """
        error = raw.error()
        if error is None:
            return message_of(raw, traced=self._options.traced)
        if error.code() in UNREADABLE:
            if raw.partition() in self._begun:
                self._unreadable[raw.partition()] = (raw.offset(), error.str())
        elif error.code() in _OUT_OF_RANGE:
            # A partition that was given up meanwhile has no offset here at which to begin again.
            self._out_of_range |= {raw.partition()} & self._begun.keys()
        elif error.code() == KafkaError._FATAL and self._options.protocol == "consumer" and not self._was_assigned:
            # librdkafka gives the cause of a fatal error as text only; before joining there is one possible cause.
            self._failure = UnsupportedProtocolError(f"Kafka at {self._options.servers}: {error.str()}")
        elif error.code() in _GROUP_TAKEN:
            self._failure = ConfigurationError(
                f"Kafka group {self._options.group}: another program uses it with another protocol ({error.str()}); "
                "stop that program, or choose another group (`encore stream --group NAME`)"
            )
        elif error.code() not in PASSING:
            self._failure = self._unavailable(error)
        return None

    def _pass_by(self) -> list[Message]:
        """Continue behind what cannot be read, which is delivered as one message at its last offset."""
        passed = []
        for number, (offset, reason) in list(self._unreadable.items()):
            try:
                message = passed_by(self._options.consumer(), self._options.topic, number, offset, reason)
            except UnavailableError as error:
                self._failure = error
                continue
            passed.append(message)
            self.begin({number: message.offset + 1})
        return passed

    def _new_admin(self) -> AdminClient:
        return AdminClient(self._options.client())

    def _places(self, offsets: Mapping[int, int], note: str = "") -> list[Any]:
        return [TopicPartition(self._options.topic, number, offset, note) for number, offset in offsets.items()]

    def _unavailable(self, error: object) -> UnavailableError:
        return UnavailableError(f"Kafka at {self._options.servers}, topic {self._options.topic}: {error}")


def message_of(raw: Any, *, traced: bool = False, largest: int = LARGEST_BATCH) -> Message:
    """Return a message that Kafka's client has received; of a larger one, its beginning.

    Where `traced`, it has its sender's span.
    """
    kind, at_ms = raw.timestamp()
    at_us = at_ms * 1000 if kind != TIMESTAMP_NOT_AVAILABLE else None
    trace = _trace(raw.headers()) if traced else ""
    place = raw.topic(), raw.partition(), raw.offset()
    return Message(*place, raw.key(), raw.value(), at_us=at_us, trace=trace).bounded(largest)


def _trace(headers: list[tuple[str, bytes | None]] | None) -> str:
    values = (value for name, value in headers or () if name == TRACE_HEADER and value)
    return next(values, b"")[:_LONGEST_TRACE].decode("ascii", "replace")


def read_offsets(options: ConsumerOptions, partition: int, offsets: range) -> Iterator[list[Message]]:
    """Yield the messages of a partition at `offsets` that Kafka holds, in lists.

    It joins no group, and passes by what cannot be read as a member does (`events.kafka.unreadable`). Raises
    UnavailableError where Kafka does not answer or does not hold the first offset.
    """
    consumer = RdConsumer(options.consumer() | {"enable.partition.eof": True})
    try:
        consumer.assign([TopicPartition(options.topic, partition, offsets.start)])
        deadline = Deadline(UNPACKING_S)
        position = offsets.start
        while position < offsets.stop:
            messages = []
            for raw in consumer.consume(5_000, 0.1):
                error = raw.error()
                if error is None:
                    position = raw.offset() + 1
                    messages.append(message_of(raw))
                elif error.code() in UNREADABLE:
                    message = passed_by(options.consumer(), options.topic, partition, raw.offset(), error.str())
                    messages.append(message)
                    position = message.offset + 1
                    consumer.assign([TopicPartition(options.topic, partition, position)])
                    break
                elif error.code() == KafkaError._PARTITION_EOF:
                    position = offsets.stop
                elif error.code() not in PASSING:
                    raise UnavailableError(f"Kafka at {options.servers}, topic {options.topic}: {error}")
            if messages:
                deadline = Deadline(UNPACKING_S)
                if wanted := [message for message in messages if message.offset < offsets.stop]:
                    yield wanted
            elif deadline.expired:
                raise UnavailableError(f"Kafka at {options.servers}, topic {options.topic}: no messages in time")
    except KafkaException as error:
        raise UnavailableError(f"Kafka at {options.servers}, topic {options.topic}: {error}") from error
    finally:
        consumer.close()
