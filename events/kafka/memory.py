"""A topic and its consumer groups in memory: the twin of Kafka for readers, for tests."""

import threading
import time
import uuid
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from data.errors import OutOfRangeError, UnavailableError
from data.event import Rejection
from events.kafka.connection import Assigned, Connection, Listener, Message, Progress, Topic

__all__ = ["MemoryConsumer", "MemoryLetters", "MemoryTopic"]


class _Stored(NamedTuple):
    key: bytes | None
    value: bytes | None
    time_us: int


@dataclass
class _Partition:
    """The messages from offset `first` on."""

    first: int = 0
    messages: list[_Stored] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.first + len(self.messages)


@dataclass
class _Group:
    """Members in the order in which they joined, owners of partitions, and committed offsets with their notes."""

    members: "list[MemoryConsumer]" = field(default_factory=list)
    owners: "dict[int, MemoryConsumer]" = field(default_factory=dict)
    committed: dict[int, tuple[int, str]] = field(default_factory=dict)


class MemoryLetters:
    """Collects rejected messages in a list."""

    def __init__(self) -> None:
        self.kept: list[tuple[Message, Rejection]] = []

    def __len__(self) -> int:
        return 0

    def send(self, message: Message, rejection: Rejection) -> None:
        """Keep a message and the reason of its rejection."""
        self.kept.append((message, rejection))

    def flush(self, patience_s: float) -> None:
        """Do nothing: every letter is kept at once."""

    def close(self) -> None:
        """Do nothing: there is no connection."""


