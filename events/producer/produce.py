"""The producer: sends synthetic or recorded events into Kafka at an asked rate, all at once, or as they were recorded.

python -m events.producer --mode continuous --rate 120
python -m events.producer --mode burst --count 10000
python -m events.producer --mode file --input events.jsonl.gz --as-recorded --speedup 60
"""

import argparse
import dataclasses
import json
import math
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Literal, get_args

from data.clock import Clock, wall_clock
from data.errors import ConfigurationError, EncoreError
from data.event import FUTURE_TOLERANCE_US, Event, encode_event
from data.shop.live import live_events as live_shop
from data.shop.shop import Shop, ShopConfig
from data.signals import stop_on_signals
from data.units import MICROS
from events.kafka.access import OPEN, Access
from events.kafka.sender import Sender, Summary
from events.kafka.topics import EVENTS_TOPIC, PARTITIONS, await_broker, ensure_topics
from events.producer.pacing import Pace
from events.producer.recording import read_recording

__all__ = ["ProduceOptions", "Summary", "live_events", "main", "produce"]

Mode = Literal["continuous", "burst", "file"]

DEFAULT_RATE = 120.0

Message = tuple[bytes | None, bytes]


@dataclass(frozen=True)
class ProduceOptions:
    """What to send and where to; the fields are the command's flags. Raises ConfigurationError where they contradict.

    `rate` is in events per second, `seconds` limits how long to send, `wait_s` how long to wait for the broker.
    """

    mode: Mode = "continuous"
    rate: float | None = None
    seconds: float | None = None
    count: int | None = None
    input: Path | None = None
    as_recorded: bool = False
    speedup: float = 1.0
    servers: str = "localhost:9092"
    topic: str = EVENTS_TOPIC
    partitions: int = PARTITIONS
    seed: int = 7
    users: int = 2_000
    products: int = 400
    wait_s: float = 10.0
    access: Access = OPEN

    def __post_init__(self) -> None:
        faults = (
            (self.mode not in get_args(Mode), f"--mode {self.mode}: choose one of {', '.join(get_args(Mode))}"),
            (self.mode == "burst" and self.count is None, "--mode burst: say how many events with --count"),
            (self.mode == "file" and self.input is None, "--mode file: name the file with --input"),
            (self.mode != "burst" and self.count is not None, "--count: goes with --mode burst"),
            (self.mode != "file" and self.input is not None, "--input: goes with --mode file"),
            (self.mode != "file" and self.as_recorded, "--as-recorded: goes with --mode file"),
            (self.mode == "burst" and self.rate is not None, "--rate: a burst has none; use --mode continuous"),
            (self.as_recorded and self.rate is not None, "--rate, --as-recorded: choose one"),
            (not self.as_recorded and self.speedup != 1.0, "--speedup: goes with --as-recorded"),
            *(
                (value is not None and not (value > 0 and math.isfinite(value)), f"--{flag} {value}: must be above 0")
                for flag, value in (
                    ("rate", self.rate),
                    ("seconds", self.seconds),
                    ("count", self.count),
                    ("speedup", self.speedup),
                    ("users", self.users),
                    ("products", self.products),
                    ("wait", self.wait_s),
                )
            ),
        )
        for at_fault, message in faults:
            if at_fault:
                raise ConfigurationError(message)

    @property
    def asked_rate(self) -> float | None:
        """Events per second to hold; None is as fast as possible, or as recorded."""
        return DEFAULT_RATE if self.mode == "continuous" and self.rate is None else self.rate


def produce(
    options: ProduceOptions,
    *,
    stop: threading.Event,
    report: Callable[[Summary], None] | None = None,
    events: Callable[[], Iterator[Event]] | None = None,
) -> Summary:
    """Send what `options` describe until it is done or `stop` is set; wait for the acknowledgement of every event.

    `report` receives a summary about once a second. `events` is the traffic of the modes continuous and burst (default
    `live_events`). Topics are made where they are missing. Events that the broker did not take are counted, not raised.
    Raises UnavailableError if there is no broker; DataError if the file breaks off, after all lines before were sent.
    """
    server = await_broker(options.servers, timeout_s=options.wait_s)
    ensure_topics(server, options.topic, partitions=options.partitions, timeout_s=options.wait_s, access=options.access)
    if events is None:

        def events() -> Iterator[Event]:
            return live_events(options.seed, options.users, options.products, wall_clock)

    with Sender(server, options.topic, options.asked_rate, options.access) as sender:
        pace = Pace(
            stop,
            seconds=options.seconds,
            on_second=lambda: report(sender.summary(pace.elapsed_s)) if report is not None else None,
        )
        messages = _recorded(options, pace) if options.input is not None else _live(options, pace, events())
        for key, value in messages:
            sender.send(key, value)
        sender.flush()
        return sender.summary(pace.elapsed_s)


