"""Where "now" comes from: the wall, or the newest event seen when old data is explored."""

import time
from typing import Protocol

__all__ = ["Clock", "ManualClock", "wall_clock"]


class Clock(Protocol):
    """Anything that tells the time in UTC microseconds since 1970."""

    def __call__(self) -> int: ...


def wall_clock() -> int:
    """The machine's clock."""
    return time.time_ns() // 1000


class ManualClock:
    """A clock that stands where it is put: for tests, and for old data (`advance` never goes back)."""

    def __init__(self, now_us: int = 0) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us

    def advance(self, to_us: int) -> None:
        """Move on to `to_us`, if that is later."""
        self.now_us = max(self.now_us, to_us)
