"""A periodic timer."""

import time

__all__ = ["Timer"]


class Timer:
    """Due every `every_s` seconds, on the monotonic clock."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self.restart()

    def restart(self) -> None:
        """Count from now."""
        self._from_s = time.monotonic()

    @property
    def passed_s(self) -> float:
        """Seconds since it was started or last due."""
        return time.monotonic() - self._from_s

    def is_due(self) -> bool:
        """Return whether it is due; if so, restart it."""
        if self.passed_s < self._every_s:
            return False
        self.restart()
        return True
