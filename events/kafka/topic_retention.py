"""How long a topic keeps its messages: reads it from Kafka, and sets it."""

from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from data.errors import UnavailableError
from data.units import DAY_US
from events.kafka.access import OPEN, Access
from events.kafka.topics import await_broker

__all__ = ["Policy", "TopicRetention"]

_TIMEOUT_S = 10.0
_LONGEST_SEGMENT_MS = 7 * DAY_US // 1000


class Policy(NamedTuple):
    """How long a topic keeps messages, ms (None: no time limit), and how long a segment may grow, deleted whole.

    `compacted`: the last message of each key is kept.
    """

    kept_ms: int | None
    rolled_ms: int
    compacted: bool


class TopicRetention:
    """Reads and sets it in one Kafka. Every method raises UnavailableError where Kafka does not answer, or refuses."""

    def __init__(self, servers: str, access: Access = OPEN) -> None:
        self.server = await_broker(servers, timeout_s=2.0)
        self.admin = AdminClient({**access.for_librdkafka(), "bootstrap.servers": self.server, "log_level": 2})

    def partitions(self, topic: str) -> list[int]:
        """Return the numbers of a topic's partitions; none where there is no such topic."""
        try:
            metadata = self.admin.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
        except KafkaException as error:
            raise self.unavailable(topic, error) from error
        if metadata.error is not None and metadata.error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise self.unavailable(topic, metadata.error)
        return sorted(metadata.partitions)

    def read(self, topic: str) -> Policy:
        """Return how long a topic, which must be there, keeps its messages."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        try:
            settings = self.admin.describe_configs([resource], request_timeout=_TIMEOUT_S)[resource].result(_TIMEOUT_S)
        except KafkaException as error:
            raise self.unavailable(topic, error) from error
        policy, kept_ms, rolled_ms = (settings[name].value for name in ("cleanup.policy", "retention.ms", "segment.ms"))
        by_time = "delete" in policy and int(kept_ms) >= 0
        return Policy(int(kept_ms) if by_time else None, int(rolled_ms), "compact" in policy)

    def write(self, topic: str, kept_us: int) -> bool:
        """Make a topic keep its messages for so long; return whether that is a change."""
        kept_ms = kept_us // 1000
        wanted = {"retention.ms": kept_ms, "segment.ms": min(kept_ms, _LONGEST_SEGMENT_MS)}
        before = self.read(topic)
        if (before.kept_ms, before.rolled_ms) == (wanted["retention.ms"], wanted["segment.ms"]):
            return False
        entries = [
            ConfigEntry(name, str(value), incremental_operation=AlterConfigOpType.SET) for name, value in wanted.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        try:
            self.admin.incremental_alter_configs([resource], request_timeout=_TIMEOUT_S)[resource].result(_TIMEOUT_S)
        except KafkaException as error:
            raise self.unavailable(topic, error) from error
        return True

    def unavailable(self, topic: str, error: object) -> UnavailableError:
        """Return the error for a request that failed."""
        return UnavailableError(f"Kafka at {self.server}, topic {topic}: {error}; run this again when it is there")
