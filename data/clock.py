"""Clocks: the system's, or one that is set, for tests and for exploring old data."""

import time
from typing import Protocol

__all__ = ["Clock", "ManualClock", "wall_clock"]


class Clock(Protocol):
    """A callable that returns the time in UTC microseconds since 1970."""

    def __call__(self) -> int:
        """Return the time, UTC microseconds since 1970."""


def wall_clock() -> int:
    """Return the system's time, UTC microseconds since 1970."""
    return time.time_ns() // 1000


class ManualClock:
    """A clock that moves only when it is set; `advance` never moves it back."""

    def __init__(self, now_us: int = 0) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        """Return the time that was set, UTC microseconds since 1970."""
        return self.now_us

    def advance(self, to_us: int) -> None:
        """Set the clock to `to_us` if that is later."""
        self.now_us = max(self.now_us, to_us)
