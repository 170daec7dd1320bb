"""A worker's view of a topic: a group member that reads it, a sink of dead letters, a reader of old offsets.

`events.kafka.consumer` and `events.kafka.dead_letters` implement it over Kafka, `events.kafka.memory` in memory;
`tests/contracts/test_consumer_contract.py` tests both against these protocols.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from data.event import MAX_EVENT_BYTES, Event, EventDecoder, Rejection
from events.kafka.topics import LARGEST_BATCH

__all__ = [
    "Assigned",
    "Connection",
    "GroupMember",
    "Letters",
    "Listener",
    "Message",
    "Progress",
    "ReadOffsets",
    "Topic",
    "cut",
]

_KEPT_OF_LARGE = 1_024
"""Bytes of key and of value that are kept of a message that is too large."""


class Message(NamedTuple):
    """A message, and its topic, partition and offset.

    `fault`: why it cannot be read, where it cannot. `at_us`: its time in the topic, µs, the same however often it is
    read: when it arrived or, as the topic is set up, when it was sent; None where the broker does not say. `trace`: the
    span of its sender (`events.trace`), where it is traced. `cut`: where only the beginning of key and value is
    kept, the headers of its dead letter that say how much it was.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    fault: str = ""
    at_us: int | None = None
    trace: str = ""
    cut: tuple[tuple[str, bytes], ...] = ()

    def bounded(self, largest: int = LARGEST_BATCH) -> "Message":
        """Return it, or its beginning where it is larger than `largest`: by default, than an uncompressed batch can be.

        A few kilobytes may be unpacked to a gigabyte, which is not to be held, or sent on, for longer than needed.
        """
        if len(self.key or b"") + len(self.value or b"") <= largest:
            return self
        (key, key_headers), (value, value_headers) = cut("key", self.key), cut("value", self.value)
        return self._replace(key=key, value=value, cut=(*key_headers, *value_headers))

    def event(self, decode: EventDecoder, now_us: int) -> Event | Rejection:
        """Return the event in it, or the reason why there is none, at a time in µs."""
        return self.refusal() or decode(self.value, key=self.key, now_us=now_us)

    def refusal(self) -> Rejection | None:
        """Return why the message is not to be decoded, whatever it is meant to be; None where it may be."""
        if self.fault:
            return Rejection("unreadable", self.fault)
        if self.cut:
            size = sum(int(value) for name, value in self.cut if name.endswith("_bytes"))
            return Rejection("too_large", f"{size} bytes; an event has at most {MAX_EVENT_BYTES}")
        return None


def cut(name: str, content: bytes | None) -> tuple[bytes | None, list[tuple[str, bytes]]]:
    """Return the first kilobyte of a key or value, and headers of the size and SHA-256 of what was cut."""
    if content is None or len(content) <= _KEPT_OF_LARGE:
        return content, []
    digest = hashlib.sha256(content).hexdigest()
    headers = [(f"{name}_bytes", str(len(content)).encode()), (f"{name}_sha256", digest.encode())]
    return content[:_KEPT_OF_LARGE], headers


class Topic(NamedTuple):
    """A topic's id (16 bytes; a topic that is deleted and made again has a new one) and its number of partitions."""

    id: bytes
    partitions: int


class Assigned(NamedTuple):
    """A partition before it is read.

    The offset that the group committed, with its note (None: nothing committed), the offset of the oldest message, and
    the one after the newest.
    """

    partition: int
    committed: int | None
    note: str
    first: int
    end: int


class Progress(NamedTuple):
    """How far a partition is read: the next offset, and the one after the newest message, as of the last fetch."""

    position: int
    end: int


class Listener(Protocol):
    """Receives the group's decisions, inside `GroupMember.poll` and on its thread.

    An error raised here does not reach Kafka's client: the next `poll` raises it.
    """

    def assigned(self, partitions: frozenset[int]) -> None:
        """Partitions were assigned to this member, to be begun with `GroupMember.begin`."""

    def revoked(self, partitions: frozenset[int]) -> None:
        """Partitions are given up when this returns; offsets can still be committed."""

    def lost(self, partitions: frozenset[int]) -> None:
        """Partitions are already another member's: offsets can no longer be committed."""


class GroupMember(Protocol):
    """Reads the partitions of one topic that the group assigns to this member. Not thread-safe.

    It begins a partition at an explicit offset: one that the topic does not hold is never skipped silently. Every
    method may raise UnavailableError; call it again.
    """

    @property
    def member_id(self) -> str:
        """The group's id of this member; empty before it has joined."""

    @property
    def reading(self) -> frozenset[int]:
        """Partitions that are begun."""

    def topic(self) -> Topic:
        """Return the topic's present id and number of partitions. Raises MissingTopicError where there is none."""

    def join(self, listener: Listener) -> None:
        """Join the group; `listener` receives its assignments from the next `poll` on."""

    def look(self, partitions: Collection[int]) -> list[Assigned]:
        """Return what the group has committed of partitions, and which offsets are held."""

    def begin(self, starts: Mapping[int, int]) -> None:
        """Read these partitions from the given offsets; a partition that was begun before is restarted."""

    def drop(self, partitions: Collection[int]) -> None:
        """Stop reading these partitions until they are begun again; messages already fetched are dropped."""

    def poll(self, timeout_s: float, most: int) -> list[Message]:
        """Return up to `most` messages that have arrived, in offset order per partition; wait only for the first.

        Raises:
            OutOfRangeError: names partitions whose next offset is not held.
            ConfigurationError: the group belongs to another program.
        """

    def commit(self, offsets: Mapping[int, int], note: str, patience_s: float | None = None) -> None:
        """Commit the next offset of each partition, with a note for the next reader.

        Raises UnavailableError where it is not confirmed within `patience_s` (None: the member's own limit).
        """

    def commit_soon(self, offsets: Mapping[int, int], note: str) -> None:
        """Send a commit without waiting for its answer; it takes effect before any later release of a partition."""

    def progress(self) -> dict[int, Progress]:
        """Return how far the partitions are read, as of the last fetch."""

    def close(self) -> None:
        """Leave the group; messages not committed are delivered again, to the partition's next reader."""


class Letters(Protocol):
    """Takes rejected messages, with the reason."""

    def __len__(self) -> int:
        """Return the number of letters that are not kept yet."""

    def send(self, message: Message, rejection: Rejection) -> None:
        """Take a rejected message."""

    def flush(self, patience_s: float) -> None:
        """Wait until all are kept. Raises UnavailableError where one is not within `patience_s`; call again."""

    def close(self) -> None:
        """Close the connection, if there is one; call `flush` before."""


ReadOffsets = Callable[[int, range], Iterator[list[Message]]]
"""Reads a partition's messages at offsets (step 1) beside the group, as far as there are any.
UnavailableError where the first is not held."""


@dataclass(frozen=True, kw_only=True)
class Connection:
    """One member's connection to the topic `name`, with its id (`topic`); `protocol` is that of the group."""

    name: str
    topic: Topic
    protocol: str
    member: GroupMember
    letters: Letters
    read: ReadOffsets
