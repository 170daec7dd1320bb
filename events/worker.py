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
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata, TopicPartition

from data.clock import Clock, wall_clock
from data.errors import UnavailableError
from data.event import Rejection, decode_event
from data.event_log import EventLog
from data.sources import topic_source
from events.dead_letters import DeadLetters
from events.heartbeat import Heartbeats, WorkerStatus
from events.log_buffer import LogBuffer
from events.topics import EVENTS_TOPIC, await_broker, dead_letter_topic, ensure_topics, topic_id
from features.fold import Fold, Sourced
from features.online import OnlineStates
from features.plan import Plan
from features.state import fact_of

__all__ = ["Worker", "WorkerOptions"]

logger = logging.getLogger(__name__)

_COMMIT_S = 10.0

_LAST_S = 1.0
"""How long each of the last steps may take: dead letters, commit, leaving the group. A stop is over in five seconds."""

_AGES = 1_000
"""Of how many events the freshness is told."""

_AGES_A_BATCH = 20
"""How many of them one batch may give."""


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """`servers` as "host:port,host:port"; `flush_s` and `flush_rows` bound what one file of the log gathers."""

    servers: str
    topic: str = EVENTS_TOPIC
    group: str = "encore-stream"
    name: str = "worker"
    partitions: int = 4
    batch_rows: int = 2_000
    flush_s: float = 10.0
    flush_rows: int = 50_000


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
        self._plan = plan
        self._states = states
        self._heartbeats = heartbeats
        self._log = log
        self._clock = clock
        self._counts = Counter[str]()
        self._letter_kinds = Counter[str]()
        self._last_letter = ""
        self._newest_us: int | None = None
        self._types = Counter[str]()
        self._ages_us = deque[int](maxlen=_AGES)
        self._started_us = clock()
        self._uncommitted: dict[TopicPartition, int] = {}
        self._writing = threading.Lock()
        self._reassigned = threading.Event()
        self._join()

    def _join(self) -> None:
        """Join the group, with all that depends on the topic's id."""
        options = self._options
        server = await_broker(options.servers)
        ensure_topics(server, options.topic, partitions=options.partitions)
        self._topic = topic_id(server, options.topic)
        self._fold = Fold(self._plan, self._states, self._topic)
        self._buffer = LogBuffer(self._log, topic_source(self._topic))
        self._letters = DeadLetters(server, dead_letter_topic(options.topic))
        self._consumer = KafkaConsumer(
            bootstrap_servers=server,
            group_id=options.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=6_000,
            heartbeat_interval_ms=1_500,
            # A rebalance waits so long for a worker that lives but cannot write.
            max_poll_interval_ms=60_000,
            # A group's leader that knows no partitions yet assigns none, until it looks again.
            metadata_max_age_ms=2_000,
            max_poll_records=options.batch_rows,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        self._consumer.subscribe([options.topic], listener=_HandOver(self._hand_over, self._reassigned.set))

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        # Waits go by a clock that nobody steps: a wall clock set back an hour would put off the log for an hour.
        flushed_s = beat_s = time.monotonic()
        folded_before = 0
        try:
            while not stop.is_set():
                records = self._poll(stop)
                for partition, batch in records.items():
                    self._take(partition, batch, stop)
                now_s = time.monotonic()
                full = len(self._buffer) + len(self._letters) >= self._options.flush_rows
                if self._uncommitted and (full or now_s - flushed_s >= self._options.flush_s):
                    self._persist(stop)
                    flushed_s = now_s
                if now_s - beat_s >= 1:
                    self._beat(self._clock(), (self._counts["folded"] - folded_before) / (now_s - beat_s))
                    beat_s, folded_before = now_s, self._counts["folded"]
        finally:
            self._close()

    def _poll(self, stop: threading.Event) -> dict[TopicPartition, list[Any]]:
        """The next messages of this worker's partitions; none where Kafka does not answer, or has another topic."""
        try:
            records: dict[TopicPartition, list[Any]] = self._consumer.poll(timeout_ms=100)
        except KafkaError as error:
            logger.warning("Kafka: %r", error)
            stop.wait(random.uniform(0.1, 0.5))  # noqa: S311 - jitter
            return {}
        if self._reassigned.is_set():
            self._reassigned.clear()
            self._forget()
        # The client asks for the topic's id when it connects again, before it fetches.
        found = self._consumer._cluster.topic_id(self._options.topic)
        if found is not None and found.bytes != self._topic:
            self._begin_anew(stop)
            return {}
        return records

    def _begin_anew(self, stop: threading.Event) -> None:
        """Kafka lost the topic and it was made again: what was folded of the old one is logged, offsets begin anew."""
        logger.warning("topic %s was made anew: its offsets mean something else now", self._options.topic)
        _persist_with_patience(self._buffer.flush, stop)
        self._uncommitted.clear()
        self._close()
        self._join()

    def _take(self, partition: TopicPartition, batch: list[Any], stop: threading.Event) -> None:
        """Check and fold one partition's messages; on return they are in the states, or the worker stops."""
        now = self._clock()
        accepted = []
        for record in batch:
            event = decode_event(record.value, key=record.key, now_us=now)
            if isinstance(event, Rejection):
                self._letters.send(record, event)
                self._letter_kinds[event.kind] += 1
                self._last_letter = f"{partition.partition}:{record.offset} {event.kind}: {event.reason}"
            else:
                accepted.append(Sourced(fact_of(event), record.partition, record.offset))
                self._buffer.add(record.partition, record.offset, event)
        if accepted:
            newest = max(sourced.fact.timestamp_us for sourced in accepted)
            done = _persist_with_patience(lambda: self._fold_in(accepted, newest), stop)
            if not done:
                self._forget()
                return
            self._newest_us = max(newest, self._newest_us or 0)
            self._note(accepted)
        self._counts["received"] += len(batch)
        self._uncommitted[partition] = batch[-1].offset + 1

    def _note(self, folded: list[Sourced]) -> None:
        """Count by type, and how old some of the events are as they become visible in the features."""
        self._types.update(sourced.fact.event_type for sourced in folded)
        now = self._clock()
        step = -(-len(folded) // _AGES_A_BATCH)
        self._ages_us.extend(now - sourced.fact.timestamp_us for sourced in folded[::step])

    def _fold_in(self, accepted: list[Sourced], newest_us: int) -> None:
        counts = self._fold.apply(accepted)
        self._counts["folded"] += counts.folded
        self._counts["conflicts"] += counts.conflicts
        self._states.note_event(newest_us)

    def _persist(self, stop: threading.Event) -> None:
        try:
            _persist_with_patience(self._commit, stop)
        except KafkaError as error:
            # Partitions are on the move, or the broker is away: it is committed next time, or comes again.
            logger.warning("not committed: %r", error)

    def _commit(self, patience_s: float = 30.0) -> None:
        """Log and dead-letter all that is folded, then tell Kafka so."""
        with self._writing:
            offsets = self._write(patience_s)
            if offsets:
                self._consumer.commit(offsets, timeout_ms=int(min(patience_s, _COMMIT_S) * 1000))
                self._uncommitted.clear()

    def _write(self, patience_s: float) -> dict[TopicPartition, OffsetAndMetadata]:
        """Log and dead-letter all that is folded; what may be committed then."""
        self._buffer.flush()
        self._letters.flush(patience_s)
        return {p: OffsetAndMetadata(offset, "", -1) for p, offset in self._uncommitted.items()}

    async def _hand_over(self) -> None:
        """Commit before partitions leave. This is on the client's own thread, which must not wait for the other one."""
        if not self._writing.acquire(blocking=False):
            return  # that one is about to commit
        try:
            offsets = self._write(_LAST_S)
            if offsets:
                await self._consumer.commit_async(offsets)
                self._uncommitted.clear()
        finally:
            self._writing.release()

    def _forget(self) -> None:
        """Neither log nor commit what waits: it comes again, to this worker or to its partition's next owner."""
        self._buffer.forget()
        self._uncommitted.clear()

    def _beat(self, now_us: int, rate: float) -> None:
        ends, lag = {}, {}
        for partition in self._consumer.assignment():
            end = self._consumer.highwater(partition)
            if end is not None:
                ends[partition.partition] = end
                lag[partition.partition] = max(0, end - self._consumer.position(partition))
        status = WorkerStatus(
            self._options.name,
            now_us,
            self._started_us,
            self._counts["received"],
            self._counts["folded"],
            round(rate, 1),
            dict(self._letter_kinds),
            self._counts["conflicts"],
            lag,
            ends,
            self._newest_us,
            self._last_letter,
            dict(self._types),
            _percentiles_ms(self._ages_us),
        )
        try:
            self._heartbeats.beat(status)
        except Exception as error:  # noqa: BLE001 - a heartbeat is a courtesy: work goes on without it
            logger.warning("no heartbeat: %s", error)

    def _close(self) -> None:
        """Commit what is folded, leave the group, close connections."""
        try:
            self._commit(_LAST_S)
        except Exception as error:  # noqa: BLE001 - what is not committed comes again
            logger.warning("stopped without a last commit (its events will come again, and count once): %s", error)
        try:
            self._heartbeats.stop(self._options.name)
        except Exception as error:  # noqa: BLE001 - it vanishes by itself
            logger.warning("no farewell: %s", error)
        self._consumer.close(autocommit=False, timeout_ms=int(_LAST_S * 1000))
        self._letters.close()


class _HandOver(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Commits before partitions leave, and says when others have come."""

    def __init__(self, commit: Callable[[], Awaitable[None]], come: Callable[[], None]) -> None:
        self._commit = commit
        self._come = come

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Called before partitions go to another worker."""
        try:
            await self._commit()
        except Exception as error:  # noqa: BLE001 - the next owner folds them again, to no effect
            logger.warning("partitions %s left uncommitted: %s", [one.partition for one in revoked], error)

    async def on_partitions_lost(self, lost: Any) -> None:
        """Called when another worker has them already: there is nothing left to commit."""

    async def on_partitions_assigned(self, assigned: Any) -> None:  # noqa: ARG002 - Kafka's signature
        """Called when partitions come."""
        self._come()


def _percentiles_ms(ages_us: Sequence[int]) -> tuple[float, float] | None:
    """Median and 99th percentile (nearest rank), in milliseconds; None of nothing."""
    ranked = sorted(ages_us)
    if not ranked:
        return None
    median, high = (ranked[max(0, -(-len(ranked) * percent // 100) - 1)] for percent in (50, 99))
    return median / 1000, high / 1000


def _persist_with_patience(action: Callable[[], None], stop: threading.Event) -> bool:
    """Do `action`, again and again where something is unavailable, until it is done (True) or `stop` is set."""
    wait_s = 0.1
    while True:
        try:
            action()
        except (UnavailableError, OSError) as error:
            logger.warning("waiting: %s", error)
            if stop.wait(wait_s * random.uniform(0.5, 1.5)):  # noqa: S311 - jitter
                return False
            wait_s = min(2 * wait_s, 5.0)
        else:
            return True