def live_events(seed: int, users: int, products: int, clock: Clock) -> Iterator[Event]:
    """Yield endless traffic of a synthetic shop, each event stamped when it is asked for.

    The same seed gives the same traffic, except times and event ids.
    """
    return live_shop(Shop(ShopConfig(end_us=clock(), users=users, products=products, seed=seed)), clock)


def _live(options: ProduceOptions, pace: Pace, events: Iterator[Event]) -> Iterator[Message]:
    """Yield live events when they are due; each is made only then, so that it carries the time at which it is sent."""
    interval_s = 1.0 / options.asked_rate if options.asked_rate is not None else 0.0
    events = islice(events, options.count)
    for number in count():
        event = next(events, None) if pace.until(number * interval_s) else None
        if event is None:
            return
        yield event.user_id.encode(), encode_event(event)


def _recorded(options: ProduceOptions, pace: Pace) -> Iterator[Message]:
    """Yield the lines of a file when they are due."""
    assert options.input is not None  # noqa: S101 - ProduceOptions saw to it
    interval_s = 1.0 / options.asked_rate if options.asked_rate is not None else 0.0
    first_us: int | None = None
    due_s = 0.0
    for number, (key, value, timestamp_us) in enumerate(read_recording(options.input)):
        if not options.as_recorded:
            due_s = number * interval_s
        # The worker rejects a time in the future, so it must not delay all later events.
        elif timestamp_us is not None and timestamp_us <= wall_clock() + FUTURE_TOLERANCE_US:
            first_us = timestamp_us if first_us is None else first_us
            due_s = max(due_s, (timestamp_us - first_us) / MICROS / options.speedup)
        if not pace.until(due_s):
            return
        yield key, value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0 if every event was acknowledged, 1 if not, 2 if the flags are wrong."""
    parser = _parser()
    flags = vars(parser.parse_args(arguments))
    as_json = flags.pop("json")
    try:
        options = ProduceOptions(**flags)
    except ConfigurationError as error:
        parser.error(str(error))
    try:
        summary = produce(options, stop=stop_on_signals(), report=lambda so_far: _say(sys.stderr.write, so_far))
    except EncoreError as error:
        _say(sys.stderr.write, f"producer: {error}")
        return 1
    if as_json:
        fields = dataclasses.asdict(summary) | {"rate": summary.rate}
        _say(sys.stdout.write, json.dumps(fields))
    else:
        _say(sys.stdout.write, summary)
    return 1 if summary.errors else 0


def _say(write: Callable[[str], int], line: object) -> None:
    write(f"{line}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="producer",
        description="Send shop events into Kafka.",
        epilog="Exit code: 0 if every event was acknowledged, 1 if not or if there is no broker, 2 for wrong flags.",
    )
    defaults = ProduceOptions()
    parser.add_argument("--mode", choices=get_args(Mode), default=defaults.mode, help="(default %(default)s)")
    parser.add_argument("--rate", type=float, help=f"events per second (continuous: {DEFAULT_RATE:g}; file: no limit)")
    parser.add_argument("--seconds", type=float, help="stop after so long")
    parser.add_argument("--count", type=int, help="burst: how many events")
    parser.add_argument("--input", type=Path, help="file: a .jsonl or .jsonl.gz file, one event a line, sent as it is")
    parser.add_argument("--as-recorded", action="store_true", help="file: keep the gaps between the timestamps")
    parser.add_argument("--speedup", type=float, default=defaults.speedup, help="with --as-recorded: times as fast")
    parser.add_argument("--servers", default=defaults.servers, help="Kafka bootstrap servers (default %(default)s)")
    parser.add_argument("--topic", default=defaults.topic, help="(default %(default)s)")
    parser.add_argument(
        "--partitions", type=int, default=defaults.partitions, help="of a topic that is not there (default %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=defaults.seed, help="of the synthetic traffic (default %(default)s)"
    )
    parser.add_argument("--users", type=int, default=defaults.users, help="synthetic shoppers (default %(default)s)")
    parser.add_argument("--products", type=int, default=defaults.products, help="products (default %(default)s)")
    parser.add_argument(
        "--wait",
        type=float,
        dest="wait_s",
        default=defaults.wait_s,
        help="seconds to wait for Kafka (default %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser
