"""Kafka, the workers in its group, and the API: whether events become features, and features scores."""

from collections.abc import Iterator
from contextlib import closing

from data.clock import Clock, wall_clock
from data.errors import DataError
from data.units import MICROS
from events.kafka.inspector import Inspector
from server.doctor.finding import Finding, fail, looked, ok, told, warn
from server.doctor.store import CLOCK_FAIL_S, CLOCK_WARN_S
from server.jobs.status import Observer, Status
from server.settings import Settings

__all__ = ["look_at_stream"]

_ADVICE = {"API": "`encore serve` starts it; its log says why it ended", "store": "look at the log of the workers"}
"""Advice about problems whose message has none, by part."""

_MUCH = 10_000
"""Number of waiting messages that is minutes of work."""


def look_at_stream(settings: Settings, clock: Clock = wall_clock) -> Iterator[Finding]:
    """Yield findings about Kafka, and those of `encore status` about workers, store, log and API."""
    with closing(Inspector(settings.kafka_servers, access=settings.kafka_access)) as inspector:
        findings = list(looked("Kafka", lambda: _kafka(settings, inspector)))
        yield from findings
        if findings[0].level != "fail":
            yield from looked("Kafka: clock", lambda: _clock(settings, inspector, clock))
    with closing(Observer(settings)) as observer:
        status = observer.look()
    yield from _problems(status)
    yield from _well(status)


def _kafka(settings: Settings, inspector: Inspector) -> Iterator[Finding]:
    names = settings.kafka_names
    ranges = inspector.partitions()
    yield ok("Kafka", f"answers at {settings.kafka_servers}: {inspector.version()} or newer")
    partitions = [partition for partition in ranges if partition.topic == names.events]
    if not partitions:
        yield warn(
            "Kafka: topic", f"there is no topic {names.events}", "`encore stream` makes it, with ENCORE_PARTITIONS"
        )
        return
    messages = sum(partition.messages for partition in partitions)
    yield ok("Kafka: topic", f"{names.events}: {len(partitions)} partitions, {messages:,} messages")
    waiting = inspector.waiting(names.events, names.group)
    if waiting > _MUCH:
        yield warn("Kafka: group", f"{waiting:,} messages are not committed by {names.group}", "start more workers")
    else:
        yield ok("Kafka: group", f"{waiting:,} messages are not committed by {names.group}")


def _clock(settings: Settings, inspector: Inspector, clock: Clock) -> Iterator[Finding]:
    try:
        newest = inspector.newest(settings.kafka_names.events, 1)
    except DataError as error:
        yield told("Kafka: clock", str(error), "warn")
        return
    if not newest or newest[0].timestamp_us is None:
        yield ok("Kafka: clock", "no message says what time it is there")
        return
    ahead_s = (newest[0].timestamp_us - clock()) / MICROS
    side = "ahead of" if ahead_s > 0 else "behind"
    message = f"the newest message is {abs(ahead_s):,.1f} s {side} this machine's clock"
    advice = "synchronize the clocks of Kafka, of whoever sends, and of this machine (NTP)"
    if ahead_s >= CLOCK_FAIL_S:
        yield fail("Kafka: clock", message, advice)
    elif ahead_s >= CLOCK_WARN_S:
        yield warn("Kafka: clock", message, advice)
    else:
        yield ok("Kafka: clock", message)


def _problems(status: Status) -> Iterator[Finding]:
    """Yield the problems of `encore status`, except those of Kafka and Redis, which other checks report."""
    for problem in status.problems:
        about, colon, message = problem.partition(": ")
        if not colon or about.partition(" ")[0] in {"Kafka", "Redis"}:
            continue
        yield told(about, message, "warn" if about == "states" else "fail", _ADVICE.get(about, ""))


def _well(status: Status) -> Iterator[Finding]:
    wrong = {problem.partition(": ")[0] for problem in status.problems}
    if status.workers and "stream" not in wrong:
        members = ", ".join(f"{worker.worker} ({len(worker.lag)} partitions)" for worker in status.workers)
        yield ok("stream", f"{members}; {status.lag or 0:,} messages wait")
    if "store" not in wrong and status.newest_event_us is not None:
        yield ok("store", "all states are there, none is set aside")
    if "event log" not in wrong:
        yield ok("event log", f"{status.logged_files:,} files, no holes")
    if status.api is not None:
        model = (status.api.get("model") or {}).get("version")
        yield ok("API", f"{status.urls['API']} answers, with model {model}")
