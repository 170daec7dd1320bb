"""The stream worker: takes events from Kafka, checks them, folds them into Redis, logs them, and only then commits.

Whatever stops it, offsets that are not committed are delivered again, and fences and the log's ranges make each count
once. So it holds nothing that must survive it. Where it cannot write it retries, and never skips.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from data.errors import MissingTopicError, UnsupportedProtocolError
from events.kafka.access import OPEN, Access, GroupProtocol
from events.kafka.connection import Connection
from events.kafka.consumer import Consumer, ConsumerOptions, read_offsets
from events.kafka.dead_letters import DeadLetters
from events.kafka.patience import patiently
from events.kafka.topics import EVENTS_TOPIC, ensure_topics
from events.stream.account import Account
from events.stream.heartbeat import Heartbeats, Membership, WorkerStatus
from events.stream.note import Note
from events.stream.parts import Parts
from events.stream.pulse import BEAT_S, Pulse
from events.stream.session import Session
from events.stream.timer import Timer
from features.state.online.owner import Owner

__all__ = ["Worker", "WorkerOptions", "connected"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """Settings of a worker.

    `servers` as "host:port,host:port"; `group` is the Kafka consumer group whose members share the partitions; a new
    topic is made with `partitions` partitions. A request to Kafka that takes longer than `patience_ms` has failed.
    `traced`: messages have their sender's span.
    """

    servers: str
    topic: str = EVENTS_TOPIC
    group: str = "encore-stream"
    name: str = "worker"
    partitions: int = 4
    patience_ms: int = 3_000
    access: Access = OPEN
    traced: bool = False

    def consumer(self, protocol: GroupProtocol) -> ConsumerOptions:
        """Return the settings of the group member."""
        return ConsumerOptions(
            servers=self.servers,
            topic=self.topic,
            group=self.group,
            name=self.name,
            protocol=protocol,
            patience_ms=self.patience_ms,
            access=self.access,
            traced=self.traced,
        )


def connected(options: WorkerOptions, owner: Owner | None, protocol: GroupProtocol) -> Connection:
    """Return a connection to the topic, which is made if it is missing, for a reader for an owner's log.

    Raises ConfigurationError where the topic cannot be made, or the group is another home's.
    """
    consumer = Consumer(options.consumer(protocol))
    try:
        try:
            topic = consumer.topic()
        except MissingTopicError:
            ensure_topics(options.servers, options.topic, partitions=options.partitions, access=options.access)
            topic = consumer.topic()
        # Of all partitions: one without messages does not show whose the others are.
        Note.of(topic.id, owner).require_own(consumer.look(range(topic.partitions)))
    except BaseException:
        consumer.close()
        raise
    return Connection(
        name=options.topic,
        topic=topic,
        protocol=protocol,
        member=consumer,
        letters=DeadLetters(options.servers, options.topic, options.access),
        read=partial(read_offsets, options.consumer(protocol)),
    )


class Worker:
    """One member of the consumer group that shares a topic's partitions.

    `run` connects, and returns when `stop` is set, with all that was folded committed. `on_status` is called once
    a second with the status and its account, whatever Redis answers; `on_beat` after each heartbeat that Redis has.
    """

    def __init__(
        self,
        options: WorkerOptions,
        parts: Parts,
        heartbeats: Heartbeats,
        on_beat: Callable[[], None] = lambda: None,
        on_status: Callable[[WorkerStatus, Account], None] = lambda _, __: None,
    ) -> None:
        self._options = options
        self._parts = parts
        self._protocol: GroupProtocol = "consumer"
        self._account = Account(parts.clock())
        self._pulse = Pulse(options.name, self._account, parts.clock, heartbeats, on_beat=on_beat, on_status=on_status)
        self._beat = Timer(BEAT_S)
        self._session: Session | None = None

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; Kafka is waited for.

        Raises ConfigurationError where the topic cannot be made, or the group is another program's or home's.
        """
        try:
            while not stop.is_set():
                opened: list[Connection] = []
                if patiently(lambda opened=opened: opened.append(self._connect()), stop, self._waits):  # type: ignore[misc]
                    self._work(opened[-1], stop)
        finally:
            self._pulse.stop()

    def _connect(self) -> Connection:
        return connected(self._options, self._parts.owner, self._protocol)

    def _work(self, connection: Connection, stop: threading.Event) -> None:
        """Work on one topic id, until `stop` is set or the topic's id has changed."""
        session = Session(self._parts, connection, self._account, waits=self._waits)
        patiently(self._parts.replication.begin, stop, self._waits)
        self._session = session
        try:
            with session:
                while not stop.is_set():
                    if not session.turn(stop):
                        break
                    if self._beat.is_due():
                        self._tell(session)
        except UnsupportedProtocolError as error:
            logger.warning("%s; joining the group by the classic protocol", error)
            self._protocol = "classic"
        finally:
            self._session = None

    def _waits(self, error: Exception) -> None:
        """Report, where it is time, what is waited for: otherwise nobody would notice a worker that stands still."""
        self._account.note_waiting(error)
        if self._beat.is_due():
            self._tell(self._session)

    def _tell(self, session: Session | None) -> None:
        """Publish a heartbeat, of no session while there is none."""
        try:
            membership, progress = (session.membership, session.progress) if session else (Membership(), {})
            editions = session.editions if session else (self._parts.edition, "")
            self._pulse.beat(membership, progress, editions)
        except Exception as error:  # noqa: BLE001 - a heartbeat is a courtesy: work goes on without it
            logger.warning("heartbeat not sent: %s", error)
