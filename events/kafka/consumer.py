"""A member of a Kafka consumer group, on librdkafka (`confluent_kafka`), which fetches and decodes outside of Python.

The broker assigns and revokes partitions incrementally: by its own group protocol (KIP-848) where it has that, else by
the classic one with cooperative-sticky assignment. Either way it happens inside `poll`, on the caller's thread.
"""

import logging
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from confluent_kafka import Consumer as RdConsumer
from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from data.errors import (
    ConfigurationError,
    MissingTopicError,
    OutOfRangeError,
    UnavailableError,
    UnsupportedProtocolError,
)
from events.kafka.access import OPEN, Access, GroupProtocol
from events.kafka.deadline import Deadline

__all__ = [
    "PASSING",
    "Assigned",
    "Consumer",
    "ConsumerOptions",
    "Listener",
    "Message",
    "Progress",
    "Topic",
    "read_offsets",
]

logger = logging.getLogger(__name__)

_SESSION_MS = 6_000
"""How long a member of a classic group may be silent: the least that brokers allow by default. Under KIP-848 the broker
decides (`group.consumer.session.timeout.ms`)."""

_CLOSE_S = 1.0
"""How long leaving the group may take: librdkafka waits for a coordinator that is gone for as long as a session."""

_TOPIC_S = 1.0
"""How long it may take to hear of the topic. A client that has lost its broker hears nothing, and a new one finds
another broker sooner than the old one does."""

PASSING = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE)
"""Errors that librdkafka reports and mends by itself."""

_OUT_OF_RANGE = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)

_GROUP_TAKEN = (KafkaError.INCONSISTENT_GROUP_PROTOCOL, KafkaError.GROUP_ID_NOT_FOUND)
"""The group is another program's, under another protocol."""


class Message(NamedTuple):
    """A message and its place."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class Topic(NamedTuple):
    """A topic's id (16 bytes; a topic that was deleted and made again has another), and its number of partitions."""

    id: bytes
    partitions: int


class Assigned(NamedTuple):
    """A partition before it is read: the offset that the group committed with its note (None: nothing), the offset of
    the oldest message, and the one after the newest."""

    partition: int
    committed: int | None
    note: str
    first: int
    end: int


class Progress(NamedTuple):
    """How far a partition is read: the next offset, and the one after the newest message, as last heard."""

    position: int
    end: int


@dataclass(frozen=True, kw_only=True)
class ConsumerOptions:
    """`servers` as "host:port,host:port"; `name` is what Kafka's tools show of this member. A request to Kafka that
    takes longer than `patience_ms` has failed; `fetch_wait_ms` is how long the broker may hold back its answer until
    there are messages."""

    servers: str
    topic: str
    group: str
    name: str = "encore"
    protocol: GroupProtocol = "consumer"
    patience_ms: int = 3_000
    fetch_wait_ms: int = 100
    access: Access = OPEN

    def client(self) -> dict[str, Any]:
        """Settings of every librdkafka client."""
        return {
            "bootstrap.servers": self.servers,
            "client.id": self.name,
            "logger": logger,
            **self.access.for_library(),
        }

    def consumer(self) -> dict[str, Any]:
        """Settings of a librdkafka consumer that begins where it is told and nowhere else."""
        return {
            **self.client(),
            "group.id": self.group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "socket.timeout.ms": self.patience_ms,
            # A topic may get more partitions.
            "topic.metadata.refresh.interval.ms": 2_000,
            # What waits in librdkafka's queue is memory of this process.
            "queued.max.messages.kbytes": 16 * 1024,
            "fetch.wait.max.ms": self.fetch_wait_ms,
            "allow.auto.create.topics": False,
        }


