"""Work on models requested through the API, done by our own commands in child processes, since it is heavy.

Importing MLflow alone would cost the API seconds and a hundred megabytes. So the number of children is bounded, and
they end with the server.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from data.errors import BusyError
from data.lock import open_lock
from server.process.command import RunningCommand, run_command
from server.settings import Settings

__all__ = ["MOST_CHILDREN", "ModelWork"]

_PATIENCE_S = 120

MOST_CHILDREN = 2
"""Commands that change a home's models at once, of all its servers: one works, the next one imports."""


class ModelWork:
    """Runs `encore` commands for a home until it is closed. Thread-safe; each caller waits for its own command."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._closed = threading.Event()
        self._retraining: threading.Thread | None = None

    def close(self) -> None:
        """Stop the children, and wait for the retraining."""
        self._closed.set()
        if self._retraining is not None:
            self._retraining.join()

    def run(self, command: Sequence[str], *arguments: str) -> Any:
        """Run a command, as `run_command` does. Raises BusyError where `MOST_CHILDREN` run."""
        with self._slot("change", MOST_CHILDREN):
            return run_command(self._settings, command, *arguments, patience_s=_PATIENCE_S, stopped=self._closed.is_set)

    def start_retraining(self, target: str, *, if_needed: bool) -> bool:
        """Start retraining in the background; return False where any target of this home is being retrained."""
        command = ["retrain", "--target", target, *(["--if-needed"] if if_needed else [])]
        stack = ExitStack()
        try:
            stack.enter_context(self._slot("retrain", 1))
        except BusyError:
            return False
        thread = threading.Thread(target=self._retrain, args=(command, stack), name=f"retrain {target}", daemon=True)
        self._retraining = thread
        thread.start()
        return True

    def report(self, name: str) -> Any:
        """Return a command's last quality report: `live`, `drift` or `retrain-TARGET`; None where there is none."""
        try:
            return json.loads((self._settings.quality / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return None

    def _retrain(self, command: list[str], slot: ExitStack) -> None:
        with slot:
            # In this waiting thread, since the child ends when the thread that started it does.
            child = RunningCommand(self._settings, self._settings.run / f"{command[2]}.retrain.log", *command)
            while child.runs:
                if self._closed.wait(0.2):
                    child.stop(grace_s=5)

    @contextmanager
    def _slot(self, kind: str, most: int) -> Iterator[None]:
        """Hold one of `most` places that all servers of the home share. Raises BusyError where none is free."""
        for number in range(most):
            try:
                lock = open_lock(self._settings.run / f"{kind}-{number}.lock", wait=False)
            except BlockingIOError:
                continue
            with lock:
                yield
            return
        raise BusyError("models are being changed already; ask again when that is done")
