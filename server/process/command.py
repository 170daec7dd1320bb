"""Our own commands as child processes: run to the end for a result, or in the background with a log."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from enum import IntEnum
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from data.errors import CommandError, ConfigurationError, EncoreError, ModelError, UnavailableError
from server.output_file import OutputFile
from server.process.child import spawn, stop_child
from server.settings import Settings, environment_of

__all__ = ["ExitCode", "KeptCommand", "RunningCommand", "exit_code", "run_command"]

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
"""Pauses before a kept command is restarted: doubled each time, up to the longest."""

_SETTLED_S = 60.0
"""Run time after which a start counts as good: the next pause is the first again."""


class ExitCode(IntEnum):
    """Exit codes of a failed `encore` command: something failed, or the command was wrong."""

    FAILED = 1
    REFUSED = 2


def exit_code(error: EncoreError) -> ExitCode:
    """Return the exit code for this error."""
    return ExitCode.REFUSED if isinstance(error, ConfigurationError | ModelError) else ExitCode.FAILED


def run_command(
    settings: Settings,
    command: Sequence[str],
    *arguments: str,
    patience_s: float,
    stopped: Callable[[], bool] = lambda: False,
) -> Any:
    """Run a command with arguments that may be untrusted, to its end; return the JSON that it printed.

    Raises `CommandError` if it fails, with the command's own message, takes longer than `patience_s`, or is stopped
    because `stopped` returns True.
    """
    title = f"`encore {' '.join(command)}`"
    # In this waiting thread, since the child ends when the thread that started it does.
    with TemporaryFile() as output, TemporaryFile() as errors:
        child = spawn(
            [sys.executable, "-m", "server.cli", *command, "--json", "--", *arguments],
            output,
            errors=errors,
            environment=environment_of(settings),
        )
        code = _wait(child, patience_s, stopped)
        if code is None:
            stop_child(child, 1)
            reason = "was ended with the server" if stopped() else f"took longer than {patience_s:g} s"
            raise CommandError(f"{title} {reason}", ExitCode.FAILED)
        results, complaints = _lines(output), _lines(errors)
    if not results:
        message = complaints[-1].removeprefix("encore: ") if complaints else "it said nothing"
        raise CommandError(message, code)
    result = json.loads(results[-1])
    if code and isinstance(result, dict) and (failure := result.get("error")):
        raise CommandError(failure["message"], code, failure["kind"])
    return result


def _wait(child: "subprocess.Popen[bytes]", patience_s: float, stopped: Callable[[], bool]) -> int | None:
    """Return a child's exit code; None if it takes too long or is to be stopped."""
    deadline = time.monotonic() + patience_s
    while not stopped():
        remaining = deadline - time.monotonic()
        try:
            return child.wait(min(0.2, max(0.0, remaining)))
        except subprocess.TimeoutExpired:
            if remaining <= 0:
                return None
    return None


def _lines(file: Any) -> list[str]:
    file.seek(0)
    lines: list[str] = file.read().decode(errors="replace").strip().splitlines()
    return lines


class RunningCommand:
    """One of our own commands as a child process, with its output in `log_path`. The constructor starts it."""

    def __init__(self, settings: Settings, log_path: Path, *command: str) -> None:
        self._command = command
        self._output = OutputFile(log_path, settings.run_log_bytes)
        self._process = self._spawn(settings)

    def _spawn(self, settings: Settings) -> "subprocess.Popen[bytes]":
        with self._output.open() as log:
            return spawn(
                [sys.executable, "-m", "server.cli", *self._command], log, environment=environment_of(settings)
            )

    @property
    def runs(self) -> bool:
        """Whether it has not ended. Reading this also keeps its output short."""
        self._output.keep_short()
        return self._process.poll() is None

    @property
    def said(self) -> str:
        """The last line of its output; empty before the first."""
        return self._output.last_line()

    def check(self) -> None:
        """Raise UnavailableError if it has ended."""
        if not self.runs:
            raise UnavailableError(self._ended(f"{self._output.path.stem} ended by itself"))

    def wait(self) -> int:
        """Wait for its end; return its exit code."""
        return self._process.wait()

    def finish(self) -> None:
        """Wait for its end. Raises UnavailableError if it failed."""
        if self.wait():
            raise UnavailableError(self._ended(f"`encore {' '.join(self._command)}` failed"))

    def stop(self, grace_s: float = 15.0) -> None:
        """Terminate it, and kill it after `grace_s` seconds."""
        stop_child(self._process, grace_s)

    def _ended(self, event: str) -> str:
        head = f"{event} (exit code {self._process.returncode}); {self._output.path} ends:"
        return f"{head}\n{self._output.tail()}"


class KeptCommand(RunningCommand):
    """A command that others can do without: if it ends by itself it is restarted, after a growing pause."""

    def __init__(self, settings: Settings, log_path: Path, *command: str) -> None:
        super().__init__(settings, log_path, *command)
        self._settings = settings
        self._pause_s = _FIRST_PAUSE_S
        self._started_s = time.monotonic()
        self._restart_s: float | None = None

    def tend(self) -> str:
        """Restart it if it has ended and its pause is over. Return a message about a new end, or an empty text."""
        now_s = time.monotonic()
        if self._restart_s is not None:
            if now_s >= self._restart_s:
                self._restart_s = None
                self._started_s = now_s
                self._process = self._spawn(self._settings)
            return ""
        if self.runs:
            return ""
        if now_s - self._started_s > _SETTLED_S:
            self._pause_s = _FIRST_PAUSE_S
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, _LONGEST_PAUSE_S)
        self._restart_s = now_s + pause_s
        ending = self._output.tail(1).strip()[:200]
        return (
            f"{self._output.path.stem} ended by itself (exit code {self._process.returncode}): {ending}; it is started "
            f"again in {pause_s:g} s, and {self._output.path} says more"
        )