class Listener(Protocol):
    """Who is told of the group's decisions: inside `Consumer.poll`, on its thread. Nothing raised here reaches Kafka's
    client: `poll` raises it the next time."""

    def assigned(self, partitions: frozenset[int]) -> None:
        """These are this member's from now on, to be begun with `Consumer.begin`."""

    def revoked(self, partitions: frozenset[int]) -> None:
        """These are to be given up when this returns; what is done of them can still be committed."""

    def lost(self, partitions: frozenset[int]) -> None:
        """These are another member's already: nothing of them can be committed."""


class Consumer:
    """Reads the partitions of one topic that the group assigns to this member. Not to be shared between threads.

    It begins a partition where it is told: an offset that Kafka does not hold is never skipped in silence. Messages of
    transactions count once they are committed. Every method may raise UnavailableError; call again.
    """

    def __init__(self, options: ConsumerOptions) -> None:
        self._options = options
        self._patience_s = options.patience_ms / 1000
        self._listener: Listener | None = None
        self._failure: Exception | None = None
        self._out_of_range: set[int] = set()
        self._begun: dict[int, Progress] = {}
        self._ends: dict[int, int] = {}
        """Where partitions ended when they were looked at."""
        self._stashed: list[Any] = []
        """What came while a commit was waited for."""
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
        """What Kafka calls this member; empty before it has joined."""
        return str(self._consumer.memberid() or "")

    @property
    def reading(self) -> frozenset[int]:
        """The partitions that are begun."""
        return frozenset(self._begun)

    def topic(self) -> Topic:
        """The topic as it is now, asked of the broker. MissingTopicError where there is none."""
        topic = self._options.topic
        try:
            patience_s = min(self._patience_s, _TOPIC_S)
            asked = self._admin.describe_topics(TopicCollection([topic]), request_timeout=patience_s)
            answer = asked[topic].result()
        except KafkaException as error:
            # An admin client that failed once may never reach a broker again that is back.
            self._admin = self._new_admin()
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise MissingTopicError(f"Kafka at {self._options.servers}: there is no topic {topic}") from error
            raise self._unavailable(error) from error
        # Two signed halves.
        parts = (answer.topic_id.get_most_significant_bits(), answer.topic_id.get_least_significant_bits())
        return Topic(b"".join((part & (2**64 - 1)).to_bytes(8, "big") for part in parts), len(answer.partitions))

    def join(self, listener: Listener) -> None:
        """Join the group; `listener` hears what it assigns from the next `poll` on."""
        self._listener = listener
        self._consumer.subscribe(
            [self._options.topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def look(self, partitions: Collection[int]) -> list[Assigned]:
        """What the group has committed of partitions, and what Kafka holds of them."""
        looked = []
        # All of it within the patience: a worker that is to stop waits for no more.
        deadline = Deadline(self._patience_s)
        try:
            for place in self._consumer.committed(self._places(dict.fromkeys(partitions, 0)), timeout=self._patience_s):
                if place.error is not None:
                    raise self._unavailable(place.error)
                first, end = self._consumer.get_watermark_offsets(place, timeout=deadline.remaining(0.1))
                offset = place.offset if place.offset >= 0 else None
                looked.append(Assigned(place.partition, offset, place.metadata or "", first, end))
        except KafkaException as error:
            raise self._unavailable(error) from error
        self._ends |= {one.partition: one.end for one in looked}
        return looked

    def begin(self, starts: Mapping[int, int]) -> None:
        """Read these partitions, each from the offset given; those that were begun before begin anew."""
        self.drop(self.reading & starts.keys())
        if not starts:
            return
        try:
            self._consumer.incremental_assign(self._places(starts))
        except KafkaException as error:
            raise self._unavailable(error) from error
        self._begun |= {number: Progress(start, self._ends.get(number, start)) for number, start in starts.items()}

    def drop(self, partitions: Collection[int]) -> None:
        """Read these partitions no more until they are begun again; what was fetched of them is dropped."""
        begun = self.reading & set(partitions)
        if begun:
            # librdkafka would keep them paused when they are assigned again, to whomever they are read by then.
            self._consumer.resume(self._places(dict.fromkeys(begun, 0)))
            self._consumer.incremental_unassign(self._places(dict.fromkeys(begun, 0)))
        self._stashed = [one for one in self._stashed if one.partition() not in begun]
        self._out_of_range -= begun
        for number in begun:
            del self._begun[number]

    def pause(self) -> None:
        """Fetch nothing more, but stay in the group: `poll` brings no messages."""
        self._consumer.pause(self._places(dict.fromkeys(self._begun, 0)))

    def resume(self) -> None:
        """Fetch again."""
        self._consumer.resume(self._places(dict.fromkeys(self._begun, 0)))

    def poll(self, timeout_s: float, most: int) -> list[Message]:
        """Up to `most` messages that have come, in offset order per partition; waits for the first, and for no others.

        Raises:
            OutOfRangeError: names partitions whose next offset Kafka does not hold.
            ConfigurationError: the group belongs to another program.
        """
        self._raise_failure()
        if self._out_of_range:
            raise OutOfRangeError(self._options.servers, self._options.topic, self._out_of_range)
        came, self._stashed = self._stashed, []
        try:
            if not came:
                first = self._consumer.poll(timeout_s)
                if first is None:
                    return []
                came = [first]
            came += self._consumer.consume(most - len(came), 0) if most > len(came) else []
        except KafkaException as error:
            if not came:
                raise self._unavailable(error) from error
            self._failure = self._unavailable(error)
        messages = [message for one in came if (message := self._message(one))]
        # A partition can be revoked between two messages of one call: what is not begun now is another member's.
        return [message for message in messages if message.partition in self._begun]

    def commit(self, offsets: Mapping[int, int], note: str, patience_s: float | None = None) -> None:
        """Commit how far partitions are done (the next offset of each), with a note for who comes next.

        Raises UnavailableError where Kafka has not confirmed it within `patience_s` (by default the options').
        """
        self.commit_soon(offsets, note)
        number, deadline = self._commits_sent, Deadline(self._patience_s if patience_s is None else patience_s)
        # librdkafka calls back inside poll; its own synchronous commit waits for a lost coordinator for a session.
        while self._commits_answered < number:
            if deadline.expired:
                raise UnavailableError(f"Kafka at {self._options.servers}: the commit was not confirmed in time")
            one = self._consumer.poll(min(0.05, deadline.remaining()))
            if one is not None:
                self._stashed.append(one)
        if self._commit_error is not None:
            raise self._unavailable(self._commit_error)

    def commit_soon(self, offsets: Mapping[int, int], note: str) -> None:
        """Send a commit without waiting for its answer. Brokers take a member's requests in order: it counts before
        any partition that is given up after it."""
        try:
            self._consumer.commit(offsets=self._places(offsets, note), asynchronous=True)
        except KafkaException as error:
            raise self._unavailable(error) from error
        self._commits_sent += 1

    def progress(self) -> dict[int, Progress]:
        """How far the partitions are read, as the last fetch said."""
        found = {}
        try:
            for place in self._consumer.position(self._places(dict.fromkeys(self._begun, 0))):
                begun = self._begun[place.partition]
                _, end = self._consumer.get_watermark_offsets(place, cached=True)
                # There is no position before the first message, and no end before the first fetch.
                position = place.offset if place.offset >= 0 else begun.position
                found[place.partition] = Progress(position, end if end >= 0 else begun.end)
        except KafkaException as error:
            raise self._unavailable(error) from error
        return found

    def close(self) -> None:
        """Leave the group and close the connections; what is not committed comes again, to whoever has it next."""
        self._listener = None
        closing = threading.Thread(target=self._consumer.close, name="kafka-close", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)

    def _on_assign(self, _: object, places: list[Any]) -> None:
        logger.info("%s: assigned partitions %s", self._options.topic, sorted(place.partition for place in places))
        self._was_assigned = True
        # Where each begins takes a look at Kafka and the log: `begin` assigns it.
        self._consumer.incremental_assign([])
        self._hear("assigned", places)

    def _on_revoke(self, _: object, places: list[Any]) -> None:
        logger.info("%s: gives up partitions %s", self._options.topic, sorted(place.partition for place in places))
        self._hear("revoked", places)
        self._leave(places)

    def _on_lost(self, _: object, places: list[Any]) -> None:
        logger.warning("%s: lost partitions %s", self._options.topic, sorted(place.partition for place in places))
        self._hear("lost", places)
        self._leave(places)

    def _leave(self, places: list[Any]) -> None:
        numbers = {place.partition for place in places}
        if numbers & self.reading:
            self.drop(numbers)
        else:
            self._consumer.incremental_unassign([])

    def _hear(self, what: str, places: list[Any]) -> None:
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

    def _message(self, one: Any) -> Message | None:
        """A message as it is passed on; None where it is an error, which the next poll raises: what came with it must
        be taken first, since it will not come again."""
        error = one.error()
        if error is None:
            return Message(one.topic(), one.partition(), one.offset(), one.key(), one.value())
        if error.code() in _OUT_OF_RANGE:
            # Of a partition that was given up meanwhile nobody could say where it is to be begun again.
            self._out_of_range |= {one.partition()} & self._begun.keys()
        elif error.code() == KafkaError._FATAL and self._options.protocol == "consumer" and not self._was_assigned:
            # Which error it was, librdkafka says in words only; before a member is one it can be but this.
            self._failure = UnsupportedProtocolError(f"Kafka at {self._options.servers}: {error.str()}")
        elif error.code() in _GROUP_TAKEN:
            self._failure = ConfigurationError(
                f"Kafka group {self._options.group}: another program uses it with another protocol ({error.str()}); "
                "stop that program, or choose another group (`encore stream --group NAME`)"
            )
        elif error.code() not in PASSING:
            self._failure = self._unavailable(error)
        return None

    def _new_admin(self) -> AdminClient:
        return AdminClient(self._options.client())

    def _places(self, offsets: Mapping[int, int], note: str = "") -> list[Any]:
        return [TopicPartition(self._options.topic, number, offset, note) for number, offset in offsets.items()]

    def _unavailable(self, error: object) -> UnavailableError:
        return UnavailableError(f"Kafka at {self._options.servers}, topic {self._options.topic}: {error}")


def read_offsets(options: ConsumerOptions, partition: int, offsets: range) -> Iterator[list[tuple[Message, int]]]:
    """The messages of a partition at `offsets`, as far as Kafka holds them, a list at a time, each with its time in µs.

    It joins no group. Raises UnavailableError where Kafka does not answer or does not hold the first offset.
    """
    consumer = RdConsumer(options.consumer() | {"enable.partition.eof": True})
    try:
        consumer.assign([TopicPartition(options.topic, partition, offsets.start)])
        deadline = Deadline(options.patience_ms / 1000)
        position = offsets.start
        while position < offsets.stop:
            messages = []
            for one in consumer.consume(5_000, 0.1):
                error = one.error()
                if error is None:
                    position = one.offset() + 1
                    message = Message(one.topic(), one.partition(), one.offset(), one.key(), one.value())
                    messages.append((message, one.timestamp()[1] * 1000))
                elif error.code() == KafkaError._PARTITION_EOF:
                    position = offsets.stop
                elif error.code() not in PASSING:
                    raise UnavailableError(f"Kafka at {options.servers}, topic {options.topic}: {error}")
            if messages:
                deadline = Deadline(options.patience_ms / 1000)
                yield [pair for pair in messages if pair[0].offset < offsets.stop]
            elif deadline.expired:
                raise UnavailableError(f"Kafka at {options.servers}, topic {options.topic}: no messages in time")
    except KafkaException as error:
        raise UnavailableError(f"Kafka at {options.servers}, topic {options.topic}: {error}") from error
    finally:
        consumer.close()
