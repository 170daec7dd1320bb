"""A process of Encore in a chaos run: started, watched, and restarted when it ends."""

import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from chaos.hosts.network import Host
from server.process.child import spawn

__all__ = ["Member"]

_RESTART_S = 0.5
"""Delay before a process that ended by itself is restarted, as by a supervisor."""


class Member:
    """A process of Encore, on a host of a network where `machine` is one."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        machine: Host | None = None,
    ) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self.log = log
        self._machine = machine
        self.process: subprocess.Popen[bytes] | None = None
        self.ended_by_itself = 0
        self.stops_s: list[float] = []
        """Duration of each stop, from the request, or from the end of a pause in which it was requested."""
        self.asleep_until = 0.0
        self._start_at: float | None = None
        self._asked_at: float | None = None
        self.wanted = True

    def start(self) -> None:
        """Start it now."""
        self._start_at = self._asked_at = None
        self.asleep_until = 0.0
        with self.log.open("ab") as output, self._machine.inside() if self._machine else nullcontext():
            self.process = spawn(self._command, output, environment=self._environment)

    def start_after(self, seconds: float) -> None:
        """Start it in `seconds`, when `tend` is called."""
        self._start_at = time.monotonic() + seconds

    def kill(self) -> None:
        """SIGKILL; it is not restarted by itself."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        self._start_at = self._asked_at = None

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        if self.process is not None and self.process.poll() is None:
            self._asked_at = time.monotonic()
            self.process.terminate()

    def has_done_it(self) -> bool:
        """Return whether it has just ended successfully."""
        return self.process is not None and self.process.poll() == 0

    def tend(self) -> None:
        """Note whether it has ended, and restart it when that is due."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            if self._asked_at is not None:
                self.stops_s.append(now - max(self._asked_at, self.asleep_until))
            else:
                self.ended_by_itself += 1
            self.process = self._asked_at = None
            self._start_at = now + _RESTART_S
        if self._start_at is not None and now >= self._start_at and self.wanted:
            self.start()

    def last_words(self) -> Counter[str]:
        """Return the lines of its output that name an error, with their counts."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        kinds: Counter[str] = Counter()
        for line in lines:
            head = line.split(":", 1)[0]
            if head.endswith(("Error", "Exception")) and " " not in head:
                kinds[line[:160]] += 1
        return kinds
