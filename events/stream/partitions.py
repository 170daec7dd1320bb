"""The partitions that a worker reads: where it begins each, how far it has come, and what of that is committed."""

import logging
from collections.abc import Callable, Collection, Sequence

from data.errors import UnavailableError
from events.kafka.consumer import Assigned, Consumer, Message
from events.stream.account import Account
from events.stream.log_buffer import LogBuffer
from events.stream.start import start_of

__all__ = ["Partitions"]

logger = logging.getLogger(__name__)


class Partitions:
    """The partitions of one topic (`note`: its id, which goes with what is committed) that are read now."""

    def __init__(self, topic: str, note: str, consumer: Consumer, buffer: LogBuffer, account: Account) -> None:
        self._topic = topic
        self._note = note
        self._consumer = consumer
        self._buffer = buffer
        self._account = account
        self._next: dict[int, int] = {}
        self._committed: dict[int, int | None] = {}

    @property
    def reading(self) -> frozenset[int]:
        """Their numbers."""
        return frozenset(self._next)

    def begin(self, partitions: Collection[int], replay: Callable[[int, range], None]) -> None:
        """Read these too: `replay` from the log what Kafka holds no more, say what is lost, and go on after it.
        UnavailableError where some could not be begun; the others are read."""
        self._buffer.forget(partitions)
        failed = None
        for partition in self._consumer.look(partitions):
            try:
                self._begin(partition, replay)
            except UnavailableError as error:
                failed = error
        self._consumer.assign(self._next)
        if failed is not None:
            raise failed

    def _begin(self, partition: Assigned, replay: Callable[[int, range], None]) -> None:
        number = partition.partition
        start = start_of(partition, self._note, self._buffer.end(number))
        if start.replay:
            logger.warning(
                "%s partition %d: Kafka's retention dropped offsets %d to %d; they are folded from the event log",
                self._topic,
                number,
                start.replay[0],
                start.replay[-1],
            )
            replay(number, start.replay)
        if start.lost:
            self._account.lost += len(start.lost)
            logger.error(
                "%s partition %d: offsets %d to %d are lost: Kafka's retention dropped them before they were read; "
                "send them again where you can, and give the topic a longer retention",
                self._topic,
                number,
                start.lost[0],
                start.lost[-1],
            )
        logger.info("%s partition %d: begins at %d", self._topic, number, start.offset)
        self._next[number] = start.offset
        self._committed[number] = partition.committed

    def drop(self, partitions: Collection[int]) -> None:
        """Read these no more, and log nothing more of them: what was not committed comes again, to whoever has them."""
        logger.info("%s: reads partitions %s no more", self._topic, sorted(partitions))
        for number in partitions:
            self._next.pop(number, None)
            self._committed.pop(number, None)
        self._buffer.forget(partitions)
        self._consumer.assign(self._next)

    def advance(self, messages: Sequence[Message]) -> None:
        """These messages, in offset order per partition, are done."""
        self._next |= {message.partition: message.offset + 1 for message in messages}

    @property
    def uncommitted(self) -> dict[int, int]:
        """What may be committed and is not: the next offset of each partition."""
        return {number: offset for number, offset in self._next.items() if self._committed[number] != offset}

    def commit(self, patience_s: float | None = None) -> None:
        """Tell Kafka how far they are done, as all of it is in the log; `patience_s` as of `Consumer.commit`."""
        offsets = self.uncommitted
        if offsets:
            self._consumer.commit(offsets, self._note, patience_s)
            self._committed |= offsets

    def commit_again(self) -> None:
        """Let the next commit tell of all partitions, whether they have moved or not."""
        self._committed = dict.fromkeys(self._committed)
