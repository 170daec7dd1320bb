"""The truth of a run: which messages were taken, from what the producer wrote down and what the topic holds."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from kafka import KafkaConsumer, TopicPartition

from chaos.ledger import CANARY, EVENT, POISON, Acknowledged, Sent, read_acknowledged, read_sent
from data.log.sources import topic_source

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
    """`events` and `poison` by place are what the system must have taken.

    `acknowledged` and `unacknowledged` count messages; of the former, `gone` vanished with a broker that forgets,
    before anybody had consumed them. `broker_lost` were acknowledged by a broker that lives, and are not there;
    `foreign` are there and were never sent; `sent_again` are there more often than they were sent.
    """

    events: dict[Place, bytes]
    poison: dict[Place, Record]
    canaries: list[tuple[int, Acknowledged]]
    acknowledged: int
    unacknowledged: int
    gone: int
    broker_lost: int
    foreign: int
    sent_again: int


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


def find_truth(
    folder: Path,
    topics: Sequence[bytes],
    living: dict[tuple[int, int], Record],
    ends_us: Sequence[int],
    logged: dict[Place, str],
) -> Truth:
    """`topics` by age, the last of which lives and holds `living`; the others died at `ends_us`.

    Of a topic that died, what the log has is what was consumed of each partition: all up to the last offset there.
    """
    sent = {message.number: message for message in read_sent(folder)}
    acknowledged = read_acknowledged(folder)
    sources = [topic_source(topic) for topic in topics]
    # Of a message that it has already, sent again as its first answer was lost, a broker need not say where it is.
    placed = {
        Place(sources[sum(one.at_us > end for end in ends_us)], one.partition, one.offset): sent[one.number]
        for one in acknowledged
        if one.offset >= 0
    }
    here = sources[-1]
    broker_lost = sum(
        (p.partition, p.offset) not in living or _body(living[p.partition, p.offset]) != (m.key, m.value)
        for p, m in placed.items()
        if p.source == here
    )
    events, poison, foreign = _of_living(here, living, sent.values())
    consumed: dict[tuple[str, int], int] = defaultdict(lambda: -1)
    for place in logged:
        consumed[place[:2]] = max(consumed[place[:2]], place.offset)
    gone = 0
    for place, message in placed.items():
        if place.source != here:
            if place.offset > consumed[place[:2]]:
                gone += 1
            elif message.kind != POISON:
                events[place] = message.value or b""
    _add_unacknowledged(events, logged, here, sent, {one.number for one in acknowledged if one.offset >= 0})
    held = set(map(_body, living.values()))
    broker_lost += sum(
        one.offset < 0 and one.at_us > max(ends_us, default=0) and sent[one.number][2:] not in held
        for one in acknowledged
    )
    copies = Counter((message.key, message.value) for message in sent.values())
    copies.subtract(map(_body, living.values()))
    return Truth(
        events,
        poison,
        [(one.number, one) for one in acknowledged if sent[one.number].kind == CANARY],
        len(acknowledged),
        len(sent) - len(acknowledged),
        gone,
        broker_lost,
        foreign,
        -sum(number for number in copies.values() if number < 0) - foreign,
    )


def _of_living(
    source: str, living: dict[tuple[int, int], Record], sent: Iterable[Sent]
) -> tuple[dict[Place, bytes], dict[Place, Record], int]:
    kinds = {(message.key, message.value): message.kind for message in sent}
    events, poison, foreign = {}, {}, 0
    for (partition, offset), record in living.items():
        kind = kinds.get(_body(record))
        if kind is None:
            foreign += 1
        elif kind == POISON:
            poison[Place(source, partition, offset)] = record
        else:
            events[Place(source, partition, offset)] = record.value or b""
    return events, poison, foreign


def _add_unacknowledged(
    events: dict[Place, bytes], logged: dict[Place, str], here: str, sent: dict[int, Sent], known: set[int]
) -> None:
    """A dead topic may have held what the producer never heard of: then the log says where."""
    waiting = {f"e{n}": m for n, m in sent.items() if n not in known and m.kind == EVENT}
    waiting |= {f"c{n}": m for n, m in sent.items() if n not in known and m.kind == CANARY}
    for place, event_id in logged.items():
        if place.source != here and place not in events and event_id in waiting:
            events[place] = waiting[event_id].value or b""


def _body(record: Record) -> tuple[bytes | None, bytes | None]:
    return record.key, record.value
