"""Work on models requested through the API, done by our own commands in child processes, since it is heavy.

Importing MLflow alone would cost the API seconds and a hundred megabytes.
"""

import json
import threading
from collections.abc import Sequence
from typing import Any

from server.process.command import RunningCommand, run_command
from server.settings import Settings

__all__ = ["ModelWork"]

_PATIENCE_S = 120


class ModelWork:
    """Runs `encore` commands for a home. Thread-safe; each caller waits for its own command."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._running: dict[str, threading.Thread] = {}

    def run(self, command: Sequence[str], *arguments: str) -> Any:
        """Run a command, as `run_command` does."""
        return run_command(self._settings, command, *arguments, patience_s=_PATIENCE_S)

    def start_retraining(self, target: str, *, if_needed: bool) -> bool:
        """Start retraining in the background; return False where one is already running."""
        with self._lock:
            present = self._running.get(target)
            if present is not None and present.is_alive():
                return False
            command = ["retrain", "--target", target, *(["--if-needed"] if if_needed else [])]
            thread = threading.Thread(target=self._retrain, args=(command,), name=f"retrain {target}", daemon=True)
            self._running[target] = thread
            thread.start()
            return True

    def report(self, name: str) -> Any:
        """Return a command's last quality report: `live`, `drift` or `retrain-TARGET`; None where there is none."""
        try:
            return json.loads((self._settings.quality / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return None

    def _retrain(self, command: list[str]) -> None:
        path = self._settings.run / f"{command[2]}.retrain.log"
        # In this waiting thread, since the child ends when the thread that started it does.
        RunningCommand(self._settings, path, *command).wait()
