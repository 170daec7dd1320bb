"""The aggregate kinds: how each starts, folds an event and merges, and what it may be used for.

Adding a kind is an entry here and one in `features.batch.kinds`, which computes the same over the event log; a test
folds, merges and compares every kind. Every kind is a count, an exact sum, an extreme, a time or a list of such
(`features.summaries`), so order, lateness and partitioning cannot change an answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from data.units import DAY_US
from features import summaries
from features.facts import EVENT_ID, TIMESTAMP
from features.summaries import Summary

__all__ = ["KINDS", "AggregateKind", "Kind", "Step"]

AggregateKind = Literal[
    "count",  # of events
    "sum",  # of a column, in its integer unit
    "squares",  # sum of squares of a column, in its integer unit squared
    "time_sum",  # of event times, µs
    "time_squares",  # of event times squared, µs²
    "time_products",  # of event time times column
    "distinct",  # count of events that were the first of their kind of the entity and a value of the column
    "deviation",  # sample standard deviation, in engines' running totals only, never in a state
    "min",
    "max",
    "first_time",
    "last_time",
    "first",  # (time, event id, value) of the earliest event; ties go to the lesser event id
    "last",
    "last_values",  # with their times; `parameter`: how many
    "last_times",
    "seen",  # the distinct values of a column that were seen last, with their times; `parameter`: how many
    "labels",  # count of events per value of a label; `parameter`: of how many labels
    "rounded",  # count of events per value of a measure, rounded; `parameter`: to how many significant digits
    "orders",  # last orders, by a label; `parameter`: the idle time that ends one without an id, µs
    "sessions",  # runs of events; `parameter`: the longest time between two events of a session, µs
]


_INTEGER = 9
"""Bytes of an integer of 64 bits, as counts and times are, at most."""

_MEASURE = 12
"""Bytes of a measure at most: 10**21 units, the most that a schema may declare, take 70 bits."""

_WIDE = 25
"""Bytes of a sum at most, squares of such values included."""

_ID = 3 + 4 * 64
"""Bytes of an event's id at most: texts have up to four bytes a character."""

_LABEL = 3 + 4 * 256
"""Bytes of a label or a key at most."""


Step = Callable[[Any, tuple[Any, ...]], Any]
"""A function of an aggregate's number and a fact to its next number."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of aggregate of a state.

    `start` is its number before any event; `step` returns its step for a column (an index into a fact) and the
    aggregate's `parameter`; `merge` joins two numbers, neither of them None, given the `parameter`. `tiled` kinds can
    be kept in tiles, and so be asked over a window, whose number is the sum of its tiles' (`additive`) or their merge.
    `in_column_unit`: the number is in the integer unit of its column. `grows`: the direction in which events move the
    number (True up, False down, None either or unreliable). `most_bytes`: what a number takes at most, by `parameter`.
    `idle`: the `parameter` is an idle time, µs.
    `words` is the template of `features.plan.describe`.
    """

    start: int | None
    step: Callable[[int, int], Step]
    merge: Callable[[Any, Any, int], Any]
    tiled: bool = False
    additive: bool = False
    in_column_unit: bool = False
    grows: bool | None = None
    most_bytes: Callable[[int], int] = lambda _: _INTEGER
    idle: bool = False
    words: str = ""


def _increment(_field: int, _parameter: int) -> Step:
    return lambda old, _fact: old + 1


def _least(field: int, _parameter: int = 0) -> Step:
    return lambda old, fact: fact[field] if old is None or fact[field] < old else old


def _greatest(field: int, _parameter: int = 0) -> Step:
    return lambda old, fact: fact[field] if old is None or fact[field] > old else old


def _first(field: int, _parameter: int = 0) -> Step:
    def step(old: Any, fact: tuple[Any, ...]) -> Any:
        new = [fact[TIMESTAMP], fact[EVENT_ID], fact[field]]
        return new if old is None or new < old else old

    return step


def _last(field: int, _parameter: int = 0) -> Step:
    def step(old: Any, fact: tuple[Any, ...]) -> Any:
        new = [fact[TIMESTAMP], fact[EVENT_ID], fact[field]]
        return new if old is None or new > old else old

    return step


def _add(left: Any, right: Any, _parameter: int) -> Any:
    return left + right


def _min(left: Any, right: Any, _parameter: int) -> Any:
    return min(left, right)


def _max(left: Any, right: Any, _parameter: int) -> Any:
    return max(left, right)


