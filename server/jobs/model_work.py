"""Work on models that the API is asked for: done by our own commands in child processes, since it is heavy.

MLflow alone would take the API seconds and a hundred megabytes to import.
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
    """Runs `encore` commands for a home. Any thread may ask; each waits for its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._running: dict[str, threading.Thread] = {}

    def run(self, command: Sequence[str], *arguments: str) -> Any:
        """Run a command, as `run_command` does."""
        return run_command(self._settings, command, *arguments, patience_s=_PATIENCE_S)

    def start_retraining(self, target: str, *, if_needed: bool) -> bool:
        """Begin to retrain in the background; whether that was needed, since one may be under way."""
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
        """What a command last wrote about quality: `live`, `drift` or `retrain-TARGET`; None where it never did."""
        try:
            return json.loads((self._settings.quality / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return None

    def _retrain(self, command: list[str]) -> None:
        path = self._settings.run / f"{command[2]}.retrain.log"
        # In this thread, which waits: the child ends when the thread that started it does.
        RunningCommand(self._settings, path, *command).wait()
