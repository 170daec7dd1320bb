"""The stream worker: takes events from Kafka, checks them, folds them into Redis, logs them, and only then commits.

    poll ─▶ check ─▶ fold (states and fences in Redis) ─▶ every few seconds: log, dead letters, commit offsets
              └─▶ dead letter

Whatever stops it, offsets not committed come again, and a fence or the log's own end takes each once. So it holds
nothing that must survive it. Where it cannot write it waits and tries again, and never skips.
"""

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from data.clock import Clock, wall_clock
from data.errors import UnavailableError
from data.event import MICROS, Rejection, decode_event
from data.event_log import EventLog
from data.sources import topic_source
from events.account import Account
from events.consumer import Assigned, Client, ConsumerOptions, Message, open_consumer
from events.dead_letters import DeadLetters
from events.heartbeat import Heartbeats
from events.log_buffer import LogBuffer
from events.starting import start_of
from events.topics import EVENTS_TOPIC, await_broker, dead_letter_topic, ensure_topics, topic_id
from features.fold import Fold, Sourced
from features.online import OnlineStates
from features.plan import Plan
from features.state import fact_of

__all__ = ["Worker", "WorkerOptions"]

logger = logging.getLogger(__name__)

_CHECK_S = 5
"""How often the topic's id is looked at where nothing comes. Whatever comes is folded only after a look."""

_POLL_S = 0.1
"""How long to wait for a first message."""

_REPLAY_ROWS = 10_000
"""Events from the log that are folded at once."""


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """`servers` as "host:port,host:port"; `flush_s` and `flush_rows` bound what one file of the log gathers."""

    servers: str
    topic: str = EVENTS_TOPIC
    group: str = "encore-stream"
    name: str = "worker"
    partitions: int = 4
    batch_rows: int = 5_000
    flush_s: float = 10.0
    flush_rows: int = 50_000
    client: Client = "auto"


