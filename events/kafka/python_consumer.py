"""A consumer on kafka-python, which needs no library but Python's own."""

import time
import uuid
from collections.abc import Collection, Mapping
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer
from kafka.errors import KafkaError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata, TopicPartition

from data.errors import UnavailableError
from events.kafka.consumer import FETCH_WAIT_MS, Assigned, ConsumerOptions, Message, OutOfRangeError, Progress, Topic
from events.kafka.topics import await_broker

__all__ = ["PythonConsumer"]


class PythonConsumer:
    """`events.kafka.consumer.Consumer` on kafka-python."""

    def __init__(self, options: ConsumerOptions) -> None:
        self._options = options
        server = await_broker(options.servers)
        self._admin: Any = None
        self._ends: dict[int, int] = {}
        """Where partitions ended when they were looked at."""
        self._consumer: Any = KafkaConsumer(
            **options.access.for_python(),
            bootstrap_servers=server,
            group_id=options.group,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            enable_auto_commit=False,
            auto_offset_reset="none",
            # A topic may get more partitions.
            metadata_max_age_ms=2_000,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )

    def topic(self) -> Topic:
        """Asked of the broker, over a connection that is kept."""
        try:
            if self._admin is None:
                server = await_broker(self._options.servers, timeout_s=2)
                self._admin = KafkaAdminClient(
                    bootstrap_servers=server,
                    request_timeout_ms=self._options.patience_ms,
                    **self._options.access.for_python(),
                )
            entry = self._admin.describe_topics([self._options.topic])[0]
        except KafkaError as error:
            self._close_admin()
            raise self._gone(error) from error
        if entry["error_code"]:
            raise self._gone(f"error {entry['error_code']} where it was described")
        return Topic(uuid.UUID(str(entry["topic_id"])).bytes, len(entry["partitions"]))

    def look(self, partitions: Collection[int]) -> list[Assigned]:
        """Asked of the group's coordinator, and of each partition's leader."""
        # All of it within the patience: a worker that is to stop waits for no more.
        deadline = time.monotonic() + self._options.patience_ms / 1000

        def remaining_ms() -> int:
            return max(100, int((deadline - time.monotonic()) * 1000))

        places = [TopicPartition(self._options.topic, number) for number in partitions]
        found = []
        try:
            firsts = self._consumer.beginning_offsets(places, timeout_ms=remaining_ms())
            ends = self._consumer.end_offsets(places, timeout_ms=remaining_ms())
            for place in places:
                committed = self._consumer.committed(place, metadata=True, timeout_ms=remaining_ms())
                offset, note = (None, "") if committed is None else (committed.offset, committed.metadata or "")
                found.append(Assigned(place.partition, offset, note, firsts[place], ends[place]))
        except KafkaError as error:
            raise self._gone(error) from error
        except KeyError as error:  # its answer to a partition that it does not know yet
            raise self._gone(f"partition {error} has no leader yet") from error
        self._ends |= {one.partition: one.end for one in found}
        return found

    def assign(self, starts: Mapping[int, int]) -> None:
        """What was fetched of others, or of other offsets, is dropped."""
        places = {TopicPartition(self._options.topic, number): offset for number, offset in starts.items()}
        self._consumer.assign(list(places))
        for place, offset in places.items():
            self._consumer.seek(place, offset)

    def poll(self, timeout_s: float, most: int) -> list[Message]:
        """What one round of fetches brought."""
        try:
            found = self._consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=most)
        except OffsetOutOfRangeError as error:
            (places,) = error.args
            partitions = {place.partition for place in places}
            raise OutOfRangeError(self._options.servers, self._options.topic, partitions) from error
        except KafkaError as error:
            raise self._gone(error) from error
        return [
            Message(record.topic, record.partition, record.offset, record.key, record.value)
            for records in found.values()
            for record in records
        ]

    def commit(self, offsets: Mapping[int, int], note: str, patience_s: float | None = None) -> None:
        """Committed when it returns."""
        places = {
            TopicPartition(self._options.topic, number): OffsetAndMetadata(offset, note, -1)
            for number, offset in offsets.items()
        }
        try:
            self._consumer.commit(
                places, timeout_ms=int(patience_s * 1000) if patience_s else self._options.patience_ms
            )
        except KafkaError as error:
            raise self._gone(error) from error

    def progress(self) -> dict[int, Progress]:
        """As the last fetch told."""
        found = {}
        try:
            for place in self._consumer.assignment():
                end = self._consumer.highwater(place)
                if end is None:
                    end = self._ends.get(place.partition)  # nothing was fetched yet
                if end is not None:
                    found[place.partition] = Progress(self._consumer.position(place), end)
        except KafkaError as error:
            raise self._gone(error) from error
        return found

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close(autocommit=False, timeout_ms=self._options.patience_ms)
        self._close_admin()

    def _close_admin(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            admin.close()

    def _gone(self, error: object) -> UnavailableError:
        return UnavailableError(f"Kafka at {self._options.servers}, topic {self._options.topic}: {error!r}")
