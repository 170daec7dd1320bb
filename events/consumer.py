"""What a stream worker needs of a Kafka client, so that it can run on either of two.

librdkafka (the extra `fast`) reads some forty times as many messages a second as kafka-python, which is always there.
"""

import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from data.errors import ConfigurationError, UnavailableError
from events.access import OPEN, Access

__all__ = [
    "SESSION_S",
    "Assigned",
    "Client",
    "Consumer",
    "ConsumerOptions",
    "Message",
    "NameTakenError",
    "Owner",
    "Progress",
    "open_consumer",
]

Client = Literal["auto", "confluent", "kafka-python"]
"""Which client: the faster one that is installed, or one by name."""

SESSION_S = 6.0
"""A member that is silent for so long is a dead one, where nothing else is said: Kafka's own minimum."""

_MEMBER = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")


class Message(NamedTuple):
    """A message and where it stands."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class Assigned(NamedTuple):
    """A partition that has come to this consumer: what the group committed of it, with a note (None: nothing), the
    offset of its oldest message, and the one after its newest."""

    partition: int
    committed: int | None
    note: str
    first: int
    end: int


class Progress(NamedTuple):
    """How far a partition is read: the next offset, and the one after the newest message, as last heard."""

    position: int
    end: int


class Owner(Protocol):
    """Who is told of partitions that come and go, within `poll` or `close`; `revoked` perhaps on a thread of the
    client's."""

    def assigned(self, partitions: list[Assigned]) -> dict[int, int]:
        """Partitions come; the offset at which to begin each."""

    def revoked(self) -> dict[int, int]:
        """All partitions are about to go; what to commit of them before (the next offset of each)."""

    def lost(self) -> None:
        """All partitions are gone already, and nothing can be committed. A client that knows says so; after it, or in
        its place, comes `assigned`."""

    @property
    def note(self) -> str:
        """What is committed with offsets, and comes back with `assigned`."""


@dataclass(frozen=True, kw_only=True)
class ConsumerOptions:
    """`servers` as "host:port,host:port"; `most` messages come from one poll; `session_ms` without a sign of life make
    a member a dead one, so long without a poll (`poll_ms`) one that a rebalance does not wait for; a commit, or leaving
    the group, that takes longer than `commit_ms` has failed.

    `member` is a name that no other member of the group has: whoever comes back under it within a session takes up
    its partitions, while the others work on (Kafka's static membership). Who has one does not say that he leaves."""

    servers: str
    topic: str
    group: str
    most: int = 5_000
    session_ms: int = int(SESSION_S * 1000)
    poll_ms: int = 15_000
    commit_ms: int = 3_000
    member: str | None = None
    access: Access = OPEN

    @property
    def heartbeat_ms(self) -> int:
        """A member hears with its sign of life that others come or go: the oftener, the sooner a rebalance is over."""
        return self.session_ms // 6

    def __post_init__(self) -> None:
        if self.member is not None and not _MEMBER.fullmatch(self.member):
            raise ConfigurationError(
                f"worker name {self.member!r}: use up to 249 letters, digits, dots, dashes and underscores"
            )


class Consumer(Protocol):
    """One member of a consumer group, on one topic. Not to be shared between threads.

    It begins a partition where its owner says and nowhere else: an offset that Kafka does not hold is never skipped in
    silence. Every method may raise UnavailableError, and NameTakenError for good once its name is another one's.
    """

    def poll(self, timeout_s: float) -> list[Message]:
        """What has come, in offset order per partition; waits for the first message at most, and for no others."""

    def topic_id(self) -> bytes:
        """The id (16 bytes) that the topic has now: one that was made anew has another."""

    def commit(self, offsets: Mapping[int, int], note: str) -> None:
        """Tell the group how far its partitions are done (the next offset of each), with a note for who comes next."""

    def progress(self) -> dict[int, Progress]:
        """How far the partitions are read that are begun."""

    def close(self) -> None:
        """Leave the group and close the connections."""


class NameTakenError(UnavailableError):
    """A static member's place is another one's: of its name, or its own, asked for twice over a broken connection."""

    def __init__(self, options: ConsumerOptions) -> None:
        super().__init__(
            f"Kafka: the place of {options.member} in the group {options.group} was taken by another worker of its "
            "name, or over a broken connection by itself; give each worker a name of its own"
        )


def open_consumer(client: Client, options: ConsumerOptions, owner: Owner) -> Consumer:
    """A consumer on the client asked for; ConfigurationError where it is not installed."""
    return _opener(client)(options, owner)


def _opener(client: Client) -> Callable[[ConsumerOptions, Owner], Consumer]:
    fast = importlib.util.find_spec("confluent_kafka") is not None
    if client == "confluent" and not fast:
        raise ConfigurationError(
            "Kafka: the client confluent-kafka is not installed; install the extra "
            "(`pip install 'encore-features[fast]'`), or set ENCORE_KAFKA_CLIENT=kafka-python"
        )
    if client == "kafka-python" or not fast:
        from events.python_consumer import PythonConsumer  # noqa: PLC0415 - only the one that is used

        return PythonConsumer
    from events.confluent_consumer import ConfluentConsumer  # noqa: PLC0415 - only where it is installed

    return ConfluentConsumer
