"""What the API counts and times for Prometheus. With several workers each writes its own file, and a scrape adds them.

`prometheus_client` does the adding: where PROMETHEUS_MULTIPROC_DIR is set before it is imported (`encore serve
--workers 2` sees to it), its values live in files that outlive a worker, so a sum never falls when one is replaced.
"""

from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

__all__ = ["Meters", "empty_meters"]

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_AGES = (0.05, 0.1, 0.25, 1, 5, 60, 600, 3_600, 21_600, 86_400, 604_800, 2_592_000)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Meters:
    """One process's meters, in a registry of their own: two apps in a process do not meet."""

    def __init__(self, shared: Path | None = None) -> None:
        self._shared = shared
        registry = CollectorRegistry()
        self._registry = registry
        self.seconds = Histogram(
            "encore_request_seconds", "Time to answer, by route.", ["route"], buckets=_FAST, registry=registry
        )
        self.responses = Counter(
            "encore_responses", "Answers by route and status.", ["route", "status"], registry=registry
        )
        self.errors = Counter("encore_errors", "Requests that failed, by kind.", ["kind"], registry=registry)
        self.requests = Counter("encore_requests", "Calls to score or to read features.", registry=registry)
        self.predictions = Counter("encore_predictions", "Predictions made.", registry=registry)
        self.cold_starts = Counter(
            "encore_cold_starts", "Predictions about a user or product never seen.", registry=registry
        )
        self.damaged_states = Counter("encore_damaged_states", "States that could not be read.", registry=registry)
        self.batch = Histogram(
            "encore_batch_questions", "Questions answered by one read.", buckets=_SIZES, registry=registry
        )
        self.redis_seconds = Histogram(
            "encore_redis_read_seconds", "Time of one read of states.", buckets=_FAST, registry=registry
        )
        self.scoring_seconds = Histogram(
            "encore_scoring_seconds", "Time of one call of the model.", buckets=_FAST, registry=registry
        )
        self.feature_age = Histogram(
            "encore_feature_age_seconds",
            "Age of the newest event that a prediction has seen.",
            buckets=_AGES,
            registry=registry,
        )

    def registry(self) -> CollectorRegistry:
        """What a scrape collects: of this process, or of all workers where they share a folder."""
        if self._shared is None:
            return self._registry
        together = CollectorRegistry()
        MultiProcessCollector(together, str(self._shared))  # type: ignore[no-untyped-call]
        return together


def empty_meters(folder: Path) -> None:
    """Make a folder for workers to share, and forget what earlier ones left there."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.db"):
        old.unlink()
