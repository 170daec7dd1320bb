"""The stream worker: takes events from Kafka, checks them, folds them into Redis, logs them, and only then commits.

    poll ─▶ check ─▶ fold (states and fences in Redis) ─▶ every few seconds: log, dead letters, commit offsets
              └─▶ dead letter

Whatever stops it, offsets not committed come again, and a fence or the log's own end takes each once. So it holds
nothing that must survive it. Where it cannot write it waits and tries again, and never skips.
"""

import logging
import random
import threading
import time
from dataclasses import dataclass

import redis

from data.clock import Clock, wall_clock
from data.errors import UnavailableError
from data.event import Rejection, decode_event
from data.log.event_log import EventLog
from data.log.sources import topic_source
from events.kafka.access import OPEN, Access
from events.kafka.consumer import Client, ConsumerOptions, Message, OutOfRangeError, Topic, open_consumer
from events.kafka.dead_letters import DeadLetters
from events.kafka.patience import patiently
from events.kafka.topics import EVENTS_TOPIC, await_broker, ensure_topics
from events.stream.account import Account
from events.stream.heartbeat import Heartbeats
from events.stream.lease_keeper import LeaseKeeper
from events.stream.leases import SESSION_S, Leases, Member
from events.stream.log_buffer import LogBuffer
from events.stream.partitions import Partitions
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

_LETTERS_S = 1.0
"""How long the broker may take to keep dead letters before it is asked again: a stop waits no longer for them."""

_LAST_S = 1.0
"""How long it may take for the last commit: a stop is over in five seconds."""

_COMMIT_AGAIN_S = 600.0
"""How often all partitions are committed, though nothing came: Kafka forgets after a week what no group's member told,
and a worker that was taken for dead may have committed less after us."""

_FIRST_FLUSH = 40
"""What part of `flush_s` goes by before what is read of new partitions is first logged and committed."""

_FIRST_ROWS = 500
"""Messages that are read at once until then: one round of a long lag would take longer."""

_REPLAY_ROWS = 10_000
"""Events from the log that are folded at once."""


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """`servers` as "host:port,host:port"; offsets are committed under `group`, whose workers share the partitions;
    `flush_s` and `flush_rows` bound what one file of the log gathers. A worker that is started again under its `name`
    takes its partitions up at once; one that is silent for `session_s` loses them to others."""

    servers: str
    topic: str = EVENTS_TOPIC
    group: str = "encore-stream"
    name: str = "worker"
    session_s: float = SESSION_S
    partitions: int = 4
    batch_rows: int = 5_000
    flush_s: float = 10.0
    flush_rows: int = 50_000
    client: Client = "auto"
    access: Access = OPEN


