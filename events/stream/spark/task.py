"""The work of an executor: a worker's session over the messages of each partition that Spark gives it."""

import pickle
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import groupby
from typing import NamedTuple

import pyarrow as pa

from data.errors import UnavailableError
from events.kafka.connection import Connection, GroupMember, Message, Topic
from events.kafka.consumer import Consumer, ConsumerOptions, read_offsets
from events.kafka.dead_letters import DeadLetters
from events.kafka.patience import patiently
from events.stream.account import Account
from events.stream.parts import Parts
from events.stream.session import Session
from events.stream.spark.member import TaskMember

__all__ = ["COUNTED", "MESSAGES", "Task", "read_counted"]

MESSAGES = (
    "partition",
    "offset",
    "key",
    "value",
    "CASE WHEN timestampType >= 0 THEN unix_micros(timestamp) END AS at_us",
)
"""Expressions over Spark's columns of a message."""

COUNTED = "partition int, account binary"
"""The columns that a task returns."""

_PATIENCE_S = 120.0
"""How long a task waits for Kafka, Redis or the log before it fails: Spark tries it again, and says why it ends."""


class _Shared(NamedTuple):
    """What a process of an executor keeps between tasks of a job."""

    parts: Parts
    group: GroupMember


_kept: dict[str, _Shared] = {}


class Task:
    """A function for Spark's `mapInArrow`: folds messages of one topic id, logs and commits them, and counts.

    `job` names the run that it belongs to. `make` makes a worker's parts, once in a process.
    """

    def __init__(self, job: str, make: Callable[[], Parts], options: ConsumerOptions, topic: Topic) -> None:
        self._job = job
        self._make = make
        self._options = options
        self._topic = topic

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the account of each partition's messages."""
        messages = (message for batch in batches for message in self._messages(batch))
        for partition, group in groupby(messages, lambda message: message.partition):
            counted = [partition], [pickle.dumps(self._work(partition, group))]
            arrays = [pa.array(counted[0], pa.int32()), pa.array(counted[1], pa.binary())]
            yield pa.RecordBatch.from_arrays(arrays, ["partition", "account"])

    def _messages(self, batch: pa.RecordBatch) -> Iterator[Message]:
        name = self._options.topic
        for partition, offset, key, value, at_us in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield Message(name, partition, offset, key, value, at_us=at_us).bounded()

    def _work(self, partition: int, messages: Iterable[Message]) -> Account:
        """Return when all is in the states and the log, and committed. Raises UnavailableError where it cannot be."""
        kept = _kept.get(self._job)
        if kept is None:
            kept = _kept[self._job] = _Shared(self._make(), Consumer(self._options))
        parts, options = kept.parts, self._options
        account, stop = Account(parts.clock()), threading.Event()
        read = partial(read_offsets, options)
        member = TaskMember(kept.group, partition, messages, read)
        connection = Connection(
            name=options.topic,
            topic=self._topic,
            protocol="spark",
            member=member,
            letters=DeadLetters(options.servers, options.topic, options.access),
            read=read,
        )
        deadline_s = time.monotonic() + _PATIENCE_S
        last_error = [""]

        def waits(error: Exception) -> None:
            last_error[0] = str(error)
            if time.monotonic() > deadline_s:
                stop.set()

        patiently(parts.replication.begin, stop, waits)
        with Session(parts, connection, account, waits=waits) as session:
            while not member.is_done and not stop.is_set():
                if not session.turn(stop):
                    raise UnavailableError(
                        f"Kafka: the topic {options.topic} was made anew meanwhile; start the job again, with another "
                        "checkpoint"
                    )
                if member.is_at_end and not member.is_done:
                    session.keep(stop)
                    if not member.is_done and time.monotonic() > deadline_s:
                        stop.set()
        if not member.is_done:
            reason = last_error[0] or account.uncommitted
            raise UnavailableError(f"stream: partition {partition} could not be folded and committed in time: {reason}")
        return account


def read_counted(rows: Iterable[tuple[int, bytes]]) -> list[Account]:
    """Return the accounts that tasks returned."""
    return [pickle.loads(account) for _, account in rows]  # noqa: S301 - our own, sent as Spark sends closures