def _listed(
    summary: Callable[[int], Summary],
    most_bytes: Callable[[int], int],
    *,
    tiled: bool = False,
    idle: bool = False,
    words: str = "",
) -> Kind:
    """Return the kind whose number is a list."""

    def step(field: int, parameter: int) -> Step:
        put = summary(parameter).put
        return lambda old, fact: put(old, fact[TIMESTAMP], fact[field])

    def merge(left: Any, right: Any, parameter: int) -> Any:
        return summary(parameter).merge(left, right)

    return Kind(None, step, merge, tiled=tiled, most_bytes=most_bytes, idle=idle, words=words)


KINDS: dict[str, Kind] = {
    "count": Kind(0, _increment, _add, tiled=True, additive=True, grows=True, words="number of {events}"),
    "sum": Kind(
        0,
        lambda field, _: lambda old, fact: old + fact[field],
        _add,
        tiled=True,
        additive=True,
        in_column_unit=True,
        grows=True,
        most_bytes=lambda _: _WIDE,
        words="sum of the {column} of {events}",
    ),
    "squares": Kind(
        0,
        lambda field, _: lambda old, fact: old + fact[field] ** 2,
        _add,
        tiled=True,
        additive=True,
        grows=True,
        most_bytes=lambda _: _WIDE,
    ),
    "time_sum": Kind(0, lambda *_: lambda old, fact: old + fact[TIMESTAMP], _add, most_bytes=lambda _: _WIDE),
    "time_squares": Kind(0, lambda *_: lambda old, fact: old + fact[TIMESTAMP] ** 2, _add, most_bytes=lambda _: _WIDE),
    "time_products": Kind(
        0, lambda field, _: lambda old, fact: old + fact[TIMESTAMP] * fact[field], _add, most_bytes=lambda _: _WIDE
    ),
    # Folded only where the state of entity and value together shows that the event is a first.
    "distinct": Kind(0, _increment, _add, words="number of distinct {column} among {events}"),
    "min": Kind(
        None,
        _least,
        _min,
        tiled=True,
        in_column_unit=True,
        grows=False,
        most_bytes=lambda _: _MEASURE,
        words="least {column} of {events}",
    ),
    "max": Kind(
        None,
        _greatest,
        _max,
        tiled=True,
        in_column_unit=True,
        grows=True,
        most_bytes=lambda _: _MEASURE,
        words="greatest {column} of {events}",
    ),
    "first_time": Kind(None, lambda *_: _least(TIMESTAMP), _min, grows=False, words="since the first of {events}"),
    "last_time": Kind(None, lambda *_: _greatest(TIMESTAMP), _max, grows=True, words="since the last of {events}"),
    "first": Kind(
        None,
        _first,
        _min,
        most_bytes=lambda _: 1 + _INTEGER + _ID + _MEASURE,
        words="{column} of the first of {events}",
    ),
    "last": Kind(
        None, _last, _max, most_bytes=lambda _: 1 + _INTEGER + _ID + _MEASURE, words="{column} of the last of {events}"
    ),
    "last_values": _listed(summaries.last_values, lambda most: 3 + most * (1 + _INTEGER + _MEASURE)),
    "last_times": _listed(summaries.last_times, lambda most: 3 + most * _INTEGER),
    "seen": _listed(
        summaries.seen,
        lambda most: 3 + most * (1 + _INTEGER + _LABEL),
        words="number of distinct {column} among {events}, up to {parameter}",
    ),
    "labels": _listed(summaries.counts_of_labels, lambda most: 3 + most * (1 + _LABEL + _INTEGER), tiled=True),
    # The leading digits that there are, of numbers of 1 to 22 digits.
    "rounded": _listed(
        summaries.counts_of_rounded,
        lambda digits: 3 + 22 * 9 * 10 ** (digits - 1) * (1 + _MEASURE + _INTEGER),
        tiled=True,
    ),
    "orders": _listed(
        summaries.orders,
        lambda _: 3 + summaries.MOST_ORDERS * (1 + _INTEGER + _LABEL),
        idle=True,
        words="number of orders among {events}",
    ),
    # Of a day at most, the widest tile.
    "sessions": _listed(
        summaries.sessions,
        lambda idle: 3 + (1 + DAY_US // idle) * (1 + 3 * _INTEGER),
        tiled=True,
        idle=True,
        words="sessions of {events}",
    ),
}
"""Every kind that a state can keep."""
