"""The producer, made from the settings."""

import threading
from collections.abc import Callable

from data.clock import wall_clock
from data.shop.live import live_events
from data.shop.shop import Shop
from events.producer.options import ProduceOptions
from events.producer.produce import Summary, produce
from server.jobs.build import kept_shop, require_synthetic
from server.process.beat import Beat
from server.settings import Settings
from server.tracing import traced

__all__ = ["run_producer"]


def run_producer(
    settings: Settings, options: ProduceOptions, stop: threading.Event, report: Callable[[Summary], None]
) -> Summary:
    """Send the events that `options` describe; live traffic is of the log's synthetic shop, with a new seed.

    The process's heartbeat is renewed while Kafka acknowledges events.
    """
    beat, taken = Beat(settings.beat), 0

    def on_second(summary: Summary) -> None:
        nonlocal taken
        if summary.sent > taken:
            beat()
        taken = summary.sent
        report(summary)

    if options.input is None:
        require_synthetic(settings)
    shop = kept_shop(settings)
    events = None if shop is None else lambda: live_events(Shop(shop), wall_clock, seed=wall_clock())
    with traced(settings, "encore-producer") as trace:
        return produce(options, stop=stop, report=on_second, events=events, trace=trace)
