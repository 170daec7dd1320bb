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
    """Send what `options` describe; live traffic is of the shop whose history the log holds, with a seed of its own.

    It beats while Kafka takes what it sends.
    """
    beat, taken = Beat(settings.beat), 0

    def on_second(so_far: Summary) -> None:
        nonlocal taken
        if so_far.sent > taken:
            beat()
        taken = so_far.sent
        report(so_far)

    if options.input is None:
        require_synthetic(settings)
    shop = kept_shop(settings)
    events = None if shop is None else lambda: live_events(Shop(shop), wall_clock, seed=wall_clock())
    with traced(settings, "encore-producer") as trace:
        return produce(options, stop=stop, report=on_second, events=events, trace=trace)
