"""Hypothetical questions: which features to vary, within which limits, and how a question is assembled."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from features.state.values import Value

__all__ = ["Range", "movable", "slider_range"]

_SHARES = ("_rate", "_rate_30d")
_FIXED = {"hour_of_day": (0.0, 23.0), "day_of_week": (0.0, 6.0)}


class Range(NamedTuple):
    """A slider: least, greatest, step and present value."""

    low: float
    high: float
    step: float
    value: float


def slider_range(name: str, value: Value) -> Range:
    """Return a range from 0 to well above the value; integers move in whole steps. A null value starts at 0."""
    start = float(value or 0.0)
    if name in _FIXED:
        low, high = _FIXED[name]
        return Range(low, high, 1.0, start)
    if name.endswith(_SHARES):
        return Range(0.0, max(1.0, start), 0.01, start)
    is_whole = isinstance(value, int)
    high = max(10.0, 3 * abs(start))
    return Range(min(0.0, 3 * start), float(round(high)) if is_whole else high, 1.0 if is_whole else high / 200, start)


def movable(names: Sequence[str], contributions: Mapping[str, float], count: int = 4) -> list[str]:
    """Return the features to start with: those that contribute most to the score, else the first."""
    ranked = sorted(contributions, key=lambda name: -abs(contributions[name]))
    return [name for name in ranked if name in names][:count] or list(names[:count])
