"""A clock that runs faster than the machine's, for all programs that are started with its environment."""

import os
import subprocess
import time
from pathlib import Path

from data.errors import ConfigurationError
from data.units import MICROS

__all__ = ["FastClock"]

_SOURCE = Path(__file__).with_name("fast_clock.c")


class FastClock:
    """From now on `rate` seconds pass in one. Its library, which a C compiler builds, is written to `folder`.

    Raises ConfigurationError if there is no compiler.
    """

    def __init__(self, rate: int, folder: Path) -> None:
        self.rate = rate
        self._from_s = int(time.time())
        self._library = folder / "fast_clock.so"
        command = [os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", "-o", str(self._library), str(_SOURCE)]
        try:
            subprocess.run(command, check=True)
        except OSError as error:
            raise ConfigurationError(f"{command[0]}: {error}; the clock is a library in C: install gcc") from error

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables for a program that uses this clock."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAST_CLOCK_FROM": str(self._from_s),
            "FAST_CLOCK_RATE": str(self.rate),
        }

    @property
    def passed_s(self) -> float:
        """Seconds of this clock since its start."""
        return (time.time() - self._from_s) * self.rate

    def __call__(self) -> int:
        """Return the time of this clock, UTC microseconds since 1970."""
        return int((self._from_s + self.passed_s) * MICROS)
