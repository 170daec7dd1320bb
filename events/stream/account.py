"""Counts of a worker's own work, published in its heartbeats."""

import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence

from data.event import Rejection
from data.units import MICROS, MINUTE_US
from events.histogram import Histogram
from events.kafka.connection import Message, Progress
from events.stream.heartbeat import Membership, WorkerStatus
from features.state.fold import FoldCounts, Sourced
from features.state.states import EntityKey

__all__ = ["LATE_US", "Account"]

LATE_US = 5 * MINUTE_US
"""An event that arrived in the topic so much after its own time is late: the shortest window had moved on."""

_FOLD_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_FRESH_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0, 86_400.0)

_AGES = 1_000
"""Size of the sample of which freshness is computed, in events."""

_LONGEST_REASON = 300
_MOST_ASIDE = 100_000

_AGES_A_BATCH = 20
"""The most events that one batch adds to the sample."""

_SUMS = (
    *("_received", "_folded", "_lost", "_repeats", "_late", "_files", "_suppressed", "_conflicts"),
    *("_letters", "_types", "_ages_us", "fold_seconds", "freshness_seconds"),
)
"""Counts that are added when accounts are combined."""


class Account:
    """The counts of one worker since its start."""

    def __init__(self, started_us: int) -> None:
        self._received = 0
        self._folded = 0
        self._lost = 0
        self._repeats = 0
        self._late = 0
        self._files = 0
        self.fold_seconds = Histogram(_FOLD_S)
        """Time to fold one batch."""
        self.freshness_seconds = Histogram(_FRESH_S)
        """Time from an event's own time until it is in the features, by a sample of each batch."""
        self._suppressed = self._suppression = 0
        self._started_us = started_us
        self._conflicts = 0
        self._letters = Counter[str]()
        self._last_letter = ""
        self._newest_us: int | None = None
        self._types = Counter[str]()
        self._ages_us = deque[int](maxlen=_AGES)
        self._reported_us, self._reported_folded = started_us, 0
        self.aside = set[EntityKey]()
        """States that could not be read."""
        self._waiting = self._uncommitted = ""
        self._moved_s = self._committed_s = time.monotonic()

    @property
    def uncommitted(self) -> str:
        """Why not all that was folded is logged and committed; empty where it is."""
        return self._uncommitted

    def add(self, other: "Account") -> None:
        """Add the counts of another account."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        theirs = other.status("", Membership(), 0, {})
        self.note_suppression(theirs.suppression)
        self.note_aside(frozenset(other.aside))
        self._last_letter = theirs.last_letter or self._last_letter
        self._newest_us = max(
            (time_us for time_us in (self._newest_us, theirs.newest_event_us) if time_us is not None), default=None
        )
        if theirs.received:
            self._moved_s = time.monotonic()

    def note_received(self, messages: int) -> None:
        """Count messages received, events or not."""
        self._received += messages
        self._moved_s = time.monotonic()

    def note_turn(self) -> None:
        """Note that another turn begins: what the last one waited for is there, or will be waited for again."""
        self._waiting = ""

    def note_waiting(self, error: Exception) -> None:
        """Note an error that is waited for."""
        self._waiting = str(error)[:_LONGEST_REASON]

    def note_committed(self) -> None:
        """Note that all that was folded is logged and committed."""
        self._uncommitted, self._committed_s = "", time.monotonic()

    def note_uncommitted(self, error: Exception) -> None:
        """Note that this failed, this time."""
        self._uncommitted = str(error)[:_LONGEST_REASON]

    def note_lost(self, messages: int) -> None:
        """Count messages that Kafka's retention deleted unread."""
        self._lost += messages

    def note_file(self) -> None:
        """Count a file written into the event log."""
        self._files += 1

    def note_letter(self, message: Message, rejection: Rejection) -> None:
        """Count one rejected message."""
        self._letters[rejection.kind] += 1
        self._last_letter = f"{message.partition}:{message.offset} {rejection.kind}: {rejection.reason}"

    def note_suppressed(self) -> None:
        """Count a message of a person who was forgotten."""
        self._suppressed += 1

    def note_suppression(self, revision: int) -> None:
        """Note that messages are refused by another revision of the list of people who were forgotten."""
        if revision != self._suppression:
            self._suppression, self._last_letter = revision, ""  # the letter may name one of them

    def note_aside(self, keys: frozenset[EntityKey]) -> None:
        """Count states that were set aside."""
        if keys and len(self.aside) < _MOST_ASIDE:
            self.aside |= keys

    def note_folded(
        self, events: Sequence[Sourced], counts: FoldCounts, newest_us: int, now_us: int, took_s: float
    ) -> None:
        """Count one batch of folded events by type, and sample how old they are as they become visible in features."""
        self.fold_seconds.observe(took_s)
        self._folded += counts.folded
        self._repeats += len(counts.repeats)
        self._conflicts += counts.conflicts
        self.note_aside(counts.aside)
        self._newest_us = max(newest_us, self._newest_us or 0)
        repeats = counts.repeats
        new = [sourced for place, sourced in enumerate(events) if place not in repeats] if repeats else events
        self._types.update([sourced.fact.event_type for sourced in new])
        self._late += len(
            [
                sourced
                for sourced in new
                if sourced.arrived_us and sourced.arrived_us - sourced.fact.timestamp_us > LATE_US
            ]
        )
        step = -(-len(events) // _AGES_A_BATCH)
        ages_us = [now_us - sourced.fact.timestamp_us for sourced in events[::step]]
        self._ages_us.extend(ages_us)
        for age_us in ages_us:
            self.freshness_seconds.observe(age_us / MICROS, step)

    def status(
        self,
        name: str,
        membership: Membership,
        now_us: int,
        progress: Mapping[int, Progress],
        editions: tuple[str, str] = ("", ""),
    ) -> WorkerStatus:
        """Return the counts as a heartbeat; its rate is that since the previous one."""
        passed_us = max(1, now_us - self._reported_us)
        rate = (self._folded - self._reported_folded) * MICROS / passed_us
        self._reported_us, self._reported_folded = now_us, self._folded
        lag = {partition: max(0, reached.end - reached.position) for partition, reached in progress.items()}
        now_s = time.monotonic()
        if not (self._waiting or any(lag.values())):
            self._moved_s = now_s
        if not self._uncommitted:
            self._committed_s = now_s
        return WorkerStatus(
            name,
            now_us,
            self._started_us,
            self._received,
            self._folded,
            round(rate, 1),
            dict(self._letters),
            self._conflicts,
            lag,
            {partition: reached.end for partition, reached in progress.items()},
            self._newest_us,
            self._last_letter,
            dict(self._types),
            _percentiles_ms(self._ages_us),
            self._lost,
            membership,
            round(now_s - self._moved_s, 1),
            self._waiting or self._uncommitted,
            len(self.aside),
            round(now_s - self._committed_s, 1),
            self._repeats,
            *editions,
            suppressed=self._suppressed,
            suppression=self._suppression,
            late=self._late,
            files=self._files,
        )


def _percentiles_ms(ages_us: Sequence[int]) -> tuple[float, float] | None:
    """Return median and 99th percentile (nearest rank), in milliseconds; None without ages."""
    ranked = sorted(ages_us)
    if not ranked:
        return None
    median, high = (ranked[max(0, -(-len(ranked) * percent // 100) - 1)] for percent in (50, 99))
    return median / 1000, high / 1000
