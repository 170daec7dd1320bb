"""The truth of a run: which messages were taken, from what the producer wrote down and what the topic holds."""

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
    """Where a message lies; `source` is the topic as the event log names it."""

    source: str
    partition: int
    offset: int


class Record(NamedTuple):
    """What a topic holds in a place."""

    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]


class Truth(NamedTuple):
    """`events` and `poison` by place are what the system must have taken; `repeats` are events sent twice, not counted.

    `acknowledged` and `unacknowledged` count messages. `broker_lost` were acknowledged and are not there; `foreign`
    are there and were never sent; `sent_again` are there more often than they were sent.
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
    """All that the topic holds, by partition and offset."""
    consumer = KafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False, max_poll_records=5_000)
    try:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        ends = consumer.end_offsets(partitions)
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        found = {}
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            for batch in consumer.poll(timeout_ms=200).values():
                for record in batch:
                    found[record.partition, record.offset] = Record(record.key, record.value, dict(record.headers))
        return found
    finally:
        consumer.close()


def find_truth(folder: Path, topic: bytes, living: dict[tuple[int, int], Record]) -> Truth:
    """The truth of a `topic`, by its id, that holds `living`; `folder` is the ledger's."""
    sent = {message.number: message for message in read_sent(folder)}
    acknowledged = read_acknowledged(folder)
    bodies = Counter(map(_body, living.values()))
    broker_lost = 0
    for one in acknowledged:
        body = sent[one.number][2:]
        # Of a message that it has already, sent again as its first answer was lost, a broker need not say where it is.
        there = living.get((one.partition, one.offset))
        broker_lost += body not in bodies if one.offset < 0 else there is None or _body(there) != body
    events, poison, foreign, repeats = _of_living(topic_source(topic), living, sent.values())
    bodies.subtract((message.key, message.value) for message in sent.values())
    return Truth(
        events,
        poison,
        [(one.number, one) for one in acknowledged if sent[one.number].kind == CANARY],
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

    A run is shorter than the window of de-duplication: a repeat is what is among the last that counted of its user.
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
        elif record.value in (its := last.setdefault((partition, record.key), OrderedDict())):
            repeats += 1
        else:
            its[record.value] = None
            if len(its) > MOST_SEEN:
                its.popitem(last=False)
            events[Place(source, partition, offset)] = record.value or b""
    return events, poison, foreign, repeats


def _body(record: Record) -> tuple[bytes | None, bytes | None]:
    return record.key, record.value
