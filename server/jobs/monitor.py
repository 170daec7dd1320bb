"""The model monitor: stores predictions, publishes MLflow's changes, and evaluates live quality periodically.

Heavy work (MLflow, evaluation) is done by `encore` commands in child processes.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from data.errors import EncoreError
from events.predictions.reader import PredictionReader
from features.partials.partials import Partials
from model.registry.published import CHAMPION
from server.event_log import open_log
from server.jobs.modelling import mark_of
from server.log_table import kept_table
from server.process.beat import Beat
from server.process.command import RunningCommand
from server.process.home import only_one
from server.scoring.kept_predictions import open_archive, read_predictions
from server.settings import Settings

__all__ = ["Monitor"]

_log = logging.getLogger(__name__)

_RETRY_S = 5.0
_SETTLE_S = 1.0
_RETENTION_S = 3600.0
_TABLE_S = 600.0


class Monitor:
    """Watches one home. `run` returns when `stop` is set; failures do not end it.

    `database` is MLflow's if it is a file, whose changes are published; for a tracking server (None) a child process
    polls it. `judge_s` is the interval of evaluations, s; `note` is called each turn, to store readings of the system.
    """

    def __init__(
        self,
        settings: Settings,
        database: Path | None,
        *,
        judge_s: float = 600.0,
        note: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._note = note
        self._database = database
        self._judge_s = judge_s
        self._beat = Beat(settings.beat)
        self._archive = open_archive(settings)
        self._reader: PredictionReader | None = None
        self._retry_at_s = 0.0
        self._retention_due_s = time.monotonic() + _RETRY_S  # can wait until the other work has begun
        self._table_due_s = self._retention_due_s
        self._children: dict[str, RunningCommand] = {}
        self._published_mark: tuple[int, int] | None = None
        self._judged_s = time.monotonic()
        self.taken = 0
        """Number of predictions stored."""
        self.started: Counter[str] = Counter()
        """Number of commands started, by purpose."""
        self.turned_s = time.monotonic()
        """When the last turn began, monotonic s."""
        self.failing: tuple[float | None, str] = None, ""
        """Since when predictions cannot be stored, monotonic s (None: they can), and why."""
        self._judged_taken = 0
        self._judged_champions = self._champions()

    def run(self, stop: threading.Event) -> None:
        """Watch until `stop` is set. Raises `ConfigurationError` where another monitor watches this home."""
        with only_one(self._settings, "predictions", "keeps predictions"):
            try:
                while not stop.is_set():
                    self._beat()
                    self.turned_s = time.monotonic()
                    try:
                        if not self._store():
                            stop.wait(0.5)
                        self._follow()
                        self._judge()
                        self._apply_retention()
                        self._update_table()
                        self._note()
                    except Exception:  # noqa: BLE001 - a failing message or command must not stop the others
                        _log.exception("the monitor goes on")
                        stop.wait(_RETRY_S)
            finally:
                for child in self._children.values():
                    child.stop()
                self._close()

    def _store(self) -> bool:
        """Store predictions that arrive within half a second; return whether Kafka answers."""
        if time.monotonic() < self._retry_at_s:
            return False
        try:
            if self._reader is None:
                self._reader = read_predictions(self._settings, self._archive)
            self.taken += self._reader.take(0.5)
            self.failing = None, ""
        except (EncoreError, OSError) as error:
            _log.warning("predictions are not stored: %s", error)
            self.failing = time.monotonic() if self.failing[0] is None else self.failing[0], str(error)
            self._close()
            self._retry_at_s = time.monotonic() + _RETRY_S
            return False
        return True

    def _close(self) -> None:
        reader, self._reader = self._reader, None
        try:
            if reader is not None:
                reader.close()
        except (EncoreError, OSError) as error:
            _log.warning("predictions are not stored: %s", error)

    def _follow(self) -> None:
        if self._database is None:
            self._start("follow", "model", "follow")
            return
        mark = mark_of(self._database)
        settled = mark is not None and time.time() - mark[0] / 1e9 > _SETTLE_S
        if settled and mark != self._published_mark and self._start("follow", "model", "follow", "--once"):
            self._published_mark = mark

    def _judge(self) -> None:
        champions = self._champions()
        due = self.taken > self._judged_taken and time.monotonic() - self._judged_s > self._judge_s
        # Drift is measured against the champion, so a new champion needs a new report.
        if (due or champions != self._judged_champions) and self._start("judge", "evaluate-live"):
            self._judged_s, self._judged_taken, self._judged_champions = time.monotonic(), self.taken, champions

    def _apply_retention(self) -> None:
        """Apply ENCORE_RETENTION, and update the log's partials if there are any, once an hour."""
        if time.monotonic() >= self._retention_due_s and self._start("retention", "retention"):
            self._retention_due_s = time.monotonic() + _RETENTION_S
            if Partials(open_log(self._settings)).are_used():
                self._start("partials", "log", "partials")

    def _update_table(self) -> None:
        """Update the log's table, if there is one, well before files that were merged are deleted."""
        if time.monotonic() >= self._table_due_s and kept_table(self._settings) is not None:
            self._start("table", "log", "iceberg")
            self._table_due_s = time.monotonic() + _TABLE_S

    def _champions(self) -> dict[str, bytes]:
        """Return the contents of the published champions' alias files, by path."""
        champions = {}
        for path in self._settings.models.glob(f"*/{CHAMPION}"):
            with suppress(OSError):  # the alias may be withdrawn meanwhile
                champions[str(path)] = path.read_bytes()
        return champions

    def _start(self, name: str, *command: str) -> bool:
        """Start an `encore` command unless it still runs; return whether it was started."""
        running = self._children.get(name)
        if running is not None and running.runs:
            return False
        self.started[name] += 1
        self._children[name] = RunningCommand(self._settings, self._settings.run / f"monitor-{name}.log", *command)
        return True
