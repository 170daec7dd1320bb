"""The model monitor: stores predictions, publishes MLflow's changes, and evaluates live quality periodically.

Heavy work (MLflow, evaluation) is done by our own commands in child processes.
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
_LET_GO_S = 3600.0
_NAME_S = 600.0


class Monitor:
    """Watches one home. `run` returns when `stop` is set; no failure meanwhile ends it.

    `database` is MLflow's where it is a file: its changes are published. With a tracking server (None) a child asks it
    every few seconds. `judge_s` is the interval of evaluations; `note` is called each turn, to keep what the system
    looks like.
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
        self._again = 0.0
        self._let_go_s = time.monotonic() + _RETRY_S  # it can wait until others have begun
        self._named_s = self._let_go_s
        self._children: dict[str, RunningCommand] = {}
        self._seen: tuple[int, int] | None = None
        self._judged = time.monotonic()
        self.taken = 0
        """Number of predictions stored."""
        self.started: Counter[str] = Counter()
        """Number of commands started, by what they are for."""
        self.turned_s = time.monotonic()
        """When the last turn began."""
        self.failing: tuple[float | None, str] = None, ""
        """Since when predictions cannot be stored (None: they can), and why."""
        self._judged_at = 0
        self._judged_under = self._champions()

    def run(self, stop: threading.Event) -> None:
        """Watch until `stop` is set. Raises `ConfigurationError` where another monitor watches this home."""
        with only_one(self._settings, "predictions", "keeps predictions"):
            try:
                while not stop.is_set():
                    self._beat()
                    self.turned_s = time.monotonic()
                    try:
                        if not self._keep():
                            stop.wait(0.5)
                        self._follow()
                        self._judge()
                        self._let_go()
                        self._name_files()
                        self._note()
                    except Exception:  # noqa: BLE001 - whatever one message or one command does, the others are to be kept
                        _log.exception("the monitor goes on")
                        stop.wait(_RETRY_S)
            finally:
                for child in self._children.values():
                    child.stop()
                self._close()

    def _keep(self) -> bool:
        """Store predictions that have arrived, waiting half a second; return whether Kafka answers."""
        if time.monotonic() < self._again:
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
            self._again = time.monotonic() + _RETRY_S
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
        if settled and mark != self._seen and self._start("follow", "model", "follow", "--once"):
            self._seen = mark

    def _judge(self) -> None:
        champions = self._champions()
        due = self.taken > self._judged_at and time.monotonic() - self._judged > self._judge_s
        # Drift is told of the champion: of another one it is another.
        if (due or champions != self._judged_under) and self._start("judge", "evaluate-live"):
            self._judged, self._judged_at, self._judged_under = time.monotonic(), self.taken, champions

    def _let_go(self) -> None:
        """Apply what ENCORE_RETENTION says, and keep up the log's partials where there are some, once an hour."""
        if time.monotonic() >= self._let_go_s and self._start("retention", "retention"):
            self._let_go_s = time.monotonic() + _LET_GO_S
            if Partials(open_log(self._settings)).are_used():
                self._start("partials", "log", "partials")

    def _name_files(self) -> None:
        """Have the log's table name its files, where it is kept as one, well before those that were joined go."""
        if time.monotonic() >= self._named_s and kept_table(self._settings) is not None:
            self._start("table", "log", "iceberg")
            self._named_s = time.monotonic() + _NAME_S

    def _champions(self) -> dict[str, bytes]:
        """What the aliases of the published champions say, by their path."""
        found = {}
        for path in self._settings.models.glob(f"*/{CHAMPION}"):
            with suppress(OSError):  # it may be withdrawn meanwhile
                found[str(path)] = path.read_bytes()
        return found

    def _start(self, name: str, *command: str) -> bool:
        """Start one of our commands unless it still runs; return whether it was started."""
        running = self._children.get(name)
        if running is not None and running.runs:
            return False
        self.started[name] += 1
        self._children[name] = RunningCommand(self._settings, self._settings.run / f"monitor-{name}.log", *command)
        return True
