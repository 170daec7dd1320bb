"""The aggregate kinds: how each starts, folds an event and merges, and what it may be used for.

Adding a kind is an entry here and one in `features.batch.kinds`, which computes the same over the event log; a test
folds, merges and compares every kind. Every kind is a count, an exact sum, an extreme or a time, so order, lateness and
partitioning cannot change an answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import add
from typing import Any, Literal

from features.facts import EVENT_ID, TIMESTAMP

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
]


Step = Callable[[Any, tuple[Any, ...]], Any]
"""A function of an aggregate's number and a fact to its next number."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of aggregate of a state.

    `start` is its number before any event; `step` returns its step for a column (an index into a fact); `merge` joins
    two numbers, neither of them None. `additive` kinds can be kept in tiles, and so be asked over a window.
    `in_column_unit`: the number is in the integer unit of its column. `grows`: the direction in which events move the
    number (True up, False down, None either or unreliable). `words` is the template of `features.plan.describe`.
    """

    start: int | None
    step: Callable[[int], Step]
    merge: Callable[[Any, Any], Any]
    additive: bool = False
    in_column_unit: bool = False
    grows: bool | None = None
    words: str = ""


def _one(_field: int) -> Step:
    return lambda old, _fact: old + 1


def _least(field: int) -> Step:
    return lambda old, fact: fact[field] if old is None or fact[field] < old else old


def _greatest(field: int) -> Step:
    return lambda old, fact: fact[field] if old is None or fact[field] > old else old


def _first(field: int) -> Step:
    def step(old: Any, fact: tuple[Any, ...]) -> Any:
        new = [fact[TIMESTAMP], fact[EVENT_ID], fact[field]]
        return new if old is None or new < old else old

    return step


def _last(field: int) -> Step:
    def step(old: Any, fact: tuple[Any, ...]) -> Any:
        new = [fact[TIMESTAMP], fact[EVENT_ID], fact[field]]
        return new if old is None or new > old else old

    return step


KINDS: dict[str, Kind] = {
    "count": Kind(0, _one, add, additive=True, grows=True, words="number of {events}"),
    "sum": Kind(
        0,
        lambda field: lambda old, fact: old + fact[field],
        add,
        additive=True,
        in_column_unit=True,
        grows=True,
        words="sum of the {column} of {events}",
    ),
    "squares": Kind(0, lambda field: lambda old, fact: old + fact[field] ** 2, add, additive=True, grows=True),
    "time_sum": Kind(0, lambda _: lambda old, fact: old + fact[TIMESTAMP], add),
    "time_squares": Kind(0, lambda _: lambda old, fact: old + fact[TIMESTAMP] ** 2, add),
    "time_products": Kind(0, lambda field: lambda old, fact: old + fact[TIMESTAMP] * fact[field], add),
    # Folded only where the state of entity and value together shows that the event is a first.
    "distinct": Kind(0, _one, add, words="number of distinct {column} among {events}"),
    "min": Kind(None, _least, min, in_column_unit=True, grows=False, words="least {column} of {events}"),
    "max": Kind(None, _greatest, max, in_column_unit=True, grows=True, words="greatest {column} of {events}"),
    "first_time": Kind(None, lambda _: _least(TIMESTAMP), min, grows=False, words="since the first of {events}"),
    "last_time": Kind(None, lambda _: _greatest(TIMESTAMP), max, grows=True, words="since the last of {events}"),
    "first": Kind(None, _first, min, words="{column} of the first of {events}"),
    "last": Kind(None, _last, max, words="{column} of the last of {events}"),
}
"""Every kind that a state can keep."""