class MemoryTopic:
    """One topic and the groups that read it. Thread-safe.

    `is_away` simulates a broker that does not answer: consumers raise UnavailableError.
    """

    def __init__(self, name: str = "events", partitions: int = 4) -> None:
        self.name = name
        self.is_away = False
        self.letters = MemoryLetters()
        self.changed = threading.Condition(threading.RLock())
        self._id = uuid.uuid4().bytes
        self._partitions = [_Partition() for _ in range(partitions)]
        self._groups: dict[str, _Group] = {}

    def send(
        self, key: bytes | None, value: bytes | None, partition: int | None = None, at_us: int | None = None
    ) -> tuple[int, int]:
        """Append a message, by default to the partition of its key and as of now; return its partition and offset."""
        with self.changed:
            number = zlib.crc32(key or b"") % len(self._partitions) if partition is None else partition
            self._partitions[number].messages.append(
                _Stored(key, value, time.time_ns() // 1_000 if at_us is None else at_us)
            )
            self.changed.notify_all()
            return number, self._partitions[number].end - 1

    def read(self, partition: int, offsets: range) -> Iterator[list[Message]]:
        """Yield the messages at `offsets` (step 1) that exist, in lists; joins no group.

        Raises UnavailableError where the first offset is not held any more.
        """
        with self.changed:
            part = self._partitions[partition]
            if self.is_away or offsets.start < part.first:
                raise UnavailableError(f"topic {self.name}: no offset {offsets.start} in partition {partition}")
            stored = part.messages[offsets.start - part.first : max(0, offsets.stop - part.first)]
        if stored:
            yield self._messages(partition, offsets.start, stored)

    def drop_before(self, partition: int, offset: int) -> None:
        """Delete the messages before an offset, as retention does."""
        with self.changed:
            part = self._partitions[partition]
            del part.messages[: offset - part.first]
            part.first = max(part.first, offset)

    def add_partitions(self, partitions: int) -> None:
        """Set the number of partitions."""
        with self.changed:
            self._partitions += [_Partition() for _ in range(partitions - len(self._partitions))]
            self.changed.notify_all()

    def make_anew(self) -> None:
        """Delete and recreate the topic: it has a new id and no messages; groups keep their committed offsets."""
        with self.changed:
            self._id = uuid.uuid4().bytes
            self._partitions = [_Partition() for _ in self._partitions]
            self.changed.notify_all()

    def expel(self, consumer: "MemoryConsumer") -> None:
        """Expire a member: its partitions go to others, which it learns when it polls again."""
        with self.changed:
            for group in self._groups.values():
                if consumer in group.members:
                    group.members.remove(consumer)
                    group.owners = {number: owner for number, owner in group.owners.items() if owner is not consumer}
            self.changed.notify_all()

    def committed(self, group: str) -> dict[int, tuple[int, str]]:
        """Return a group's committed offset of each partition, with the note."""
        with self.changed:
            return dict(self.group(group).committed)

    def connect(self, group: str) -> Connection:
        """Return a connection to the topic, as a new member of a group; rejected messages go to `letters`."""
        return Connection(
            name=self.name,
            topic=self.topic,
            protocol="memory",
            member=MemoryConsumer(self, group),
            letters=self.letters,
            read=self.read,
        )

    # For consumers, which hold the lock.

    @property
    def topic(self) -> Topic:
        """Return the id and the number of partitions."""
        return Topic(self._id, len(self._partitions))

    def group(self, name: str) -> _Group:
        """Return the group of this name, made if it is missing."""
        return self._groups.setdefault(name, _Group())

    def watermarks(self, partition: int) -> tuple[int, int]:
        """Return the offset of the oldest message, and the one after the newest."""
        part = self._partitions[partition]
        return part.first, part.end

    def at(self, partition: int, offset: int, most: int) -> list[Message]:
        """Return up to `most` messages from an offset that is held."""
        part = self._partitions[partition]
        stored = part.messages[offset - part.first : offset - part.first + most]
        return self._messages(partition, offset, stored)

    def _messages(self, partition: int, first: int, stored: list[_Stored]) -> list[Message]:
        return [
            Message(self.name, partition, offset, message.key, message.value, at_us=message.time_us).bounded()
            for offset, message in enumerate(stored, first)
        ]


class MemoryConsumer:
    """A group member that reads a topic in memory, as `events.kafka.consumer.Consumer` reads Kafka.

    Partitions move one by one: a member with too many gives some up when it polls, and only then others get them.
    """

    def __init__(self, topic: MemoryTopic, group: str) -> None:
        self._topic = topic
        self._group = group
        self._listener: Listener | None = None
        self._failure: Exception | None = None
        self._owned = frozenset[int]()
        self._begun: dict[int, int] = {}
        self._id = ""

    @property
    def member_id(self) -> str:
        """The group's id of this member; empty before it has joined."""
        return self._id

    @property
    def reading(self) -> frozenset[int]:
        """Partitions that are begun."""
        return frozenset(self._begun)

    def topic(self) -> Topic:
        """Return the topic's present id and number of partitions."""
        with self._reachable_lock():
            return self._topic.topic

    def join(self, listener: Listener) -> None:
        """Join the group; `listener` receives its assignments from the next `poll` on."""
        self._listener = listener

    def look(self, partitions: Collection[int]) -> list[Assigned]:
        """Return what the group has committed of partitions, and which offsets are held."""
        with self._reachable_lock():
            committed = self._topic.group(self._group).committed
            places = [(number, committed.get(number), *self._topic.watermarks(number)) for number in partitions]
        return [
            Assigned(number, commit and commit[0], commit[1] if commit else "", first, end)
            for number, commit, first, end in places
        ]

    def begin(self, starts: Mapping[int, int]) -> None:
        """Read these partitions from the given offsets; a partition that was begun before is restarted."""
        self._begun |= starts

    def drop(self, partitions: Collection[int]) -> None:
        """Stop reading these partitions until they are begun again."""
        for number in partitions:
            self._begun.pop(number, None)

    def poll(self, timeout_s: float, most: int) -> list[Message]:
        """Return up to `most` messages that have arrived, in offset order per partition; wait for the first.

        Raises OutOfRangeError, naming partitions whose next offset the topic does not hold.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            self._rebalance()
            with self._reachable_lock():
                messages = self._fetch(most)
                left_s = deadline_s - time.monotonic()
                if messages or left_s <= 0 or self._failure is not None:
                    return messages
                self._topic.changed.wait(left_s)

    def commit(self, offsets: Mapping[int, int], note: str, patience_s: float | None = None) -> None:  # noqa: ARG002
        """Commit the next offset of each partition, with a note for the next reader."""
        self.commit_soon(offsets, note)

    def commit_soon(self, offsets: Mapping[int, int], note: str) -> None:
        """Commit, as `commit` does: there is nothing to wait for."""
        with self._reachable_lock():
            group = self._topic.group(self._group)
            unknown = sorted(number for number in offsets if number >= self._topic.topic.partitions)
            if unknown or (self._id and self not in group.members):
                reason = f"no partitions {unknown}" if unknown else f"{self._id} is no member of the group any more"
                raise UnavailableError(f"topic {self._topic.name}: {reason}")
            group.committed |= {number: (offset, note) for number, offset in offsets.items()}

    def progress(self) -> dict[int, Progress]:
        """Return how far the partitions are read."""
        with self._topic.changed:
            return {
                number: Progress(position, self._topic.watermarks(number)[1])
                for number, position in self._begun.items()
            }

    def close(self) -> None:
        """Leave the group; messages not committed are delivered again, to the partition's next reader."""
        self._listener = None
        self._topic.expel(self)

    def _reachable_lock(self) -> threading.Condition:
        """Return the topic's lock. Raises UnavailableError where the broker is away."""
        if self._topic.is_away:
            raise UnavailableError(f"topic {self._topic.name}: the broker is away")
        return self._topic.changed

    def _rebalance(self) -> None:
        """Apply the group's decisions: lose, give up and get partitions."""
        if self._listener is None:
            return
        with self._reachable_lock():
            group = self._topic.group(self._group)
            lost = self._owned if self._id and self not in group.members else frozenset[int]()
            if self not in group.members:
                group.members.append(self)
                self._id = str(uuid.uuid4())
                self._topic.changed.notify_all()
            share = self._share(group)
            given_up = self._owned - lost - share
        if lost:
            self._leave("lost", lost)
        if given_up:
            self._leave("revoked", given_up)
        with self._reachable_lock():
            for number in given_up:
                group.owners.pop(number, None)
            share = self._share(group) if self in group.members else frozenset()
            free = frozenset(number for number in share - self._owned if number not in group.owners)
            group.owners |= dict.fromkeys(free, self)
            self._owned |= free
            if given_up:
                self._topic.changed.notify_all()
        if free:
            self._notify("assigned", free)

    def _share(self, group: _Group) -> frozenset[int]:
        """Return this member's fair share of the partitions, its own ones first."""
        count, members = self._topic.topic.partitions, group.members
        shares: dict[MemoryConsumer, list[int]] = {}
        for place, member in enumerate(members):
            size = count // len(members) + (place < count % len(members))
            shares[member] = sorted(number for number, owner in group.owners.items() if owner is member)[:size]
        taken = {number for share in shares.values() for number in share}
        free = [number for number in range(count) if number not in taken]
        for place, member in enumerate(members):
            size = count // len(members) + (place < count % len(members))
            while len(shares[member]) < size:
                shares[member].append(free.pop(0))
        return frozenset(shares[self])

    def _leave(self, what: str, partitions: frozenset[int]) -> None:
        self._notify(what, partitions)
        self.drop(partitions)
        self._owned -= partitions

    def _notify(self, what: str, partitions: frozenset[int]) -> None:
        try:
            getattr(self._listener, what)(partitions)
        except Exception as error:  # noqa: BLE001 - as Kafka's client: the next poll raises it
            self._failure = error

    def _fetch(self, most: int) -> list[Message]:
        """Return what has arrived. The caller holds the topic's lock."""
        fetched = dict(self._begun)
        outside = [
            number
            for number, position in fetched.items()
            if not self._topic.watermarks(number)[0] <= position <= self._topic.watermarks(number)[1]
        ]
        if outside:
            raise OutOfRangeError("memory", self._topic.name, outside)
        arrived: list[Message] = []
        for number, position in fetched.items():
            messages = self._topic.at(number, position, most - len(arrived))
            self._begun[number] = position + len(messages)
            arrived += messages
        return arrived
