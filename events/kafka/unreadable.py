"""Finds where reading continues behind messages that cannot be read at all.

A batch of a few kilobytes may become more than librdkafka lets a message be (100 MB, which bounds the memory that zstd
takes). librdkafka reports that, and stays before the batch for good. Kafka returns whole batches only, and nothing but
the batch says how many messages are in it, so the offsets behind are tried.
"""

from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer as RdConsumer
from confluent_kafka import KafkaError, TopicPartition

from data.errors import UnavailableError
from events.kafka.connection import Message
from events.kafka.deadline import Deadline

__all__ = ["UNPACKING_S", "UNREADABLE", "next_readable", "passed_by"]

UNREADABLE = (KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG)
"""Errors of a batch that librdkafka can neither read nor pass by."""

_BEHIND_THE_END = (KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)

UNPACKING_S = 30.0
"""How long a batch may take to come: one of 1 MiB may be unpacked to 1 GB, or to 100 MB in vain."""


def passed_by(settings: Mapping[str, Any], topic: str, partition: int, unreadable: int, reason: str) -> Message:
    """Return a message that stands for all that cannot be read from an offset on, at the last of these offsets.

    Raises what `next_readable` does.
    """
    end = next_readable(settings, topic, partition, unreadable)
    fault = f"offsets {unreadable} to {end - 1} cannot be read: {reason}"
    return Message(topic, partition, end - 1, None, None, fault)


def next_readable(settings: Mapping[str, Any], topic: str, partition: int, unreadable: int) -> int:
    """Return the first offset behind an unreadable one that can be read.

    `settings` are a librdkafka consumer's. Raises UnavailableError where Kafka does not answer.
    """
    bad, step = unreadable, 1
    while not _can_be_read(settings, topic, partition, bad + step):
        bad, step = bad + step, 2 * step
    good = bad + step
    while good - bad > 1:
        middle = (bad + good) // 2
        if _can_be_read(settings, topic, partition, middle):
            good = middle
        else:
            bad = middle
    return good


def _can_be_read(settings: Mapping[str, Any], topic: str, partition: int, offset: int) -> bool:
    consumer = RdConsumer({**settings, "enable.partition.eof": True, "auto.offset.reset": "error"})
    try:
        consumer.assign([TopicPartition(topic, partition, offset)])
        deadline = Deadline(UNPACKING_S)
        while not deadline.expired:
            message = consumer.poll(0.2)
            if message is None:
                continue
            if message.error() is None or message.error().code() in _BEHIND_THE_END:
                return True
            if message.error().code() in UNREADABLE:
                return False
    finally:
        consumer.close()
    raise UnavailableError(f"Kafka, topic {topic}, partition {partition}: nothing said of offset {offset} in time")
