"""Counts and durations of the API: the process's own counts for `/health`, and all of them for Prometheus.

Each of several workers writes its own files, and `prometheus_client` adds them at a scrape. If
PROMETHEUS_MULTIPROC_DIR is set before it is imported (by `encore serve --workers 2`), its values are in files that
outlive a worker, so that a sum never falls when a worker is replaced.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

__all__ = ["LastPrediction", "Telemetry", "empty_meters"]

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_AGES = (0.05, 0.1, 0.25, 1, 5, 60, 600, 3_600, 21_600, 86_400, 604_800, 2_592_000)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

_ASKING = (
    *("/predict", "/predict/batch", "/rank", "/entities/{entity}/features"),
    *("/features/{user_id:path}", "/products/{product_id:path}/features"),
)
"""Routes that score or read features."""


class LastPrediction(NamedTuple):
    """The newest answer, and the keys and labels of its question; `at` is wall-clock time."""

    at: datetime
    named: Mapping[str, str | None]
    confidence: float
    prediction: bool

    def told(self) -> dict[str, Any]:
        """Return it as `/health` shows it."""
        return {"at": self.at, **self.named, "confidence": self.confidence, "prediction": self.prediction}


class Telemetry:
    """One process's counts, updated on its event loop, in a registry of their own: apps in a process are separate.

    `requests`, `predictions`, `damaged_states` and `last_prediction` are always of this process alone.
    """

    def __init__(self, shared: Path | None = None) -> None:
        self._shared = shared
        self._registry = CollectorRegistry()
        counter = partial(Counter, registry=self._registry)
        times = partial(Histogram, registry=self._registry, buckets=_FAST)
        self.requests = self.predictions = self.damaged_states = 0
        self.last_prediction: LastPrediction | None = None
        seconds = times("encore_request_seconds", "Time to answer, by route.", ["route"])
        responses = counter("encore_responses", "Answers by route and status.", ["route", "status"])
        self._answers = lru_cache(lambda route, status: (seconds.labels(route), responses.labels(route, status)))
        self.errors = counter("encore_errors", "Requests that failed, by kind.", ["kind"])
        self._requests = counter("encore_requests", "Calls to score or to read features.")
        self._predictions = counter("encore_predictions", "Predictions made.")
        self._cold_starts = counter("encore_cold_starts", "Predictions about what was never seen.")
        self._damaged_states = counter("encore_damaged_states", "States that could not be read.")
        self.batch = times("encore_batch_questions", "Questions answered by one read.", buckets=_SIZES)
        self.redis_seconds = times("encore_redis_read_seconds", "Time of one read of states.")
        self.scoring_seconds = times("encore_scoring_seconds", "Time of one call of the model.")
        ages = "Age of the newest event that a prediction has seen."
        self.feature_age = times("encore_feature_age_seconds", ages, buckets=_AGES)

    def note_answer(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        times, answers = self._answers(route, status)
        times.observe(seconds)
        answers.inc()
        if route in _ASKING:
            self.requests += 1
            self._requests.inc()

    def note_predictions(self, count: int, cold_starts: int, last: LastPrediction) -> None:
        """Count predictions; `last` is the newest."""
        self.predictions += count
        self._predictions.inc(count)
        if cold_starts:
            self._cold_starts.inc(cold_starts)
        self.last_prediction = last

    def note_damaged_state(self) -> None:
        """Count an unreadable state."""
        self.damaged_states += 1
        self._damaged_states.inc()

    def registry(self) -> CollectorRegistry:
        """Return the registry for a scrape: of this process, or of all workers that share a folder."""
        if self._shared is None:
            return self._registry
        combined = CollectorRegistry()
        combined.register(_OfWorkers(self._shared))
        return combined


class _OfWorkers(Collector):
    """The sums over all workers that share a folder.

    A file that a worker is about to make is empty for a moment: `MultiProcessCollector` by itself fails on it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        files = [str(path) for path in self._folder.glob("*.db") if path.stat().st_size]
        metrics: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return metrics


def empty_meters(folder: Path) -> None:
    """Make a folder for workers to share, and delete the files of earlier workers."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.db"):
        old.unlink()
