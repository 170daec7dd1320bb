"""A member of a consumer group, as simple as one can be."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from polling import poll_until

from events.kafka.access import GroupProtocol
from events.kafka.consumer import Consumer, ConsumerOptions, Message

__all__ = ["Member", "member"]


class Member:
    """A consumer that begins what it is assigned where the group is, and commits what it took when it gives it up."""

    def __init__(self, servers: str, topic: str, protocol: GroupProtocol, **options: Any) -> None:
        self.options = ConsumerOptions(servers=servers, topic=topic, group=f"{topic}-g", protocol=protocol, **options)
        self.consumer = Consumer(self.options)
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
            starts = {one.partition: one.committed or one.first for one in self.consumer.look(self.waiting)}
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
    one = Member(servers, topic, protocol, **options)
    try:
        one.consumer.join(one)
        yield one
    finally:
        one.consumer.close()
