"""A task's view of the partition whose messages Spark gives it: the counterpart of a worker's group member.

    committed ─────────── the task's messages ──────▶
              [── Kafka ──)[──────── Spark ────────)      what Spark lacks is read from Kafka itself
                   [─── skipped ───)                      what the group has committed is done

The group's commits say what is done, as for workers. Spark's checkpoint only says what Spark reads next, so it may be
behind, ahead or of another day.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain, islice

from data.errors import UnavailableError
from events.kafka.connection import Assigned, GroupMember, Listener, Message, Progress, ReadOffsets, Topic

__all__ = ["TaskMember"]


class TaskMember:
    """A `GroupMember` of one partition, to which each of its messages comes once, in offset order.

    `group` acts for the group, without being a member of it; `read` reads what Spark has not brought.
    """

    def __init__(self, group: GroupMember, partition: int, messages: Iterable[Message], read: ReadOffsets) -> None:
        self._group = group
        self._partition = partition
        self._brought = iter(messages)
        self._read = read
        self._listener: Listener | None = None
        self._next = 0
        """The offset after the last message that Spark has brought."""
        self._waiting: Iterator[Message] | None = None
        """The messages from where the partition was begun; None before."""
        self._ended = False
        self._progress = Progress(0, 0)
        self.committed: int | None = None
        """The offset that the session has committed last."""

    @property
    def is_done(self) -> bool:
        """Whether all that Spark has brought is taken and committed."""
        return self._ended and (self.committed or 0) >= self._next

    @property
    def is_at_end(self) -> bool:
        """Whether all that Spark has brought is taken."""
        return self._ended

    @property
    def member_id(self) -> str:
        """Empty: it is no member."""
        return ""

    @property
    def reading(self) -> frozenset[int]:
        """The partition, once it is begun."""
        return frozenset() if self._waiting is None else frozenset({self._partition})

    def topic(self) -> Topic:
        """Return the topic's present id and number of partitions."""
        return self._group.topic()

    def join(self, listener: Listener) -> None:
        """Take the listener, to which the next `poll` gives the partition."""
        self._listener = listener

    def look(self, partitions: Collection[int]) -> list[Assigned]:
        """Return what the group has committed, and which offsets Kafka holds."""
        assigned = self._group.look(partitions)
        for partition in assigned:
            self.committed = partition.committed
            self._progress = Progress(partition.committed or partition.first, partition.end)
        return assigned

    def begin(self, starts: Mapping[int, int]) -> None:
        """Take messages from an offset on."""
        for start in starts.values():
            self._waiting, self._ended = self._from(start), False

    def drop(self, partitions: Collection[int]) -> None:
        """Take no messages until the partition is begun again."""
        if self._partition in partitions:
            self._waiting = None

    def poll(self, timeout_s: float, most: int) -> list[Message]:
        """Return the next messages; wait where there can be none."""
        if self._listener is not None:
            listener, self._listener = self._listener, None
            listener.assigned(frozenset({self._partition}))
            return []
        if self._waiting is None or self._ended:
            time.sleep(timeout_s)
            return []
        messages = list(islice(self._waiting, most))
        self._ended = len(messages) < most
        if messages:
            self._progress = Progress(messages[-1].offset + 1, max(self._progress.end, messages[-1].offset + 1))
        return messages

    def commit(self, offsets: Mapping[int, int], note: str, patience_s: float | None = None) -> None:
        """Commit for the group. Raises UnavailableError, also while the group has members."""
        try:
            self._group.commit(offsets, note, patience_s)
        except UnavailableError as error:
            raise UnavailableError(
                f"{error} (where workers of `encore stream` are in the group, stop them: one engine at a time)"
            ) from error
        self.committed = offsets[self._partition]

    def commit_soon(self, offsets: Mapping[int, int], note: str) -> None:
        """Commit, as `commit` does: nothing is revoked here."""
        self.commit(offsets, note)

    def progress(self) -> dict[int, Progress]:
        """Return how far the partition is read."""
        return {self._partition: self._progress}

    def close(self) -> None:
        """Do nothing: the next task uses the connection."""

    def _from(self, start: int) -> Iterator[Message]:
        first = next(self._brought, None)
        stop = self._next if first is None else first.offset
        if start < stop:
            for messages in self._read(self._partition, range(start, stop)):
                yield from messages
        for message in chain([] if first is None else [first], self._brought):
            self._next = message.offset + 1
            if message.offset >= start:
                yield message
