"""Something to do every so many seconds."""

import time

__all__ = ["Timer"]


class Timer:
    """Due `every_s` after it was started or was due last, on the monotonic clock, which nobody sets back."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self.restart()

    def restart(self) -> None:
        """Count from now."""
        self._from_s = time.monotonic()

    @property
    def passed_s(self) -> float:
        """Seconds since it was started or due last."""
        return time.monotonic() - self._from_s

    def is_due(self) -> bool:
        """Whether it is time; if so it counts anew."""
        if self.passed_s < self._every_s:
            return False
        self.restart()
        return True
