"""The stream as a Spark job: a worker without the consumer.

    driver       start ─ every batch: ──┐                    ┌── counts, heartbeats, editions, files of the log joined
    executors                           └ a session a partition: check ─ fold ─ log ─ dead letters ─ replicas ─ commit

A batch may come again, whole or in part, and on another executor: fences, the names of files in the log and the group's
commits make every event count once, as for workers. So a driver that is killed leaves nothing half done, and workers
and a job take turns. No event passes through the driver.
"""

import json
import logging
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from data.errors import ConfigurationError, EncoreError, FailedOverError, UnavailableError
from data.log.sources import topic_source
from events.kafka.connection import Assigned, Connection, Progress
from events.kafka.patience import patiently
from events.stream.account import Account
from events.stream.editions.folds import Folds
from events.stream.heartbeat import Heartbeats, Membership, WorkerStatus
from events.stream.housekeeper import Housekeeper
from events.stream.parts import Parts
from events.stream.pulse import BEAT_S, Pulse
from events.stream.repairer import Repairer
from events.stream.spark.checkpoint import claim_checkpoint
from events.stream.spark.task import COUNTED, MESSAGES, Task, read_counted
from events.stream.worker import WorkerOptions, connected
from features.batch.spark.session import reason_of

__all__ = ["JobOptions", "SparkJob"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """Settings of a job: what it reads, as a worker does, and an address where Spark keeps its `checkpoint`.

    A batch begins `every_s` after the one before, or when that is done, and has up to `most` messages of a partition.
    """

    reading: WorkerOptions
    checkpoint: str
    every_s: float = 1.0
    most: int = 100_000


class SparkJob:
    """One job, which reads all of a topic. `make` makes the parts on an executor; `parts` are those of the driver.

    `run` returns when `stop` is set. `on_status` and `on_beat` are as those of a `Worker`.
    """

    def __init__(
        self,
        options: JobOptions,
        parts: Parts,
        make: Callable[[], Parts],
        session: Any,
        heartbeats: Heartbeats,
        *,
        on_beat: Callable[[], None] = lambda: None,
        on_status: Callable[[WorkerStatus, Account], None] = lambda _, __: None,
    ) -> None:
        self._options = options
        self._parts = parts
        self._make = make
        self._spark = session
        self._id = uuid.uuid4().hex
        self._account = Account(parts.clock())
        self._pulse = Pulse(
            options.reading.name, self._account, parts.clock, heartbeats, on_beat=on_beat, on_status=on_status
        )
        self._folding = threading.Lock()
        """Held while a batch is folded."""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; Kafka is waited for.

        Raises ConfigurationError where the topic, the group or the checkpoint cannot be this job's, UnavailableError
        where Spark has given up: the same command continues from there.
        """
        reading, parts = self._options.reading, self._parts
        opened: list[Connection] = []
        if not patiently(lambda: opened.append(connected(reading, parts.owner, "classic")), stop, self._waits):
            return
        connection = opened[-1]
        claim_checkpoint(self._spark, self._options.checkpoint, connection.name, connection.topic.id)
        folds = Folds(parts, connection.topic.id, self._waits)
        housekeeper = Housekeeper(parts.log, topic_source(connection.topic.id), connection.read, parts.limits.tidy_s)
        repairer = Repairer(parts, connection.topic, connection.read, lambda: folds.all)
        housekeeper.start()
        repairer.start()
        for partition in range(connection.topic.partitions):
            housekeeper.take(partition, ())
        try:
            self._work(connection, folds, stop)
        finally:
            housekeeper.close()
            repairer.close()
            connection.member.close()
            connection.letters.close()
            self._pulse.stop()

    def _work(self, connection: Connection, folds: Folds, stop: threading.Event) -> None:
        patiently(self._parts.replication.begin, stop, self._waits)
        assigned: list[list[Assigned]] = []
        partitions = range(connection.topic.partitions)
        if not patiently(lambda: assigned.append(connection.member.look(partitions)), stop, self._waits):
            return
        task = Task(self._id, self._make, self._options.reading.consumer("classic"), connection.topic)

        def fold(batch: Any, _: int) -> None:
            with self._folding:
                try:
                    rows = batch.mapInArrow(task, COUNTED).collect()
                except Exception:
                    if not stop.is_set():
                        raise
                    return  # the tasks were ended, and what they did not commit comes again
                for account in read_counted(rows):
                    self._account.add(account)

        query = self._start(assigned[-1], fold)
        try:
            while not stop.is_set() and query.isActive:
                self._account.note_turn()
                self._beat(connection, folds)
                stop.wait(BEAT_S)
            error = None if stop.is_set() else query.exception()
        finally:
            query.stop()
        if error is not None:
            raise UnavailableError(f"stream: Spark has given up; run this again to go on: {reason_of(str(error))}")

    def _start(self, assigned: list[Assigned], fold: Callable[[Any, int], None]) -> Any:
        from pyspark.errors import AnalysisException  # noqa: PLC0415 - an extra

        options, reading = self._options, self._options.reading
        begin = {str(partition.partition): max(partition.committed or 0, partition.first) for partition in assigned}
        source = {
            "kafka.bootstrap.servers": reading.servers,
            "kafka.isolation.level": "read_committed",
            "subscribe": reading.topic,
            "groupIdPrefix": f"{reading.group}-spark",
            "startingOffsets": json.dumps({reading.topic: begin}),
            # What Kafka's retention has dropped is found by the group's commits, and taken from the log or counted.
            "failOnDataLoss": "false",
            "maxOffsetsPerTrigger": str(options.most * len(assigned)),
            **{f"kafka.{name}": value for name, value in reading.access.for_java().items()},
        }
        try:
            messages = self._spark.readStream.format("kafka").options(**source).load()
        except AnalysisException as error:
            raise ConfigurationError(
                f"Spark: it cannot read Kafka ({reason_of(str(error))}); where Encore does not start it, give it the "
                f"connector: --packages org.apache.spark:spark-sql-kafka-0-10_2.13:{self._spark.version}"
            ) from error
        writing = messages.selectExpr(*MESSAGES).writeStream.queryName(reading.name).foreachBatch(fold)
        writing = writing.option("checkpointLocation", options.checkpoint)
        return writing.trigger(processingTime=f"{options.every_s} seconds").start()

    def _beat(self, connection: Connection, folds: Folds) -> None:
        """Publish a heartbeat with what the group has committed of the topic, and the editions that have all of it."""
        try:
            assigned = connection.member.look(range(connection.topic.partitions))
            committed = {
                partition.partition: partition.committed for partition in assigned if partition.committed is not None
            }
            self._follow(folds, committed)
            progress = {
                partition.partition: Progress(max(partition.committed or 0, partition.first), partition.end)
                for partition in assigned
            }
            self._pulse.beat(Membership(self._id, "spark"), progress, (folds.live.id, folds.follows(committed)))
        except Exception as error:  # noqa: BLE001 - a heartbeat is a courtesy: work goes on without it
            self._waits(error)
            logger.warning("heartbeat not sent: %s", error)

    def _follow(self, folds: Folds, committed: dict[int, int]) -> None:
        """Fold into the other edition what is committed and missing there, while no task commits.

        So a rollout ends also where no messages arrive.
        """
        if self._folding.acquire(blocking=False):
            try:
                folds.look(committed)
                folds.forget(committed)
                folds.catch_up(committed, lambda: None)
                self._parts.replication.confirm()
                folds.confirmed()
            except FailedOverError:
                folds.confirmed()
                self._parts.replication.begin()
            except EncoreError as error:
                self._waits(error)
            finally:
                self._folding.release()

    def _waits(self, error: Exception) -> None:
        self._account.note_waiting(error)
