"""A limit on how long something may take, counted from now."""

import time

__all__ = ["Deadline"]


class Deadline:
    """A point in time, `seconds` after its construction, on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._at_s = time.monotonic() + seconds

    def remaining(self, least: float = 0.0) -> float:
        """Return the seconds until then, at least `least`."""
        return max(least, self._at_s - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether it has passed."""
        return time.monotonic() >= self._at_s
