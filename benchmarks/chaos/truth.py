"""The ground truth of a run: which messages were accepted, from the producer's records and the topic's contents."""

from collections import Counter, OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from kafka import KafkaConsumer, TopicPartition

from chaos.ledger import CANARY, POISON, Acknowledged, Sent, read_acknowledged, read_sent
from data.log.sources import topic_source
from features.seen import MOST_SEEN

__all__ = ["Place", "Record", "Truth", "find_truth", "read_topic"]


class Place(NamedTuple):
    """The position of a message; `source` is the topic as the event log names it."""

    source: str
    partition: int
    offset: int


class Record(NamedTuple):
    """A message in a topic."""

    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]


class Truth(NamedTuple):
    """`events`, `poison`: by place, what the system must have accepted; `repeats`: events sent twice, not counted.

    `acknowledged` and `unacknowledged` count messages. `broker_lost` were acknowledged but are missing; `foreign`
    are in the topic but were never sent; `sent_again` are in the topic more often than they were sent.
    """

    events: dict[Place, bytes]
    poison: dict[Place, Record]
    canaries: list[tuple[int, Acknowledged]]
    acknowledged: int
    unacknowledged: int
    broker_lost: int
    foreign: int
    sent_again: int
    repeats: int


def read_topic(servers: str, topic: str) -> dict[tuple[int, int], Record]:
    """Return all messages of a topic, by partition and offset."""
    consumer = KafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False, max_poll_records=5_000)
    try:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        ends = consumer.end_offsets(partitions)
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        records = {}
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            for batch in consumer.poll(timeout_ms=200).values():
                for record in batch:
                    records[record.partition, record.offset] = Record(record.key, record.value, dict(record.headers))
        return records
    finally:
        consumer.close()


def find_truth(folder: Path, topic: bytes, living: dict[tuple[int, int], Record]) -> Truth:
    """Return the ground truth of the topic with the id `topic` and the messages `living`; `folder` is the ledger's."""
    sent = {message.number: message for message in read_sent(folder)}
    acknowledged = read_acknowledged(folder)
    bodies = Counter(map(_body, living.values()))
    broker_lost = 0
    for ack in acknowledged:
        body = sent[ack.number][2:]
        # For a duplicate of a message whose first answer was lost, the broker need not return an offset.
        record = living.get((ack.partition, ack.offset))
        broker_lost += body not in bodies if ack.offset < 0 else record is None or _body(record) != body
    events, poison, foreign, repeats = _of_living(topic_source(topic), living, sent.values())
    bodies.subtract((message.key, message.value) for message in sent.values())
    return Truth(
        events,
        poison,
        [(ack.number, ack) for ack in acknowledged if sent[ack.number].kind == CANARY],
        len(acknowledged),
        len(sent) - len(acknowledged),
        broker_lost,
        foreign,
        sum(number for number in bodies.values() if number > 0) - foreign,
        repeats,
    )


def _of_living(
    source: str, living: dict[tuple[int, int], Record], sent: Iterable[Sent]
) -> tuple[dict[Place, bytes], dict[Place, Record], int, int]:
    """Return events, poison, and the numbers of foreign messages and of repeats.

    A run is shorter than the de-duplication window, so a repeat is an event among the last counted ones of its user.
    """
    kinds = {(message.key, message.value): message.kind for message in sent}
    events, poison, foreign, repeats = {}, {}, 0, 0
    last: dict[tuple[int, bytes | None], OrderedDict[bytes | None, None]] = {}
    for (partition, offset), record in sorted(living.items()):
        kind = kinds.get(_body(record))
        if kind is None:
            foreign += 1
        elif kind == POISON:
            poison[Place(source, partition, offset)] = record
        elif record.value in (counted := last.setdefault((partition, record.key), OrderedDict())):
            repeats += 1
        else:
            counted[record.value] = None
            if len(counted) > MOST_SEEN:
                counted.popitem(last=False)
            events[Place(source, partition, offset)] = record.value or b""
    return events, poison, foreign, repeats


def _body(record: Record) -> tuple[bytes | None, bytes | None]:
    return record.key, record.value
