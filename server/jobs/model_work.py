"""Work on models that the API is asked for: done by our own commands in child processes, since it is heavy.

MLflow alone would take the API seconds and a hundred megabytes to import.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from data.errors import WorkFailedError, WorkRefusedError
from server.process.child import spawn
from server.settings import Settings, environment_of

__all__ = ["ModelWork"]

_PATIENCE_S = 120
_REFUSED = 2


class ModelWork:
    """Runs `encore` commands for a home. Any thread may ask; each waits for its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._running: dict[str, threading.Thread] = {}

    def run(self, command: Sequence[str], *arguments: str) -> Any:
        """Run a command, of our own words, with arguments that may be anybody's, to its end; what it printed as JSON.

        Raises `WorkRefusedError` or `WorkFailedError` with the command's own line.
        """
        # In this thread, which waits: the child ends when the thread that started it does.
        with TemporaryFile() as output:
            child = spawn(
                [sys.executable, "-m", "server.cli", *command, "--json", "--", *arguments],
                output,
                environment=environment_of(self._settings),
            )
            try:
                code = child.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired as error:
                child.kill()
                child.wait()
                raise WorkFailedError(f"`encore {' '.join(command)}` took longer than {_PATIENCE_S} s") from error
            output.seek(0)
            lines = output.read().decode(errors="replace").strip().splitlines() or [""]
        if code:
            message = lines[-1].removeprefix("encore: ")
            raise (WorkRefusedError if code == _REFUSED else WorkFailedError)(message)
        return json.loads(lines[-1])

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
        path: Path = self._settings.run / f"{command[2]}.retrain.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as log:
            spawn(
                [sys.executable, "-m", "server.cli", *command], log, environment=environment_of(self._settings)
            ).wait()
