"""The producer and the stream worker, made from the settings."""

import threading
from collections.abc import Callable

from data.clock import Clock, wall_clock
from data.event_log import EventLog
from data.live_events import live_events
from data.shop import Shop
from events.heartbeat import Heartbeats
from events.producer import ProduceOptions, Summary, produce
from events.worker import Worker, WorkerOptions
from features.online import PROJECT, OnlineStates
from features.plan_cache import load_plan
from server.build import kept_shop
from server.collector import settle_collector
from server.connections import connect_redis
from server.settings import Settings

__all__ = ["run_producer", "run_worker"]

_WRITE_TIMEOUT_S = 10.0


def run_worker(
    settings: Settings, stop: threading.Event, *, name: str, topic: str, group: str, clock: Clock = wall_clock
) -> None:
    """Run one stream worker until `stop` is set."""
    client = connect_redis(settings, timeout_s=_WRITE_TIMEOUT_S)
    options = WorkerOptions(
        servers=settings.kafka_servers,
        topic=topic,
        group=group,
        name=name,
        partitions=settings.partitions,
        client=settings.kafka_client,
        access=settings.kafka_access,
    )
    plan = load_plan(settings.plan)
    worker = Worker(options, plan, OnlineStates(client), Heartbeats(client, PROJECT), EventLog(settings.log), clock)
    settle_collector()
    worker.run(stop)


def run_producer(
    settings: Settings, options: ProduceOptions, stop: threading.Event, report: Callable[[Summary], None]
) -> Summary:
    """Send what is asked; live traffic is of the shop whose history the log holds, in a future of its own."""
    shop = kept_shop(settings)
    if shop is None:
        return produce(options, stop=stop, report=report)
    return produce(
        options, stop=stop, report=report, events=lambda: live_events(Shop(shop), wall_clock, seed=wall_clock())
    )
