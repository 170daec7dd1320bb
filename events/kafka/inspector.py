"""Read-only inspection of Kafka: topics, partitions, offsets, groups with their lag, newest messages."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import KafkaError, UnsupportedCodecError
from kafka.protocol.consumer.offsets import IsolationLevel

from data.errors import DataError, UnavailableError
from events.kafka.access import OPEN, Access
from events.kafka.deadline import Deadline
from events.kafka.topics import await_broker

__all__ = ["GroupLag", "Inspector", "PartitionRange", "StoredMessage"]

_PATIENCE_S = 2.0
"""How long Kafka may send nothing of the newest messages, s."""


class PartitionRange(NamedTuple):
    """One partition: the offset of its oldest message, and the one after its newest."""

    topic: str
    partition: int
    first: int
    end: int

    @property
    def messages(self) -> int:
        """Number of offsets that it holds; those removed by compaction, and transaction markers, count."""
        return self.end - self.first


class GroupLag(NamedTuple):
    """The offset that a consumer group has committed in a partition, and its lag in messages."""

    group: str
    topic: str
    partition: int
    committed: int
    lag: int


class StoredMessage(NamedTuple):
    """A stored message; `timestamp_us` is set by the broker or producer, UTC microseconds (None: absent)."""

    topic: str
    partition: int
    offset: int
    timestamp_us: int | None
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Inspector:
    """Inspects one Kafka over connections that it keeps. It joins no group and commits nothing.

    Every method raises `UnavailableError` where Kafka does not answer; call again when it is back. Not thread-safe,
    since Kafka's clients are not.
    """

    def __init__(self, servers: str, *, wait_s: float = 1.0, access: Access = OPEN) -> None:
        self._servers = servers
        self._access = access
        self._wait_s = wait_s
        self._admin: Any = None
        self._consumer: Any = None

    def version(self) -> str:
        """Return the version of Kafka whose requests a broker knows."""
        try:
            first = self._open_admin().describe_cluster()["brokers"][0]
            broker = first.get("broker_id", first.get("node_id"))
            return ".".join(map(str, self._admin.get_broker_version_data(broker).broker_version))
        except (UnavailableError, KafkaError, OSError) as error:
            raise self._unavailable(error) from error

    def partitions(self) -> list[PartitionRange]:
        """Return every partition of every topic except the broker's own, by name and number."""
        try:
            names = [name for name in self._open_admin().list_topics() if not name.startswith("__")]
            described = self._admin.describe_topics(names) if names else []
            places = [
                TopicPartition(topic["name"], partition["partition_index"])
                for topic in described
                for partition in topic["partitions"]
            ]
            first, end = self._ends(places)
        except (UnavailableError, KafkaError, OSError) as error:
            raise self._unavailable(error) from error
        return sorted(PartitionRange(place.topic, place.partition, first[place], end[place]) for place in places)

    def groups(self, ranges: Iterable[PartitionRange]) -> list[GroupLag]:
        """Return what each consumer group has committed, against the ends in `ranges` (the result of `partitions`)."""
        ends = {(span.topic, span.partition): span.end for span in ranges}
        try:
            names = [group["group_id"] for group in self._open_admin().list_groups()]
            offsets = self._admin.list_group_offsets(names) if names else {}
        except (UnavailableError, KafkaError, OSError) as error:
            raise self._unavailable(error) from error
        return sorted(
            GroupLag(group, place.topic, place.partition, committed.offset, max(0, end - committed.offset))
            for group, places in offsets.items()
            for place, committed in places.items()
            if committed.offset >= 0 and (end := ends.get((place.topic, place.partition))) is not None
        )

    def waiting(self, topic: str, group: str) -> int:
        """Return how many messages of a topic a group has not committed, without those that Kafka has deleted."""
        ranges = [span for span in self.partitions() if span.topic == topic]
        committed = {lag.partition: lag.committed for lag in self.groups(ranges) if lag.group == group}
        return sum(max(0, span.end - max(span.first, committed.get(span.partition, 0))) for span in ranges)

    def newest(self, topic: str, count: int = 20) -> list[StoredMessage]:
        """Return the topic's newest messages, newest first: at most `count`, over all of its partitions.

        Those of aborted transactions, and of open ones, are left out, as workers leave them out.
        Raises `DataError` where they are compressed by a codec that is not installed.
        """
        try:
            consumer = self._open_consumer()
            places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
            if not places:
                return []
            first, end = self._ends(places, IsolationLevel.READ_COMMITTED)
            filled = [place for place in places if end[place] > first[place]]
            consumer.assign(filled)
            for place in filled:
                consumer.seek(place, max(first[place], end[place] - count))
            messages = self._read_up_to({place: end[place] for place in filled})
            consumer.unsubscribe()
        except UnsupportedCodecError as error:
            self.close()
            raise DataError(
                f"Kafka at {self._servers}, topic {topic}: the newest messages are compressed by a codec that cannot "
                f"be read here ({error}); the stream worker reads it all the same. Install the library, or let the "
                "producer use gzip or lz4"
            ) from error
        except (UnavailableError, KafkaError, OSError) as error:
            raise self._unavailable(error) from error
        messages.sort(key=lambda message: (message.timestamp_us or 0, message.offset), reverse=True)
        return messages[:count]

    def close(self) -> None:
        """Close the connections; the next call opens them again."""
        for client in (self._admin, self._consumer):
            if client is not None:
                client.close()
        self._admin = self._consumer = None

    def _read_up_to(self, ends: dict[Any, int]) -> list[StoredMessage]:
        """Read from the consumer's position until every partition has reached its end."""
        messages: list[StoredMessage] = []
        deadline = Deadline(_PATIENCE_S)
        # By position, since what is last may be a transaction's marker, which is no record.
        while any(self._consumer.position(place) < end for place, end in ends.items()):
            if deadline.expired:
                raise UnavailableError(f"no message within {_PATIENCE_S:g} s")
            for records in self._consumer.poll(timeout_ms=200).values():
                messages += map(_message, records)
                deadline = Deadline(_PATIENCE_S)
        return messages

    def _ends(
        self, places: list[Any], isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED
    ) -> tuple[dict[Any, int], dict[Any, int]]:
        if not places:
            return {}, {}
        # The consumer's own lookup can omit some partitions.
        ends = [
            self._open_admin().list_partition_offsets(dict.fromkeys(places, spec), isolation_level=isolation)
            for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST)
        ]
        first, end = ({place: result.offset for place, result in answer.items()} for answer in ends)
        return first, end

    def _open_admin(self) -> Any:
        if self._admin is None:
            server = await_broker(self._servers, timeout_s=self._wait_s)
            self._admin = KafkaAdminClient(
                bootstrap_servers=server, request_timeout_ms=5_000, **self._access.for_kafka_python()
            )
        return self._admin

    def _open_consumer(self) -> Any:
        if self._consumer is None:
            server = await_broker(self._servers, timeout_s=self._wait_s)
            self._consumer = KafkaConsumer(
                **self._access.for_kafka_python(),
                bootstrap_servers=server,
                enable_auto_commit=False,
                group_id=None,
                isolation_level="read_committed",
                request_timeout_ms=5_000,
            )
        return self._consumer

    def _unavailable(self, error: Exception) -> UnavailableError:
        self.close()
        return UnavailableError(
            f"Kafka at {self._servers} does not answer ({error}); start it with `encore infra`, or check KAFKA_SERVERS"
        )


def _message(record: Any) -> StoredMessage:
    return StoredMessage(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp * 1000 if record.timestamp is not None and record.timestamp >= 0 else None,
        record.key,
        record.value,
        tuple(record.headers or ()),
    )
