"""What a worker needs of a topic: a member of the group that reads it, a place for dead letters, a look at old offsets.

`events.kafka.consumer` and `events.kafka.dead_letters` keep these promises over Kafka, `events.kafka.memory` in this
process; `tests/contracts/test_consumer_contract.py` holds both to them.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from data.event import Event, Rejection, decode_event

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
]


class Message(NamedTuple):
    """A message, and its topic, partition and offset. `fault`: why it cannot be read, where it cannot."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    fault: str = ""

    def event(self, now_us: int) -> Event | Rejection:
        """Return the event in it, or the reason why there is none, at a time in µs."""
        if self.fault:
            return Rejection("unreadable", self.fault)
        return decode_event(self.value, key=self.key, now_us=now_us)


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
    """Reads the partitions of one topic that the group assigns to this member. Not to be shared between threads.

    It begins a partition where it is told: an offset that is not held is never skipped in silence. Every method may
    raise UnavailableError; call again.
    """

    @property
    def member_id(self) -> str:
        """What the group calls this member; empty before it has joined."""

    @property
    def reading(self) -> frozenset[int]:
        """The partitions that are begun."""

    def topic(self) -> Topic:
        """The topic as it is now. MissingTopicError where there is none."""

    def join(self, listener: Listener) -> None:
        """Join the group; `listener` hears what it assigns from the next `poll` on."""

    def look(self, partitions: Collection[int]) -> list[Assigned]:
        """What the group has committed of partitions, and what is held of them."""

    def begin(self, starts: Mapping[int, int]) -> None:
        """Read these partitions, each from the offset given; those that were begun before begin anew."""

    def drop(self, partitions: Collection[int]) -> None:
        """Read these partitions no more until they are begun again; what was fetched of them is dropped."""

    def pause(self) -> None:
        """Stay in the group, but `poll` brings no messages."""

    def resume(self) -> None:
        """Bring messages again."""

    def poll(self, timeout_s: float, most: int) -> list[Message]:
        """Up to `most` messages that have come, in offset order per partition; waits for the first, and for no others.

        Raises:
            OutOfRangeError: names partitions whose next offset is not held.
            ConfigurationError: the group belongs to another program.
        """

    def commit(self, offsets: Mapping[int, int], note: str, patience_s: float | None = None) -> None:
        """Commit how far partitions are done (the next offset of each), with a note for who comes next.

        Raises UnavailableError where it is not confirmed within `patience_s` (None: the member's own patience).
        """

    def commit_soon(self, offsets: Mapping[int, int], note: str) -> None:
        """Send a commit without waiting for its answer: it counts before any partition that is given up after it."""

    def progress(self) -> dict[int, Progress]:
        """How far the partitions are read, as the last fetch said."""

    def close(self) -> None:
        """Leave the group; what is not committed comes again, to whoever has it next."""


class Letters(Protocol):
    """Takes what could not be accepted, with the reason."""

    def __len__(self) -> int:
        """How many are not kept yet."""

    def send(self, message: Message, rejection: Rejection) -> None:
        """Take a message."""

    def flush(self, patience_s: float) -> None:
        """Wait until all are kept; UnavailableError where one is not after so long: call again."""

    def close(self) -> None:
        """Close the connection, if there is one; call `flush` before."""


ReadOffsets = Callable[[int, range], Iterator[list[tuple[Message, int]]]]
"""Reads a partition's messages at offsets (step 1) beside the group, as far as there are any, each with its time in µs.
UnavailableError where the first is not held."""


@dataclass(frozen=True, kw_only=True)
class Connection:
    """One member's connection to the topic `name`, as it was found (`topic`); `protocol` is that of the group."""

    name: str
    topic: Topic
    protocol: str
    member: GroupMember
    letters: Letters
    read: ReadOffsets
