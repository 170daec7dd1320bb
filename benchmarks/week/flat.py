"""Whether a measured series is flat once retention is reached, or grows."""

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Course", "course_of"]

_NOISE = 0.1
"""The sawtooth of compacted files and rewritten logs varies by up to a tenth in half a week."""


class Course(NamedTuple):
    """A series: its mean and peak from `since_day` on, and its growth until the end as a share of the mean.

    The growth is that of its least-squares line. `is_flat` if that, or the growth of its peaks from one half of the
    time to the next, is at most a tenth.
    """

    mean: float
    peak: float
    grew: float
    is_flat: bool


def course_of(days: Sequence[float], sizes: Sequence[float], since_day: float) -> Course:
    """Return the course of a series. Raises ValueError if there are fewer than four measurements."""
    kept = [(day, size) for day, size in zip(days, sizes, strict=True) if day >= since_day]
    if len(kept) < 4:
        raise ValueError(f"{len(kept)} measurements since day {since_day:g}: too few to tell")
    mean_day = sum(day for day, _ in kept) / len(kept)
    mean = sum(size for _, size in kept) / len(kept)
    spread = sum((day - mean_day) ** 2 for day, _ in kept)
    slope = sum((day - mean_day) * (size - mean) for day, size in kept) / spread
    grew = slope * (kept[-1][0] - kept[0][0]) / mean if mean else 0.0
    half = len(kept) // 2
    before, after = (max(size for _, size in part) for part in (kept[:half], kept[half:]))
    is_flat = grew <= _NOISE or after <= before * (1 + _NOISE)
    return Course(mean, max(before, after), grew, is_flat)