class Worker:
    """One member of the consumer group. `run` returns when `stop` is set, all that was folded being committed."""

    def __init__(  # noqa: PLR0917 - what it is made of
        self,
        options: WorkerOptions,
        plan: Plan,
        states: OnlineStates,
        heartbeats: Heartbeats,
        log: EventLog,
        clock: Clock = wall_clock,
    ) -> None:
        self._options = options
        self._states = states
        self._heartbeats = heartbeats
        self._clock = clock
        server = await_broker(options.servers)
        ensure_topics(server, options.topic, partitions=options.partitions)
        self._topic = topic_id(server, options.topic)
        self._fold = Fold(plan, states, self._topic)
        self._buffer = LogBuffer(log, topic_source(self._topic))
        self._letters = DeadLetters(server, dead_letter_topic(options.topic))
        self._uncommitted: dict[int, int] = {}
        self._account = Account(options.name, clock())
        self._consumer = open_consumer(
            options.client,
            ConsumerOptions(servers=options.servers, topic=options.topic, group=options.group, most=options.batch_rows),
            self,
        )

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; UnavailableError where the topic was made anew."""
        flushed_us = beat_us = checked_us = self._clock()
        try:
            while not stop.is_set():
                messages = self._poll(stop)
                now = self._clock()
                if messages or now - checked_us >= _CHECK_S * MICROS:
                    # After the messages came and before they are folded: so they are of the topic that it says.
                    if not _patiently(self._check_topic, stop):
                        break
                    checked_us = now
                if messages and not self._take(messages, stop):
                    break
                full = len(self._buffer) >= self._options.flush_rows
                if self._uncommitted and (full or now - flushed_us >= self._options.flush_s * MICROS):
                    self._persist(stop)
                    flushed_us = now
                if now - beat_us >= MICROS:
                    self._beat(now)
                    beat_us = now
        finally:
            self._close()

    def assigned(self, partitions: list[Assigned]) -> dict[int, int]:
        """Partitions come: fold from the log what Kafka holds no more, say what is lost, and begin after it."""
        self.lost()
        starts = {}
        for partition in partitions:
            number = partition.partition
            start = start_of(partition, self._topic.hex(), self._buffer.end(number))
            if start.replay:
                self._replay(number, start.replay)
            if start.lost:
                self._account.lost += len(start.lost)
                logger.error(
                    "%s partition %d: offsets %d to %d are lost: Kafka's retention dropped them before they were read; "
                    "send them again where you can, and give the topic a longer retention",
                    self._options.topic,
                    number,
                    start.lost[0],
                    start.lost[-1],
                )
            starts[number] = start.offset
        return starts

    def revoked(self) -> None:
        """Partitions go: commit what is folded, so that the next owner need not fold it again."""
        try:
            self._commit()
        except Exception as error:  # noqa: BLE001 - the next owner folds them again, to no effect
            logger.warning("partitions left uncommitted: %s", error)

    def lost(self) -> None:
        """Neither log nor commit what waits: it comes again, to this worker or to its partition's next owner."""
        self._buffer.forget()
        self._uncommitted.clear()

    def _poll(self, stop: threading.Event) -> list[Message]:
        try:
            return self._consumer.poll(_POLL_S)
        except UnavailableError as error:
            logger.warning("waiting: %s", error)
            stop.wait(_POLL_S)
            return []

    def _check_topic(self) -> None:
        """Raise where the topic is not the one that this worker began with: its offsets mean something else now."""
        if self._consumer.topic_id() != self._topic:
            self.lost()
            raise _MadeAnewError(
                f"Kafka: topic {self._options.topic} was made anew while this worker ran; start the worker again"
            )

    def _take(self, messages: list[Message], stop: threading.Event) -> bool:
        """Check and fold messages. True: they are in the states; False: `stop` came first, and they come again."""
        now = self._clock()
        accepted = []
        for message in messages:
            event = decode_event(message.value, key=message.key, now_us=now)
            if isinstance(event, Rejection):
                self._letters.send(message, event)
                self._account.note_letter(message, event)
            else:
                accepted.append(Sourced(fact_of(event), message.partition, message.offset))
                self._buffer.add(message.partition, message.offset, event)
        if accepted and not _patiently(lambda: self._fold_in(accepted), stop):
            self.lost()
            return False
        self._account.received += len(messages)
        self._uncommitted |= {message.partition: message.offset + 1 for message in messages}
        return True

    def _fold_in(self, accepted: list[Sourced]) -> None:
        newest_us = max(sourced.fact.timestamp_us for sourced in accepted)
        counts = self._fold.apply(accepted)
        self._states.note_event(newest_us)
        self._account.note_folded(accepted, counts, newest_us, self._clock())

    def _replay(self, partition: int, offsets: range) -> None:
        """Fold events of the log: fences leave out those that are in already."""
        logger.warning(
            "%s partition %d: Kafka's retention dropped offsets %d to %d; they are folded from the event log",
            self._options.topic,
            partition,
            offsets[0],
            offsets[-1],
        )
        waiting: list[Sourced] = []
        for offset, event in self._buffer.logged(partition, offsets):
            waiting.append(Sourced(fact_of(event), partition, offset))
            if len(waiting) == _REPLAY_ROWS:
                self._fold_in(waiting)
                waiting = []
        if waiting:
            self._fold_in(waiting)

    def _persist(self, stop: threading.Event) -> None:
        if not _patiently(self._keep, stop):
            return
        try:
            self._commit()
        except UnavailableError as error:
            # Partitions are on the move, or the broker is away: it is committed next time, or comes again.
            logger.warning("not committed: %s", error)

    def _keep(self) -> None:
        """Log and dead-letter all that is folded."""
        self._buffer.flush()
        self._letters.flush()

    def _commit(self) -> None:
        """Keep all that is folded, then tell Kafka so, with the topic's id: a group outlives its topic."""
        self._keep()
        if self._uncommitted:
            self._consumer.commit(self._uncommitted, self._topic.hex())
            self._uncommitted.clear()

    def _beat(self, now_us: int) -> None:
        try:
            self._heartbeats.beat(self._account.status(now_us, self._consumer.progress()))
        except Exception as error:  # noqa: BLE001 - a heartbeat is a courtesy: work goes on without it
            logger.warning("no heartbeat: %s", error)

    def _close(self) -> None:
        """Commit what is folded, leave the group, close connections."""
        try:
            self._commit()
        except Exception as error:  # noqa: BLE001 - what is not committed comes again
            logger.warning("stopped without a last commit (its events will come again, and count once): %s", error)
        try:
            self._heartbeats.stop(self._options.name)
        except Exception as error:  # noqa: BLE001 - it vanishes by itself
            logger.warning("no farewell: %s", error)
        self._consumer.close()
        self._letters.close()


class _MadeAnewError(UnavailableError):
    """Another topic of the same name: nothing to wait for."""


def _patiently(action: Callable[[], None], stop: threading.Event) -> bool:
    """Do `action`, again and again where something is unavailable, until it is done (True) or `stop` is set."""
    wait_s = 0.1
    while True:
        try:
            action()
        except _MadeAnewError:
            raise
        except (UnavailableError, OSError) as error:
            logger.warning("waiting: %s", error)
            if stop.wait(wait_s * random.uniform(0.5, 1.5)):  # noqa: S311 - jitter
                return False
            wait_s = min(2 * wait_s, 5.0)
        else:
            return True
