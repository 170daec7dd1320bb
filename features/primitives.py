"""Featuretools primitives of Encore: known ones with the results that a shop wants for empty input, and new ones.

A count is 0 over nothing, a rate or a value is null: Featuretools' own NumUnique returns null over no rows, and
DivideNumeric infinity for a division by zero. Each new primitive is its formula, slow and plain, over the events that
Featuretools gives it; the other paths must equal it. Lengths of time are as pandas reads them, such as `7 days`.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from featuretools import primitives
from woodwork.column_schema import ColumnSchema
from woodwork.logical_types import Datetime, Double, IntegerNullable

from data.units import MINUTE_US
from features.summaries import DECAY_TILES, DECAY_UNIT, DECAY_WEIGHTS, TILES_PER_HALF_LIFE, rounded

__all__ = [
    "LABEL",
    "NUMBER",
    "REAL",
    "TIME",
    "WHOLE",
    "DecayedCount",
    "DecayedSum",
    "NthLast",
    "NumUnique",
    "NumUniqueUpTo",
    "Quantile",
    "Rate",
    "SessionCount",
    "SessionEvents",
    "SessionLength",
    "SmoothedRate",
    "TimeSinceNthLast",
    "TopCount",
    "TopShare",
    "micros",
    "micros_of",
]

NUMBER = ColumnSchema(semantic_tags={"numeric"})
LABEL = ColumnSchema(semantic_tags={"category"})
TIME = ColumnSchema(logical_type=Datetime, semantic_tags={"time_index"})
REAL = ColumnSchema(logical_type=Double, semantic_tags={"numeric"})
WHOLE = ColumnSchema(logical_type=IntegerNullable, semantic_tags={"numeric"})

_BILLION = 10**9


class NumUnique(primitives.NumUnique):  # type: ignore[misc]
    """Number of distinct values; 0 over no rows."""

    default_value = 0


class Rate(primitives.DivideNumeric):  # type: ignore[misc]
    """Quotient of two columns; null where the denominator is 0 or null."""

    name = "rate"

    def get_function(self) -> Callable[..., Any]:
        """Return the function of numerator and denominator, columns of shape (n,)."""

        def rate(upper: Any, lower: Any) -> Any:
            below = np.asarray(lower, dtype="float64")
            return np.asarray(upper, dtype="float64") / np.where(below == 0, np.nan, below)

        return rate


class SmoothedRate(primitives.TransformPrimitive):  # type: ignore[misc]
    """(numerator + `rate` * `weight`) / (denominator + `weight`): it begins at `rate`, as if that was seen before."""

    name = "smoothed_rate"
    input_types: ClassVar[list[Any]] = [NUMBER, NUMBER]
    return_type = REAL

    def __init__(self, rate: float = 0.5, weight: float = 1.0) -> None:
        self.rate = rate
        self.weight = weight

    def get_function(self) -> Callable[..., Any]:
        """Return the function of numerator and denominator, columns of shape (n,)."""

        def smoothed(upper: Any, lower: Any) -> Any:
            above, below = np.asarray(upper, dtype="float64"), np.asarray(lower, dtype="float64")
            return (above + self.rate * self.weight) / (below + self.weight)

        return smoothed


class _OfLabels(primitives.AggregationPrimitive):  # type: ignore[misc]
    """A number of a column of labels."""

    input_types: ClassVar[list[Any]] = [LABEL]

    def get_function(self) -> Callable[..., Any]:
        """Return the function of the labels."""
        return lambda labels: self._value(labels.dropna())

    def _value(self, labels: pd.Series) -> Any:
        raise NotImplementedError


class NumUniqueUpTo(_OfLabels):
    """Number of distinct values, at most `most`: exact below it. It has windows, and needs no event type."""

    name = "num_unique_up_to"
    return_type = WHOLE
    default_value = 0

    def __init__(self, most: int = 256) -> None:
        self.most = most

    def _value(self, labels: pd.Series) -> int:
        return min(labels.nunique(), self.most)


class NthLast(primitives.AggregationPrimitive):  # type: ignore[misc]
    """The value of the `n`-th last event (1: the last); of equal times, the greater values are the later ones."""

    name = "nth_last"
    input_types: ClassVar[list[Any]] = [NUMBER, TIME]
    return_type = REAL

    def __init__(self, n: int = 1) -> None:
        self.n = n

    def get_function(self) -> Callable[..., Any]:
        """Return the function of values and times."""

        def nth_last(values: pd.Series, times: pd.Series) -> Any:
            ordered = sorted(zip(times, values, strict=True))
            return ordered[-self.n][1] if len(ordered) >= self.n else np.nan

        return nth_last


class TimeSinceNthLast(primitives.AggregationPrimitive):  # type: ignore[misc]
    """Time since the `n`-th last event (1: the last), in a `unit` such as `days`."""

    name = "time_since_nth_last"
    input_types: ClassVar[list[Any]] = [TIME]
    return_type = REAL
    uses_calc_time = True

    def __init__(self, n: int = 1, unit: str = "days") -> None:
        self.n = n
        self.unit = unit

    def get_function(self) -> Callable[..., Any]:
        """Return the function of the times, given the cutoff."""

        def since(times: pd.Series, time: Any = None) -> Any:
            ordered = sorted(times)
            if len(ordered) < self.n:
                return np.nan
            return (time - ordered[-self.n]) / pd.Timedelta(f"1 {self.unit}")

        return since


class _Decayed(primitives.AggregationPrimitive):  # type: ignore[misc]
    """Sum over events, weighed by the age of their tiles: eight tiles a half-life, and none past eight half-lives."""

    return_type = REAL
    default_value = 0
    uses_calc_time = True

    def __init__(self, half_life: str = "7 days") -> None:
        self.half_life = half_life

    def _decayed(self, values: Iterable[int], times: pd.Series, time: Any) -> int:
        """Return the sum in 2**32 parts."""
        hop_us = micros(self.half_life) // TILES_PER_HALF_LIFE
        now = micros_of(time) // hop_us
        ages = [now - micros_of(at) // hop_us for at in times]
        return sum(value * DECAY_WEIGHTS[age] for value, age in zip(values, ages, strict=True) if age < DECAY_TILES)


class DecayedCount(_Decayed):
    """Number of events, each weighing half with every `half_life` that has passed."""

    name = "decayed_count"
    input_types: ClassVar[list[Any]] = [TIME]

    def get_function(self) -> Callable[..., Any]:
        """Return the function of the times, given the cutoff."""
        return lambda times, time=None: self._decayed([1] * len(times), times, time) / DECAY_UNIT


class DecayedSum(_Decayed):
    """Sum of a column, each event weighing half with every `half_life` that has passed."""

    name = "decayed_sum"
    input_types: ClassVar[list[Any]] = [NUMBER, TIME]

    def get_function(self) -> Callable[..., Any]:
        """Return the function of values and times, given the cutoff."""

        def decayed_sum(values: pd.Series, times: pd.Series, time: Any = None) -> float:
            return self._decayed(_integers(values), times, time) / (DECAY_UNIT * _BILLION)

        return decayed_sum


class _Session(primitives.AggregationPrimitive):  # type: ignore[misc]
    """Of sessions: runs of events with at most `idle` between neighbours, over the tiles of a window.

    `within` is one of `WINDOWS` (features/definitions.py), length and hop. It is no `use_previous`, for which event
    times are floored to the hop before a primitive sees them.
    """

    input_types: ClassVar[list[Any]] = [TIME]
    uses_calc_time = True

    def __init__(self, idle: str = "30 minutes", within: tuple[str, str] = ("30 days", "1 day")) -> None:
        self.idle = idle
        self.within = within

    def get_function(self) -> Callable[..., Any]:
        """Return the function of the times, given the cutoff."""

        def of_sessions(times: pd.Series, time: Any = None) -> Any:
            now, (length_us, hop_us) = micros_of(time), map(micros, self.within)
            start = now // hop_us * hop_us + hop_us - length_us
            runs: list[list[int]] = []
            for at in sorted(at for at in map(micros_of, times) if at >= start):
                if runs and at - runs[-1][-1] <= micros(self.idle):
                    runs[-1].append(at)
                else:
                    runs.append([at])
            if runs and now - runs[-1][-1] > micros(self.idle):
                runs.append([])
            return self._value(runs)

        return of_sessions

    def _value(self, runs: list[list[int]]) -> Any:
        """Return the value of sessions, each the times of its events; the last is the present one, even if empty."""
        raise NotImplementedError


class SessionCount(_Session):
    """Number of sessions."""

    name = "session_count"
    return_type = WHOLE
    default_value = 0

    def _value(self, runs: list[list[int]]) -> int:
        return sum(1 for run in runs if run)


class SessionLength(_Session):
    """Mean length of sessions, in minutes; 0 for a session of one event."""

    name = "session_length"
    return_type = REAL

    def _value(self, runs: list[list[int]]) -> float:
        lengths = [run[-1] - run[0] for run in runs if run]
        return sum(lengths) / (len(lengths) * MINUTE_US) if lengths else np.nan


class SessionEvents(_Session):
    """Number of events in the session that goes on now; 0 where the last event lies longer back than `idle`."""

    name = "session_events"
    return_type = WHOLE
    default_value = 0

    def _value(self, runs: list[list[int]]) -> int:
        return len(runs[-1]) if runs else 0


class _Top(_OfLabels):
    """Of the `n` most frequent values of a label, among the `most` first ones in the order of their texts."""

    def __init__(self, n: int = 1, most: int = 64) -> None:
        self.n = n
        self.most = most

    def _counts(self, labels: pd.Series) -> tuple[int, int]:
        """Return how many events the `n` most frequent have, and how many all have."""
        counts = sorted(Counter(labels).items())[: self.most]
        events = sorted((count for _, count in counts), reverse=True)
        return sum(events[: self.n]), sum(events)


class TopCount(_Top):
    """Number of events that the `n` most frequent labels have together."""

    name = "top_count"
    return_type = WHOLE
    default_value = 0

    def _value(self, labels: pd.Series) -> int:
        return self._counts(labels)[0]


class TopShare(_Top):
    """Share of the events with a label that the `n` most frequent labels have together."""

    name = "top_share"
    return_type = REAL

    def _value(self, labels: pd.Series) -> float:
        events, total = self._counts(labels)
        return events / total if total else np.nan


class Quantile(primitives.AggregationPrimitive):  # type: ignore[misc]
    """The least value that a share `q` of the events do not exceed, rounded to `digits` significant digits.

    So it lies within 5 % of the true one for two digits, within 0.5 % for three.
    """

    name = "quantile"
    input_types: ClassVar[list[Any]] = [NUMBER]
    return_type = REAL

    def __init__(self, q: float = 0.5, digits: int = 2) -> None:
        self.q = q
        self.digits = digits

    def get_function(self) -> Callable[..., Any]:
        """Return the function of the values."""

        def quantile(values: pd.Series) -> float:
            ordered = sorted(_integers(values))
            rank = max(-(-round(self.q * 1000) * len(ordered) // 1000), 1)
            return rounded(ordered[rank - 1], self.digits) / _BILLION

        return quantile


def _integers(values: pd.Series) -> list[int]:
    """Return values in billionths: measures have nine decimals at most."""
    return [round(value * _BILLION) for value in values]


def micros(length: str) -> int:
    """Return a length of time in µs."""
    return int(pd.Timedelta(length).value // 1000)


def micros_of(time: Any) -> int:
    """Return a time in µs since 1970."""
    return int(pd.Timestamp(time).value // 1000)
