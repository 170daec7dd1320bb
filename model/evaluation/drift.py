"""Drift: the population stability index of each feature, between training and recent questions.

PSI = sum over bins of (recent - reference) * ln(recent / reference), of shares (Siddiqi, Credit Risk Scorecards, 2006).
Below 0.1 the change is small, above 0.2 large. Bins are the reference's deciles, and one for missing values.

The reference is the newer half of the training data, stored with its PSI against the older half: in a growing shop,
lifetime counts move by themselves, and movement as in the training period is no drift.
"""

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from data.units import DAY_US
from model.metrics import Histogram

__all__ = ["DRIFTED", "MIN_ROWS", "compared", "drifted", "histogram_of", "psi", "reference_of"]

DRIFTED = 0.2
"""The PSI above which a feature may have drifted."""

_USUAL = 2.0
"""Allowed multiple of the PSI between both halves of the training data, to which the time since is comparable."""

MIN_ROWS = 500
"""Fewest rows for a PSI: by chance alone it is about (bins - 1) / rows."""

_TENTHS = np.linspace(0.1, 0.9, 9)
_PERIODS_US = {"hour_of_day": DAY_US, "day_of_week": 7 * DAY_US}
"""Features that depend on the time alone, and their periods, µs."""

Rows = NDArray[np.float32]


def histogram_of(values: Rows, edges: tuple[float, ...]) -> Histogram:
    """Return the histogram of values, shape [n]; NaN is missing."""
    present = values[~np.isnan(values)]
    counts = np.bincount(np.searchsorted(edges, present, side="left"), minlength=len(edges) + 1)
    total = max(len(values), 1)
    return Histogram(edges, tuple(round(count / total, 6) for count in (*counts.tolist(), len(values) - len(present))))


def reference_of(features: tuple[str, ...], rows: Rows) -> dict[str, Histogram]:
    """Return each feature's histogram over rows in time order, shape [n, features], to be stored with the model.

    It is over the newer half of the rows, if both halves are large enough to be compared.
    """
    half = len(rows) // 2 if len(rows) >= 2 * MIN_ROWS else 0
    reference = {}
    for place, name in enumerate(features):
        older = _histogram(rows[:half, place])
        newer = rows[half:, place]
        moved = round(psi(older, newer), 6) if half else 0.0
        reference[name] = msgspec.structs.replace(_histogram(newer), moved=moved)
    return reference


def _histogram(values: Rows) -> Histogram:
    """Return the histogram of values, shape [n], in bins of a tenth of the values each."""
    present = values[~np.isnan(values)]
    return histogram_of(values, tuple(np.unique(np.quantile(present, _TENTHS)).tolist()) if len(present) else ())


def psi(reference: Histogram, values: Rows) -> float:
    """Return the PSI of values, shape [n], against the reference; 0 means equal. Empty bins count as half a value."""
    recent = np.array(histogram_of(values, reference.edges).shares)
    least = 0.5 / max(len(values), 1)
    recent, expected = np.maximum(recent, least), np.maximum(np.array(reference.shares), least)
    recent, expected = recent / recent.sum(), expected / expected.sum()
    return float(((recent - expected) * np.log(recent / expected)).sum())


def compared(
    reference: Mapping[str, Histogram], features: tuple[str, ...], rows: Rows, span_us: int
) -> dict[str, float]:
    """Return the PSI of each feature, highest first, over rows of shape [n, features] that span `span_us`.

    Features of the time are left out if the rows do not cover their period: rows of one hour have one hour of day.
    """
    indices = {
        name: psi(reference[name], rows[:, place])
        for place, name in enumerate(features)
        if name in reference and span_us >= _PERIODS_US.get(name, 0)
    }
    return dict(sorted(indices.items(), key=lambda item: -item[1]))


def drifted(reference: Mapping[str, Histogram], index: Mapping[str, float]) -> list[str]:
    """Return the features whose PSI (`compared`) is high, and higher than their usual movement."""
    return [name for name, value in index.items() if value > max(DRIFTED, _USUAL * reference[name].moved)]
