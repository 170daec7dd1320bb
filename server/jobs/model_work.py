"""Work on models requested through the API, done by `encore` commands in child processes.

Importing MLflow alone would cost the API seconds and a hundred megabytes. The number of children is bounded, and they
end with the server.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from data.errors import BusyError
from data.lock import open_lock
from server.audit_log.changes import Asker
from server.process.command import RunningCommand, run_command
from server.settings import Settings

__all__ = ["MOST_CHILDREN", "ModelWork"]

_PATIENCE_S = 120

MOST_CHILDREN = 2
"""The most concurrent commands that change a home's models, over all its servers: one works while the next imports."""


class ModelWork:
    """Runs `encore` commands for a home until it is closed. Thread-safe; each caller waits for its own command."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._closed = threading.Event()
        self._retraining: threading.Thread | None = None

    def close(self) -> None:
        """Stop the children, and wait for a retraining to end."""
        self._closed.set()
        if self._retraining is not None:
            self._retraining.join()

    def run(self, command: Sequence[str], *arguments: str, by: Asker) -> Any:
        """Run a command on behalf of `by`, as `run_command` does. Raises BusyError if `MOST_CHILDREN` run already."""
        with self._slot("change", MOST_CHILDREN):
            return run_command(self._for(by), command, *arguments, patience_s=_PATIENCE_S, stopped=self._closed.is_set)

    def start_retraining(self, target: str, *, if_needed: bool, by: Asker) -> bool:
        """Start retraining in the background; return False if any target of this home is being retrained."""
        command = ["retrain", "--target", target, *(["--if-needed"] if if_needed else [])]
        stack = ExitStack()
        try:
            stack.enter_context(self._slot("retrain", 1))
        except BusyError:
            return False
        thread = threading.Thread(
            target=self._retrain, args=(self._for(by), command, stack), name=f"retrain {target}", daemon=True
        )
        self._retraining = thread
        thread.start()
        return True

    def report(self, name: str) -> Any:
        """Return a command's last quality report: `live`, `drift` or `retrain-TARGET`; None if there is none."""
        try:
            return json.loads((self._settings.quality / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return None

    def _for(self, by: Asker) -> Settings:
        """Return the settings of a child, which records `by` in the audit log."""
        return self._settings.model_copy(update={"asked_by": str(by)})

    def _retrain(self, settings: Settings, command: list[str], slot: ExitStack) -> None:
        with slot:
            # Started in this waiting thread, because the child ends with the thread that started it.
            child = RunningCommand(settings, settings.run / f"{command[2]}.retrain.log", *command)
            while child.runs:
                if self._closed.wait(0.2):
                    child.stop(grace_s=5)

    @contextmanager
    def _slot(self, kind: str, most: int) -> Iterator[None]:
        """Hold one of `most` slots shared by all servers of the home. Raises BusyError if none is free."""
        for number in range(most):
            try:
                lock = open_lock(self._settings.run / f"{kind}-{number}.lock", wait=False)
            except BlockingIOError:
                continue
            with lock:
                yield
            return
        raise BusyError("models are being changed already; ask again when that is done")
