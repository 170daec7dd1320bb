"""From a topic of another shape to the project's events, each once, in the order of the project's key.

    shop-orders ── read committed ── translate ──┬─ events, by their ordering key ─┐
                                                 ├─ dead letters                   ├─ one transaction
                                                 └─ offsets of the group ──────────┘

Workers read what is committed only, so that a relay that dies has passed on either all of a batch or nothing.
"""

import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from data.errors import UnavailableError
from data.event import Rejection
from events.kafka.connection import Message, cut
from events.kafka.consumer import PASSING, ConsumerOptions, message_of
from events.kafka.dead_letters import headers_of
from events.kafka.patience import patiently
from events.kafka.topics import dead_letter_topic, ensure_topics
from events.kafka.unreadable import UNREADABLE, passed_by
from events.translation.translator import MOST_EVENTS, Translator

__all__ = ["Passed", "Relay", "RelayOptions"]

logger = logging.getLogger(__name__)

_AT_ONCE = 500
"""Messages passed on in one transaction."""

_WAIT_S = 0.5
"""The longest wait for messages between two looks at `stop`."""

_TRANSACTION_S = 10.0
"""A transaction that takes longer has failed; readers wait as long for one whose relay is dead."""

_LARGEST = 16 * 1024 * 1024
"""Bytes of the largest message that is translated. JSON of small objects takes thirty times as much when it is read."""

_LARGEST_LETTER = 900_000
"""What every topic takes, unless its owner has lowered the limit: a refusal would abort the transaction for ever."""


@dataclass(frozen=True, kw_only=True)
class RelayOptions:
    """What is read, and the topic of the events, which is made with so many `partitions`.

    The reader's name is this relay's among those of its group, and stays over its restarts.
    """

    reading: ConsumerOptions
    topic: str
    partitions: int


@dataclass
class Passed:
    """Counts since the start: messages read, events made of them, and messages that became dead letters."""

    messages: int = 0
    events: int = 0
    letters: int = 0


class Relay:
    """Passes on what arrives until it is stopped; after any failure it continues where it was."""

    def __init__(self, options: RelayOptions, translator: Translator) -> None:
        self._options = options
        self._translate = translator
        self.passed = Passed()

    def run(self, stop: threading.Event) -> None:
        """Pass on until `stop` is set. Waits where Kafka is away."""
        while not stop.is_set():
            patiently(lambda: self._session(stop), stop)

    def _session(self, stop: threading.Event) -> None:
        """Pass on with one pair of clients. Raises UnavailableError where another pair must continue."""
        options, reading = self._options, self._options.reading
        consumer = producer = None
        try:
            ensure_topics(reading.servers, options.topic, partitions=options.partitions, access=reading.access)
            consumer, producer = Consumer(self._reading()), Producer(self._writing())
            producer.init_transactions(_TRANSACTION_S)
            consumer.subscribe([reading.topic])
            while not stop.is_set():
                if messages := self._read(consumer):
                    self._pass_on(messages, consumer, producer)
        except KafkaException as error:
            raise UnavailableError(f"Kafka at {reading.servers}: {error.args[0].str()}") from error
        finally:
            if producer is not None:
                with suppress(KafkaException):
                    producer.abort_transaction(_WAIT_S)
            if consumer is not None:
                consumer.close()

    def _read(self, consumer: Consumer) -> list[Message]:
        """Return what has arrived; what cannot be read becomes one message that says so, and is skipped."""
        reading, messages = self._options.reading, []
        for answer in consumer.consume(_AT_ONCE, _WAIT_S):
            error = answer.error()
            if error is None:
                messages.append(message_of(answer, largest=_LARGEST))
            elif error.code() in UNREADABLE:
                place = answer.partition(), answer.offset()
                messages.append(passed_by(reading.consumer(), reading.topic, *place, error.str()))
                consumer.seek(TopicPartition(reading.topic, messages[-1].partition, messages[-1].offset + 1))
            elif error.code() not in PASSING:
                raise KafkaException(error)
        return messages

    def _pass_on(self, messages: Sequence[Message], consumer: Consumer, producer: Producer) -> None:
        options, counts = self._options, Passed()
        producer.begin_transaction()
        ends: dict[int, int] = {}
        for message in messages:
            outcome = self._outcome(message)
            counts.messages += 1
            if isinstance(outcome, Rejection):
                counts.letters += 1
                self._send_letter(message, outcome, producer)
            else:
                counts.events += len(outcome)
                for key, value in outcome:
                    producer.produce(options.topic, value, key)
            producer.poll(0)
            ends[message.partition] = message.offset + 1
        offsets = [TopicPartition(options.reading.topic, partition, end) for partition, end in ends.items()]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), _TRANSACTION_S)
        producer.commit_transaction(_TRANSACTION_S)
        self.passed.messages += counts.messages
        self.passed.events += counts.events
        self.passed.letters += counts.letters

    def _outcome(self, message: Message) -> list[tuple[bytes, bytes]] | Rejection:
        if refusal := message.refusal():
            return refusal
        return self._translate(message.value, f"{message.topic}-{message.partition}-{message.offset}")

    def _send_letter(self, message: Message, rejection: Rejection, producer: Producer) -> None:
        headers = [*headers_of(message.topic, message.partition, message.offset, rejection), *message.cut]
        key, value = message.key, message.value
        if len(key or b"") + len(value or b"") > _LARGEST_LETTER:
            (key, key_headers), (value, value_headers) = cut("key", key), cut("value", value)
            headers += key_headers + value_headers
        producer.produce(dead_letter_topic(self._options.topic), value, key, headers=headers)

    def _reading(self) -> dict[str, Any]:
        return self._options.reading.consumer() | {"auto.offset.reset": "earliest"}

    def _writing(self) -> dict[str, Any]:
        reading = self._options.reading
        return {
            **reading.client(),
            # Transactions that an earlier one of this name has begun and not ended are aborted.
            "transactional.id": f"{reading.group}-{reading.name}",
            "transaction.timeout.ms": int(_TRANSACTION_S * 1000),
            "partitioner": "murmur2_random",  # that of the producer: one user's events are in one partition
            "compression.type": "lz4",
            "queue.buffering.max.messages": 2 * _AT_ONCE * MOST_EVENTS,
        }