class Worker:
    """One of those that share a topic's partitions. `run` returns when `stop` is set, all that was folded being
    committed."""

    def __init__(  # noqa: PLR0917 - what it is made of
        self,
        options: WorkerOptions,
        plan: Plan,
        states: OnlineStates,
        heartbeats: Heartbeats,
        leases: Leases,
        log: EventLog,
        clock: Clock = wall_clock,
    ) -> None:
        self._options = options
        self._plan = plan
        self._states = states
        self._heartbeats = heartbeats
        self._log = log
        self._clock = clock
        self._account = Account(options.name, clock())
        self._began_s = self._flushed_s = 0.0
        """When partitions were begun, and when all was last logged, on the monotonic clock."""
        self._begin_s = 0.0
        """When partitions may be begun, on the monotonic clock: not at once where it has failed just now."""
        member = Member(topic=options.topic, group=options.group, name=options.name, session_s=options.session_s)
        self._keeper = LeaseKeeper(leases, member)
        self._connect()

    def _connect(self) -> None:
        """Make all that depends on the topic's id."""
        options = self._options
        server = await_broker(options.servers)
        self._consumer = open_consumer(
            options.client,
            ConsumerOptions(
                servers=options.servers,
                topic=options.topic,
                group=options.group,
                access=options.access,
            ),
        )
        try:
            topic = self._described()
        except BaseException:
            self._consumer.close()
            raise
        self._topic = topic.id
        self._keeper.partitions = topic.partitions
        self._fold = Fold(self._plan, self._states, topic.id)
        self._buffer = LogBuffer(self._log, topic_source(topic.id))
        self._letters = DeadLetters(server, options.topic, options.access)
        # The topic's id goes with what is committed: a group outlives its topic.
        self._partitions = Partitions(options.topic, topic.id.hex(), self._consumer, self._buffer, self._account)

    def _described(self) -> Topic:
        """The topic, made if it is missing."""
        try:
            return self._consumer.topic()
        except UnavailableError:  # it is missing, or the broker needs longer
            options = self._options
            ensure_topics(options.servers, options.topic, partitions=options.partitions, access=options.access)
            return self._consumer.topic()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        # Waits go by a clock that nobody steps: a wall clock set back an hour would put off the log for an hour.
        beat_s = checked_s = again_s = self._began_s = self._flushed_s = time.monotonic()
        self._keeper.start()
        try:
            while not stop.is_set():
                self._follow(stop)
                messages = self._poll(stop)
                if stop.is_set():
                    break  # what has come will come again
                now_s = time.monotonic()
                if messages or now_s - checked_s >= _CHECK_S:
                    # After the messages came and before they are folded: so they are of the topic that it says.
                    checked_s = now_s
                    if not self._is_our_topic(stop):
                        continue
                self._stand_still(stop)
                if messages:
                    self._take(messages, stop)
                if now_s - again_s >= _COMMIT_AGAIN_S:
                    self._partitions.commit_again()
                    again_s = now_s
                if self._partitions.uncommitted and self._is_due(now_s):
                    self._persist(stop)
                    self._flushed_s = now_s
                if now_s - beat_s >= 1:
                    self._beat(self._clock())
                    beat_s = now_s
        finally:
            self._close()

    @property
    def _rows_at_once(self) -> int:
        """How many messages to read: few until something of the newest partitions is logged and committed."""
        most = self._options.batch_rows
        return most if self._flushed_s > self._began_s else min(most, _FIRST_ROWS)

    def _is_due(self, now_s: float) -> bool:
        """Whether it is time to log and commit: at first often, then ever more rarely. Else a worker that dies soon
        after it began would leave all to the next, and many deaths in a row would not come forward at all."""
        if len(self._buffer) + len(self._letters) >= self._options.flush_rows:
            return True
        longest_s = self._options.flush_s
        wait_s = max(longest_s / _FIRST_FLUSH, self._flushed_s - self._began_s)
        return now_s - self._flushed_s >= min(wait_s, longest_s)

    def _follow(self, stop: threading.Event) -> None:
        """Read the partitions that are leased to this worker, and no others."""
        held = self._keeper.held()
        lost = self._partitions.reading - held.mine
        if lost:
            self._partitions.drop(lost)
        if held.give:
            # Logged and committed, or the next one to have them would do it all again, to no effect.
            self._give_back(held.give, stop)
            self._keeper.release(held.give)
        new = held.mine - held.give - self._partitions.reading
        if not new or time.monotonic() < self._begin_s:
            return
        try:
            self._partitions.begin(new, lambda number, offsets: self._replay(number, offsets, stop))
            self._began_s = time.monotonic()
        except UnavailableError as error:
            logger.warning("partitions %s wait: %s", sorted(new), error)
            self._begin_s = time.monotonic() + random.uniform(0.1, 0.5)  # noqa: S311 - jitter

    def _give_back(self, partitions: frozenset[int], stop: threading.Event) -> None:
        """Read partitions no more, with what was done of them kept."""
        if partitions & self._partitions.reading:
            self._persist(stop)
            self._partitions.drop(partitions)

    def _poll(self, stop: threading.Event) -> list[Message]:
        """The next messages of this worker's partitions; none where Kafka does not answer."""
        try:
            return self._consumer.poll(_POLL_S, self._rows_at_once)
        except OutOfRangeError as error:
            logger.warning("begins again: %s", error)
            self._give_back(error.partitions, stop)
            return []
        except UnavailableError as error:
            logger.warning("waiting: %s", error)
            stop.wait(random.uniform(0.1, 0.5))  # noqa: S311 - jitter
            return []

    def _is_our_topic(self, stop: threading.Event) -> bool:
        """Whether the topic is still the one that this worker began with; another one is begun anew."""
        found: list[Topic] = []
        if not patiently(lambda: found.append(self._consumer.topic()), stop):
            return False  # what has come is taken by nobody, so it comes again
        if found[-1].id == self._topic:
            self._keeper.partitions = found[-1].partitions
            return True
        logger.warning("topic %s was made anew: its offsets mean something else now", self._options.topic)
        # What is folded is logged; nothing is committed.
        patiently(self._buffer.flush, stop)
        self._disconnect()
        patiently(self._connect, stop)
        return False

    def _stand_still(self, stop: threading.Event) -> None:
        """Wait while states are made anew, with all that is folded in the log."""
        try:
            token = self._heartbeats.asked_pause()
            if token:
                self._persist(stop)
            while token and not stop.is_set():
                self._keeper.live()
                self._beat(self._clock(), token)
                stop.wait(_POLL_S)
                token = self._heartbeats.asked_pause()
        except redis.RedisError as error:
            logger.warning("Redis: %s", error)  # whoever rebuilds must reach it too; folding waits for it

    def _take(self, messages: list[Message], stop: threading.Event) -> None:
        """Check and fold messages; on return they are in the states, or the worker stops."""
        now = self._clock()
        accepted, logged = [], []
        for message in messages:
            event = decode_event(message.value, key=message.key, now_us=now)
            if isinstance(event, Rejection):
                self._letters.send(message, event)
                self._account.note_letter(message, event)
            else:
                accepted.append(Sourced(fact_of(event), message.partition, message.offset))
                logged.append((message.partition, message.offset, event))
        if accepted and not patiently(lambda: self._fold_in(accepted), stop):
            return  # they come again, and count once
        for place in logged:
            self._buffer.add(*place)
        self._account.received += len(messages)
        self._partitions.advance(messages)

    def _fold_in(self, accepted: list[Sourced]) -> None:
        newest_us = max(sourced.fact.timestamp_us for sourced in accepted)
        counts = self._fold.apply(accepted)
        self._states.note_event(newest_us)
        self._account.note_folded(accepted, counts, newest_us, self._clock())

    def _replay(self, partition: int, offsets: range, stop: threading.Event) -> None:
        """Fold events of the log: fences leave out those that are in already."""
        self._stand_still(stop)
        waiting: list[Sourced] = []
        for offset, event in self._buffer.logged(partition, offsets):
            waiting.append(Sourced(fact_of(event), partition, offset))
            if len(waiting) == _REPLAY_ROWS:
                self._keeper.live()
                self._fold_in(waiting)
                waiting = []
        if waiting:
            self._fold_in(waiting)

    def _persist(self, stop: threading.Event) -> None:
        """Keep all that is folded, however long it takes, and tell Kafka so."""
        if not patiently(self._keep, stop):
            return
        try:
            self._commit()
        except UnavailableError as error:
            # The broker is away: it is committed next time, or comes again.
            logger.warning("not committed: %s", error)

    def _keep(self) -> None:
        """Log and dead-letter all that is folded."""
        self._buffer.flush()
        self._letters.flush(_LETTERS_S)

    def _commit(self, patience_s: float | None = None) -> None:
        """Tell Kafka what is kept. Whoever wakes from a long sleep hears first of what others have got meanwhile, or he
        would set back what they have committed."""
        if self._keeper.is_sure:
            self._partitions.commit(patience_s)

    def _beat(self, now_us: int, paused: str = "") -> None:
        self._account.name = self._keeper.name
        try:
            self._heartbeats.beat(self._account.status(now_us, self._consumer.progress(), paused))
        except Exception as error:  # noqa: BLE001 - a heartbeat is a courtesy: work goes on without it
            logger.warning("no heartbeat: %s", error)

    def _close(self) -> None:
        """Commit what is folded, give all partitions back, close connections."""
        try:
            self._keep()
            self._commit(_LAST_S)
        except Exception as error:  # noqa: BLE001 - what is not committed comes again
            logger.warning("stopped without a last commit (its events will come again, and count once): %s", error)
        self._keeper.close()
        try:
            self._heartbeats.stop(self._account.name)
        except Exception as error:  # noqa: BLE001 - it vanishes by itself
            logger.warning("no farewell: %s", error)
        self._disconnect()

    def _disconnect(self) -> None:
        self._consumer.close()
        self._letters.close()
