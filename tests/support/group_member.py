"""Members of groups: one of a consumer group, as simple as one can be, and one of another kind of group."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from polling import poll_until

from data.errors import UnavailableError
from events.kafka.access import GroupProtocol
from events.kafka.connection import GroupMember, Message
from events.kafka.consumer import Consumer, ConsumerOptions

__all__ = ["Member", "foreign_member", "joined", "member"]


class Member:
    """A consumer that begins what it is assigned where the group is, and commits what it took when it gives it up."""

    def __init__(self, consumer: GroupMember) -> None:
        self.consumer = consumer
        self.waiting = frozenset[int]()
        self.next: dict[int, int] = {}
        self.heard: list[tuple[str, frozenset[int]]] = []
        self.taken: list[Message] = []

    def assigned(self, partitions: frozenset[int]) -> None:
        self.heard.append(("assigned", partitions))
        self.waiting |= partitions

    def revoked(self, partitions: frozenset[int]) -> None:
        self.heard.append(("revoked", partitions))
        done = {number: self.next.pop(number) for number in partitions & self.next.keys()}
        self.consumer.commit_soon(done, "given up")
        self.waiting -= partitions

    def lost(self, partitions: frozenset[int]) -> None:
        self.heard.append(("lost", partitions))
        self.waiting -= partitions

    def turn(self) -> list[Message]:
        found = self.consumer.poll(0.05, 50)
        self.taken += found
        self.next |= {message.partition: message.offset + 1 for message in found}
        if self.waiting:
            try:
                looked = self.consumer.look(self.waiting)
            except UnavailableError:
                return found  # of a partition that is new the client may not have heard
            starts = {one.partition: one.committed or one.first for one in looked}
            self.consumer.begin(starts)
            self.next |= starts
            self.waiting = frozenset()
        return found

    def await_share(self, size: int) -> frozenset[int]:
        def has_it() -> bool:
            self.turn()
            return len(self.consumer.reading) == size

        poll_until(has_it, 40, every_s=0)
        return self.consumer.reading

    def take(self, count: int) -> list[Message]:
        found: list[Message] = []

        def enough() -> bool:
            found.extend(self.turn())
            return len(found) >= count

        poll_until(enough, 40, every_s=0)
        return found


@contextmanager
def member(servers: str, topic: str, protocol: GroupProtocol, **options: Any) -> Iterator[Member]:
    """A member of the group of a topic of Kafka, joined; it leaves in the end."""
    options = {"servers": servers, "topic": topic, "group": f"{topic}-g", "protocol": protocol, **options}
    with joined(Consumer(ConsumerOptions(**options))) as one:
        yield one


@contextmanager
def joined(consumer: GroupMember) -> Iterator[Member]:
    """A member of its group; it leaves in the end."""
    one = Member(consumer)
    try:
        one.consumer.join(one)
        yield one
    finally:
        one.consumer.close()


@contextmanager
def foreign_member(servers: str, group: str) -> Iterator[None]:
    """A member of a group that shares other things than partitions, as Kafka Connect's do (JoinGroup, version 3)."""
    host, _, port = servers.rpartition(":")
    body = b"".join(
        (
            struct.pack(">hhih", 11, 3, 1, -1),  # key, version, correlation, no client id
            _text(group),
            struct.pack(">ii", 60_000, 60_000),
            _text(""),
            _text("connect"),
            struct.pack(">i", 1),
            _text("default"),
            struct.pack(">i", 0),
        )
    )
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        size = struct.unpack(">i", connection.recv(4))[0]
        answer = connection.recv(size, socket.MSG_WAITALL)
        assert struct.unpack_from(">h", answer, 8)[0] == 0, "the broker refuses the foreign member"
        yield


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()
