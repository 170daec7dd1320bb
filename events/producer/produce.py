"""The producer: sends synthetic or recorded events into Kafka at an asked rate, all at once, or as they were recorded.

python -m events.producer --mode continuous --rate 120
python -m events.producer --mode burst --count 10000
python -m events.producer --mode file --input events.jsonl.gz --as-recorded --speedup 60
"""

import argparse
import dataclasses
import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from data.clock import Clock, wall_clock
from data.errors import ConfigurationError, EncoreError
from data.event import FUTURE_TOLERANCE_US, Event, EventDecoder, Rejection, encode_event
from data.printable import printable
from data.shop.live import live_events as live_shop
from data.shop.shop import Shop, ShopConfig
from data.signals import stop_on_signals
from data.units import MICROS
from events.kafka.sender import Sender, Summary
from events.kafka.topics import await_broker, ensure_topics
from events.producer.letters import SentOffsets, read_letters
from events.producer.options import ProduceOptions, flags
from events.producer.pacing import Pace, seldom
from events.producer.recording import read_recording
from events.trace import NO_TRACE, Trace

__all__ = ["Summary", "live_events", "main", "produce"]

Message = tuple[bytes | None, bytes]


def produce(
    options: ProduceOptions,
    *,
    stop: threading.Event,
    report: Callable[[Summary], None] | None = None,
    events: Callable[[], Iterator[Event]] | None = None,
    trace: Trace = NO_TRACE,
) -> Summary:
    """Send what `options` describe until it is done or `stop` is set; wait for the acknowledgement of every event.

    `report` receives a summary about once a second. `events` is the traffic of the modes continuous and burst (default
    `live_events`); `trace` traces each. Topics are made where they are missing. Events that the broker did not take are
    counted, not raised. At the end it looks for dead letters that workers made of them, and waits a moment for those
    that are expected. Raises UnavailableError if there is no broker; DataError if the file breaks off, after all lines
    before were sent.
    """
    server = await_broker(options.servers, timeout_s=options.wait_s)
    ensure_topics(server, options.topic, partitions=options.partitions, timeout_s=options.wait_s, access=options.access)
    if events is None:

        def events() -> Iterator[Event]:
            return live_events(options.seed, options.users, options.products, wall_clock)

    with Sender(server, options.topic, options.asked_rate, options.access, stop=stop, trace=trace) as sender:
        pace = Pace(
            stop,
            seconds=options.seconds,
            on_second=lambda: report(sender.summary(pace.elapsed_s)) if report is not None else None,
        )
        decode = EventDecoder(options.schema)
        messages = _recorded(options, pace) if options.input is not None else _live(options, pace, events())
        sent = SentOffsets()
        for key, value in messages:
            sender.send(key, value, sent.note)
            if options.input is not None:  # what is recorded is sent whatever it holds; faults are reported
                event = decode(value, key=key, now_us=wall_clock())
                if isinstance(event, Rejection):
                    sender.note_unfit(f"{event.kind}: {event.reason}")
        sender.flush()
        summary = sender.summary(pace.elapsed_s)
    if stop.is_set() or not options.letters_s:  # a producer that is stopped does not wait
        return summary
    letters = read_letters(
        server,
        options.topic,
        options.access,
        sent,
        expected=summary.unfit,
        patience_s=options.letters_s,
        stop=stop,
    )
    return dataclasses.replace(summary, letters=letters.number, letter_because=letters.because)


def live_events(seed: int, users: int, products: int, clock: Clock) -> Iterator[Event]:
    """Yield endless traffic of a synthetic shop, each event stamped when it is taken.

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
        yield getattr(event, options.schema.ordered_by).encode(), encode_event(event)


def _recorded(options: ProduceOptions, pace: Pace) -> Iterator[Message]:
    """Yield the lines of a file when they are due."""
    assert options.input is not None  # noqa: S101 - ProduceOptions requires it
    interval_s = 1.0 / options.asked_rate if options.asked_rate is not None else 0.0
    first_us: int | None = None
    due_s = 0.0
    for number, (key, value, timestamp_us) in enumerate(read_recording(options.input, options.schema.ordered_by)):
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
    """Run the command line. Returns 0 if every message is acknowledged and an event, 1 if not, 2 for wrong flags."""
    parser = _parser()
    flags = vars(parser.parse_args(arguments))
    as_json = flags.pop("json")
    try:
        options = ProduceOptions(**flags)
    except ConfigurationError as error:
        parser.error(str(error))
    try:
        report = seldom(lambda line: _say(sys.stderr.write, line), watched=sys.stderr.isatty())
        summary = produce(options, stop=stop_on_signals(), report=report)
    except EncoreError as error:
        _say(sys.stderr.write, f"producer: {error}")
        return 1
    if as_json:
        fields = dataclasses.asdict(summary) | {"rate": summary.rate}
        _say(sys.stdout.write, json.dumps(fields))
    else:
        _say(sys.stdout.write, summary)
    return 0 if summary.ok else 1


def _say(write: Callable[[str], int], line: object) -> None:
    write(f"{printable(line)}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="producer",
        description="Send shop events into Kafka.",
        epilog="Exit code: 0 if every event was acknowledged, 1 if not or if there is no broker, 2 for wrong flags.",
    )
    for flag in flags():
        shown = flag.help if flag.default in (None, False) else f"{flag.help} (default %(default)s)"
        keywords: dict[str, Any] = {"dest": flag.field, "default": flag.default, "help": shown}
        if flag.type is bool:
            keywords["action"] = "store_true"
        elif get_origin(flag.type) is Literal:
            keywords["choices"] = get_args(flag.type)
        else:
            keywords["type"] = next(kind for kind in (*get_args(flag.type), flag.type) if kind is not NoneType)
        parser.add_argument(flag.name, **keywords)
    parser.add_argument("--json", action="store_true", help="Print the summary as JSON.")
    return parser
