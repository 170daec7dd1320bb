"""What this process has done since it started: a few counts, and the last prediction."""

import threading
from typing import NamedTuple

__all__ = ["Activity", "LastPrediction"]


class LastPrediction(NamedTuple):
    """The newest answer given: `at_us` is when (the wall clock, µs), the rest is what."""

    at_us: int
    user_id: str
    product_id: str
    confidence: float
    prediction: bool


class Activity:
    """Counts, kept by any thread. `requests` are calls to score or to read features, whatever became of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests = 0
        self.predictions = 0
        self.damaged_states = 0
        self.last_prediction: LastPrediction | None = None

    def note_request(self) -> None:
        """A request came in."""
        with self._lock:
            self.requests += 1

    def note_predictions(self, count: int, last: LastPrediction) -> None:
        """Predictions were made, of which `last` is the last."""
        with self._lock:
            self.predictions += count
            self.last_prediction = last

    def note_damaged_state(self) -> None:
        """A state could not be read, and its entity was served as one never seen."""
        with self._lock:
            self.damaged_states += 1
