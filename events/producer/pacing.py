"""Pacing of events: due times follow one schedule from the start, so that a late wake-up is made up for."""

import threading
import time
from collections.abc import Callable

__all__ = ["Pace", "seldom"]

_NAP_S = 0.002
"""The shortest sleep, s. Events that fall due meanwhile are sent together: at most 500 wake-ups a second."""

_LOOK_S = 0.1
"""The longest sleep, s, and so how late a stop is noticed."""

_MAX_BEHIND_S = 5.0
"""After a stall at most this much of the schedule, s, is made up for; the rest is dropped."""

_SELDOM_S = 60.0
"""Seconds between two lines of progress where nobody watches: logs are kept."""


class Pace:
    """Waits for due times, in seconds since its construction, until it is stopped or `seconds` have passed.

    `on_second` is called about once a second, from within the waits. It polls `stop` and never waits on it: a signal
    handler that sets an event on which its own thread is waiting can deadlock.
    """

    def __init__(
        self,
        stop: threading.Event,
        *,
        seconds: float | None = None,
        on_second: Callable[[], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._stop = stop
        self._seconds = float("inf") if seconds is None else seconds
        self._on_second = on_second
        self._monotonic = monotonic
        self._sleep = sleep
        self._started = monotonic()
        self._shift = 0.0
        self._next_second = 1.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._monotonic() - self._started

    def until(self, due_s: float) -> bool:
        """Wait until `due_s` seconds after the start; return False where it is time to stop instead."""
        while not self._stop.is_set():
            now = self.elapsed_s
            if now >= self._next_second:
                self._next_second = now + 1.0
                if self._on_second is not None:
                    self._on_second()
            if now >= self._seconds:
                return False
            ahead = due_s + self._shift - now
            if ahead <= 0:
                self._shift += max(0.0, -ahead - _MAX_BEHIND_S)
                return True
            self._sleep(min(max(ahead, _NAP_S), _LOOK_S))
        return False


def seldom(
    say: Callable[[str], object], *, watched: bool, monotonic: Callable[[], float] = time.monotonic
) -> Callable[[object], None]:
    """Return a function that reports all to one who watches, and else the first thing and then one a minute."""
    due_s = float("-inf")

    def report(what: object) -> None:
        nonlocal due_s
        if watched or monotonic() >= due_s:
            due_s = monotonic() + _SELDOM_S
            say(str(what))

    return report
