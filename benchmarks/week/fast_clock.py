"""A calendar that runs faster than the machine's, for all programs that are started with its environment."""

import os
import subprocess
import time
from pathlib import Path

from data.errors import ConfigurationError
from data.units import MICROS

__all__ = ["FastClock"]

_SOURCE = Path(__file__).with_name("fast_clock.c")


class FastClock:
    """From now on `rate` seconds of the calendar pass in one. Its library, which a C compiler makes, lies in `folder`.

    Raises ConfigurationError where there is no compiler.
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
        """The variables that a program of this calendar is started with."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAST_CLOCK_FROM": str(self._from_s),
            "FAST_CLOCK_RATE": str(self.rate),
        }

    @property
    def passed_s(self) -> float:
        """Seconds of the calendar since its beginning."""
        return (time.time() - self._from_s) * self.rate

    def __call__(self) -> int:
        """Return the time of this calendar, UTC microseconds since 1970."""
        return int((self._from_s + self.passed_s) * MICROS)
