"""What a stream worker needs of a Kafka client, so that it can run on either of two.

librdkafka (the extra `fast`) reads some forty times as many messages a second as kafka-python, which is always there.
"""

import importlib.util
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from data.errors import ConfigurationError, UnavailableError
from events.kafka.access import OPEN, Access

__all__ = [
    "FETCH_WAIT_MS",
    "Assigned",
    "Client",
    "Consumer",
    "ConsumerOptions",
    "Message",
    "OutOfRangeError",
    "Progress",
    "Topic",
    "open_consumer",
]

Client = Literal["auto", "confluent", "kafka-python"]
"""Which client: the faster one that is installed, or one by name."""


class Message(NamedTuple):
    """A message and where it stands."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class Topic(NamedTuple):
    """A topic's id (16 bytes; one that was made anew has another), and how many partitions it has."""

    id: bytes
    partitions: int


class Assigned(NamedTuple):
    """A partition before it is read: what the group committed of it, with a note (None: nothing), the offset of its
    oldest message, and the one after its newest."""

    partition: int
    committed: int | None
    note: str
    first: int
    end: int


class Progress(NamedTuple):
    """How far a partition is read: the next offset, and the one after the newest message, as last heard."""

    position: int
    end: int


class OutOfRangeError(UnavailableError):
    """Kafka does not hold the next offset of some partitions, which are read no further until they are begun again."""

    def __init__(self, servers: str, topic: str, partitions: Collection[int]) -> None:
        super().__init__(f"Kafka at {servers}, topic {topic}: no such offsets in partitions {sorted(partitions)}")
        self.partitions = frozenset(partitions)


FETCH_WAIT_MS = 20
"""How long a broker may hold back its answer until there are messages. Kafka answers with the first one; Tansu when the
time is over: so long a fresh event waits there, and with less Tansu has more to do."""


@dataclass(frozen=True, kw_only=True)
class ConsumerOptions:
    """`servers` as "host:port,host:port"; offsets are committed under the name `group`; what is asked of Kafka and
    takes longer than `patience_ms` has failed."""

    servers: str
    topic: str
    group: str
    patience_ms: int = 3_000
    access: Access = OPEN


class Consumer(Protocol):
    """A reader of some partitions of one topic, which joins no group: who reads what is not Kafka's to say
    (`events.stream.leases`). Not to be shared between threads.

    It begins a partition where it is told and nowhere else: an offset that Kafka does not hold is never skipped in
    silence. Every method may raise UnavailableError; call again.
    """

    def topic(self) -> Topic:
        """The topic as it is now, asked of the broker."""

    def look(self, partitions: Collection[int]) -> list[Assigned]:
        """What the group has committed of partitions, and what Kafka holds of them."""

    def assign(self, starts: Mapping[int, int]) -> None:
        """Read these partitions, each from the offset given, and no others."""

    def poll(self, timeout_s: float, most: int) -> list[Message]:
        """Up to `most` messages that have come, in offset order per partition; waits for the first, and for no others.
        OutOfRangeError names partitions whose next offset Kafka does not hold."""

    def commit(self, offsets: Mapping[int, int], note: str, patience_s: float | None = None) -> None:
        """Note how far partitions are done (the next offset of each), with a note for who comes next.
        `patience_s` instead of the options' patience."""

    def progress(self) -> dict[int, Progress]:
        """How far the partitions are read."""

    def close(self) -> None:
        """Close the connections."""


def open_consumer(client: Client, options: ConsumerOptions) -> Consumer:
    """A consumer on the client asked for; ConfigurationError where it is not installed."""
    return _opener(client)(options)


def _opener(client: Client) -> Callable[[ConsumerOptions], Consumer]:
    fast = importlib.util.find_spec("confluent_kafka") is not None
    if client == "confluent" and not fast:
        raise ConfigurationError(
            "Kafka: the client confluent-kafka is not installed; install the extra "
            "(`pip install 'encore-features[fast]'`), or set ENCORE_KAFKA_CLIENT=kafka-python"
        )
    if client == "kafka-python" or not fast:
        from events.kafka.python_consumer import PythonConsumer  # noqa: PLC0415 - only the one that is used

        return PythonConsumer
    from events.kafka.confluent_consumer import ConfluentConsumer  # noqa: PLC0415 - only where it is installed

    return ConfluentConsumer
