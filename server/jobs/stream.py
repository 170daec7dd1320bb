"""The stream worker, its equivalent as a Spark job, and the relay of foreign topics, made from the settings."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from data.clock import Clock, wall_clock
from data.errors import ConfigurationError
from data.log.event_log import EventLog
from data.log.identity import read_identity
from data.project import DEFAULT, open_project
from events.kafka.consumer import ConsumerOptions
from events.kafka.patience import patiently
from events.stream.account import Account
from events.stream.heartbeat import WorkerStatus
from events.stream.parts import Limits, Parts
from events.stream.worker import Worker, WorkerOptions
from events.trace import NO_TRACE, Trace
from events.translation.avro import AvroDecoder
from events.translation.mapping import load_live_mapping
from events.translation.relay import Passed, Relay, RelayOptions
from events.translation.translator import Translator, json_value
from features.state.editions.editions import Opened
from features.state.online.owner import Owner
from server.event_log import open_log
from server.process.beat import Beat
from server.process.collector import settle_collector
from server.process.kafka_jars import fetch_connector
from server.redis.connections import connect_redis, heartbeats_of, replication_of
from server.redis.editions import claim_live, editions_of
from server.redis.ownership import claim_project
from server.settings import Settings
from server.storage import log_storage
from server.tracing import traced

__all__ = ["run_relay", "run_spark_job", "run_worker"]

_log = logging.getLogger(__name__)

_WRITE_TIMEOUT_S = 10.0

_LONGEST_TASK_S = 3_600.0


def run_worker(
    settings: Settings,
    stop: threading.Event,
    *,
    name: str,
    topic: str | None = None,
    group: str | None = None,
    clock: Clock = wall_clock,
    on_status: Callable[[WorkerStatus, Account], None] = lambda _, __: None,
) -> None:
    """Run one stream worker until `stop` is set; topic and group are by default the project's.

    `on_status` is called once a second with the worker's status and counts.

    Raises ConfigurationError if the states in Redis, or the group in Kafka, are another home's.
    """
    settings = _claimed(settings, stop)
    options = _worker_options(settings, name, topic, group)
    with traced(settings, "encore-stream") as trace:
        parts = _parts(settings, _owner(settings), stop, clock=clock, trace=trace)
        if parts is None:
            return
        # Heartbeats use a client with a short timeout: a worker that waits for Redis reports that by other means.
        worker = Worker(
            options, parts, heartbeats_of(connect_redis(settings), settings), Beat(settings.beat), on_status
        )
        settle_collector()
        worker.run(stop)


def run_spark_job(
    settings: Settings,
    stop: threading.Event,
    *,
    name: str,
    topic: str | None = None,
    group: str | None = None,
    checkpoint: str | None = None,
    on_status: Callable[[WorkerStatus, Account], None] = lambda _, __: None,
) -> None:
    """Run the stream as a Spark job, instead of workers, until `stop` is set; otherwise as `run_worker`.

    `checkpoint` is a Spark path; by default a folder of the home.
    """
    from events.stream.spark.job import JobOptions, SparkJob  # noqa: PLC0415 - few need it
    from features.batch.spark.session import SparkConnection, is_running  # noqa: PLC0415 - the same

    settings = _claimed(settings, stop)
    options = _worker_options(settings, name, topic, group)
    owner = _owner(settings)
    parts = _parts(settings, owner, stop)
    if parts is None:
        return
    jars = {} if is_running() else {"spark.jars": ",".join(map(str, fetch_connector()))}
    spark = SparkConnection(settings.spark_master, jars)
    try:
        SparkJob(
            JobOptions(
                reading=options,
                checkpoint=checkpoint or f"file:{settings.run / 'checkpoint' / options.group / options.topic}",
            ),
            parts,
            _OnExecutor(settings.declared_by(DEFAULT), settings.declared.folder, owner),
            spark.session,
            heartbeats_of(connect_redis(settings), settings),
            on_beat=Beat(settings.beat),
            on_status=on_status,
        ).run(stop)
    finally:
        spark.close()


@dataclass(frozen=True)
class _OnExecutor:
    """Makes a worker's parts on an executor, which needs log and project at the same paths as the driver."""

    settings: Settings
    project: Path | None
    owner: Owner | None

    def __call__(self) -> Parts:
        settings = self.settings.declared_by(open_project(self.project)) if self.project else self.settings
        never = threading.Event()
        parts = _parts(settings, self.owner, never)
        assert parts is not None  # noqa: S101 - never stopped
        settle_collector()
        # One file of the log per task, which folds all of its messages at once.
        limits = parts.limits._replace(flush_s=_LONGEST_TASK_S, first_rows=parts.limits.batch_rows)
        return replace(parts, limits=limits)


def _worker_options(settings: Settings, name: str, topic: str | None, group: str | None) -> WorkerOptions:
    return WorkerOptions(
        servers=settings.kafka_servers,
        topic=topic or settings.kafka_names.events,
        group=group or settings.kafka_names.group,
        name=name,
        partitions=settings.partitions,
        access=settings.kafka_access,
        traced=settings.otlp_endpoint is not None,
    )


def _owner(settings: Settings) -> Owner | None:
    identity = read_identity(log_storage(settings))
    return Owner(identity.id, str(settings.home)) if identity else None


def _parts(
    settings: Settings,
    owner: Owner | None,
    stop: threading.Event,
    *,
    clock: Clock = wall_clock,
    trace: Trace = NO_TRACE,
) -> Parts | None:
    """Return a worker's parts, after waiting for log and Redis; None if stopped meanwhile."""
    client = connect_redis(settings, timeout_s=_WRITE_TIMEOUT_S)
    logs: list[EventLog] = []
    live: list[Opened] = []
    if not patiently(lambda: logs.append(open_log(settings)), stop):
        return None
    if not patiently(lambda: live.append(claim_live(client, settings, guarded=True)), stop):
        return None
    return Parts(
        plan=live[-1].plan,
        states=live[-1].states,
        log=logs[-1],
        limits=Limits(memory=settings.duckdb_memory),
        replication=replication_of(client, settings),
        repairs=replication_of(client, settings),
        clock=clock,
        owner=owner,
        editions=editions_of(client, settings),
        edition=live[-1].id,
        trace=trace,
    )


def _claimed(settings: Settings, stop: threading.Event) -> Settings:
    """Return the settings with the home's project, after waiting for Redis."""
    claimed = [settings]
    patiently(lambda: claimed.append(claim_project(settings, _log.warning)), stop)
    return claimed[-1]


def run_relay(settings: Settings, path: Path, stop: threading.Event, *, name: str) -> Passed:
    """Relay the messages of a mapping's topic until `stop` is set; return their counts.

    Raises ConfigurationError for an invalid mapping.
    """
    schema = settings.declared.schema
    mapping = load_live_mapping(path, schema)
    decode = json_value if mapping.format == "json" else _avro(settings, path)
    reading = ConsumerOptions(
        servers=settings.kafka_servers,
        topic=mapping.topic,
        group=f"{settings.project}-translate",
        name=name,
        access=settings.kafka_access,
    )
    options = RelayOptions(reading=reading, topic=settings.kafka_names.events, partitions=settings.partitions)
    relay = Relay(options, Translator(schema, mapping, decode))
    relay.run(stop)
    return relay.passed


def _avro(settings: Settings, path: Path) -> AvroDecoder:
    if settings.schema_registry is None:
        raise ConfigurationError(f"{path}: Avro is of a schema registry; SCHEMA_REGISTRY_URL says where it is")
    return AvroDecoder(settings.schema_registry.get_secret_value())
