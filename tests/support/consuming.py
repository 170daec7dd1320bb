"""Reading back what a topic holds."""

from typing import Any

from kafka import KafkaConsumer, TopicPartition

__all__ = ["count_messages", "read_topic"]


def read_topic(servers: str, topic: str, **options: Any) -> list[Any]:
    """Every message that the topic holds now, as kafka-python's `ConsumerRecord`s, by partition and offset."""
    consumer = KafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False, **options)
    try:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        ends = consumer.end_offsets(partitions)
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        records: list[Any] = []
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            for batch in consumer.poll(timeout_ms=200).values():
                records.extend(batch)
        return sorted(records, key=lambda record: (record.partition, record.offset))
    finally:
        consumer.close()


def count_messages(servers: str, topic: str) -> int:
    """How many messages the topic holds now."""
    return len(read_topic(servers, topic))
