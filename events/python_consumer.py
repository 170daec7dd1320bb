"""A consumer on kafka-python, which needs no library but Python's own."""

import logging
import uuid
from collections.abc import Mapping
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.errors import FencedInstanceIdError, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata, TopicPartition

from data.errors import UnavailableError
from events.consumer import Assigned, ConsumerOptions, Message, NameTakenError, Owner, Progress
from events.topics import await_broker

__all__ = ["PythonConsumer"]

logger = logging.getLogger(__name__)


class PythonConsumer:
    """`events.consumer.Consumer` on kafka-python."""

    def __init__(self, options: ConsumerOptions, owner: Owner) -> None:
        self._options = options
        self._taken: NameTakenError | None = None
        server = await_broker(options.servers)
        self._admin: Any = None
        self._consumer: Any = KafkaConsumer(
            **options.access.for_python(),
            bootstrap_servers=server,
            group_id=options.group,
            group_instance_id=options.member,
            enable_auto_commit=False,
            auto_offset_reset="none",
            session_timeout_ms=options.session_ms,
            heartbeat_interval_ms=options.heartbeat_ms,
            max_poll_interval_ms=options.poll_ms,
            # A group's leader that knows no partitions yet assigns none, until it looks again.
            metadata_max_age_ms=2_000,
            max_poll_records=options.most,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        self._listener = _Listener(self._consumer, options.topic, owner)
        self._consumer.subscribe([options.topic], listener=self._listener)

    def poll(self, timeout_s: float) -> list[Message]:
        """What one round of fetches brought."""
        if self._taken is not None:
            raise self._taken
        try:
            if self._listener.unbegun:
                self._listener.begin()
            found = self._consumer.poll(timeout_ms=int(timeout_s * 1000))
        except (OffsetOutOfRangeError, NoOffsetForPartitionError):
            self._listener.hold(self._consumer.assignment())
            return []
        except KafkaError as error:
            raise self._gone(error) from error
        return [
            Message(record.topic, record.partition, record.offset, record.key, record.value)
            for records in found.values()
            for record in records
        ]

    def topic_id(self) -> bytes:
        """Asked of the broker, over a connection that is kept."""
        try:
            if self._admin is None:
                server = await_broker(self._options.servers, timeout_s=2)
                self._admin = KafkaAdminClient(
                    bootstrap_servers=server,
                    request_timeout_ms=self._options.commit_ms,
                    **self._options.access.for_python(),
                )
            entry = self._admin.describe_topics([self._options.topic])[0]
        except KafkaError as error:
            self._close_admin()
            raise self._gone(error) from error
        if entry["error_code"]:
            raise self._gone(f"error {entry['error_code']} where it was described")
        return uuid.UUID(str(entry["topic_id"])).bytes

    def commit(self, offsets: Mapping[int, int], note: str) -> None:
        """Committed when it returns."""
        try:
            self._consumer.commit(_places(self._options.topic, offsets, note), timeout_ms=self._options.commit_ms)
        except KafkaError as error:
            raise self._gone(error) from error

    def progress(self) -> dict[int, Progress]:
        """As the last fetch told."""
        found = {}
        try:
            for place in self._consumer.assignment():
                end = self._consumer.highwater(place)
                if end is None:
                    end = self._listener.ends.get(place.partition)  # nothing was fetched yet
                if end is not None:
                    found[place.partition] = Progress(self._consumer.position(place), end)
        except KafkaError as error:
            raise self._gone(error) from error
        return found

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close(autocommit=False, timeout_ms=self._options.commit_ms)
        self._close_admin()

    def _close_admin(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            admin.close()

    def _gone(self, error: object) -> UnavailableError:
        if isinstance(error, FencedInstanceIdError):
            self._taken = NameTakenError(self._options)
            return self._taken
        return UnavailableError(f"Kafka at {self._options.servers}, topic {self._options.topic}: {error!r}")


class _Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Tells the owner of partitions that come and go, and begins where it says."""

    def __init__(self, consumer: Any, topic: str, owner: Owner) -> None:
        self._consumer = consumer
        self._topic = topic
        self._owner = owner
        self.unbegun: list[Any] = []
        """Partitions that are ours, held until it can be said where to begin."""
        self.ends: dict[int, int] = {}
        """Where those that are begun ended then."""

    # These run on the client's own thread, which must not wait for itself.

    async def on_partitions_revoked(self, revoked: Any) -> None:  # noqa: ARG002 - Kafka's signature
        """Called before partitions go to another worker."""
        self.unbegun = []
        places = _places(self._topic, self._owner.revoked(), self._owner.note)
        try:
            if places:
                await self._consumer.commit_async(places)
        except KafkaError as error:
            logger.warning("partitions left uncommitted: %r", error)

    async def on_partitions_lost(self, lost: Any) -> None:  # noqa: ARG002 - Kafka's signature
        """Called when another worker has them already: nothing is left to do before others come."""
        self.unbegun = []

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Called when partitions come."""
        self.hold(assigned)

    def hold(self, places: Any) -> None:
        """Read nothing of them before `begin`: what a listener raises is only logged, and reading would go on."""
        self.unbegun = list(places)
        self._consumer.pause(*self.unbegun)

    def begin(self) -> None:
        """Ask the owner where, and go there."""
        places = {place.partition: place for place in self.unbegun}
        first = self._consumer.beginning_offsets(self.unbegun)
        end = self._consumer.end_offsets(self.unbegun)
        found = []
        for number, place in places.items():
            committed = self._consumer.committed(place, metadata=True)
            offset, note = (None, "") if committed is None else (committed.offset, committed.metadata or "")
            found.append(Assigned(number, offset, note, first[place], end[place]))
        for number, offset in self._owner.assigned(found).items():
            self._consumer.seek(places[number], offset)
        self.ends = {one.partition: one.end for one in found}
        self._consumer.resume(*self.unbegun)
        self.unbegun = []


def _places(topic: str, offsets: Mapping[int, int], note: str) -> dict[Any, Any]:
    return {TopicPartition(topic, n): OffsetAndMetadata(offset, note, -1) for n, offset in offsets.items()}
