"""The stream worker, made from the settings."""

import threading

from data.clock import Clock, wall_clock
from data.log.event_log import EventLog
from events.stream.heartbeat import Heartbeats
from events.stream.parts import Parts
from events.stream.worker import Worker, WorkerOptions
from features.plan.cache import load_plan
from features.state.redis import PROJECT, OnlineStates
from server.process.collector import settle_collector
from server.redis.connections import connect_redis, replication_of
from server.settings import Settings

__all__ = ["run_worker"]

_WRITE_TIMEOUT_S = 10.0


def run_worker(
    settings: Settings,
    stop: threading.Event,
    *,
    name: str,
    topic: str,
    group: str,
    clock: Clock = wall_clock,
) -> None:
    """Run one stream worker until `stop` is set; the names are those of `WorkerOptions`."""
    client = connect_redis(settings, timeout_s=_WRITE_TIMEOUT_S)
    options = WorkerOptions(
        servers=settings.kafka_servers,
        topic=topic,
        group=group,
        name=name,
        partitions=settings.partitions,
        access=settings.kafka_access,
    )
    parts = Parts(
        plan=load_plan(settings.plan),
        states=OnlineStates(client, guarded=True),
        log=EventLog(settings.log),
        replication=replication_of(client, settings),
        clock=clock,
    )
    worker = Worker(options, parts, Heartbeats(client, PROJECT))
    settle_collector()
    worker.run(stop)
