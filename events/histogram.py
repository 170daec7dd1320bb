"""Counts of values by upper bounds, kept by one thread and read by others; Prometheus makes quantiles of them."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

__all__ = ["Histogram"]


class Histogram:
    """How many values lie at or below each bound, which ascend, and the sum of all."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += times
        self.sum += value * times

    def __add__(self, other: "Histogram") -> "Histogram":
        """Return the values of both, which have the same bounds."""
        total = Histogram(self._bounds)
        total._counts = [sum(counts) for counts in zip(self._counts, other._counts, strict=True)]
        total.sum = self.sum + other.sum
        return total

    def cumulative(self) -> list[tuple[str, int]]:
        """Return each bound as text, with the number of values up to it; the last bound is `+Inf`."""
        labels = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        return list(zip(labels, accumulate(self._counts.copy()), strict=True))
