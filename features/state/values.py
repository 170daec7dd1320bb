"""Compute feature values from a state and a time: the same formulas for Feast, the server and the tests.

A plan is compiled to the source of a Python function like one that a person would write: a local variable for each
number in the state, for each sum over a window and for each intermediate value. A subexpression that two features share
is computed once. Only the plan's own integers and names are written into the source, never data.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime
from math import sqrt
from operator import itemgetter
from typing import Any

from data.units import DAY_US, HOUR_US, MICROS, MINUTE_US
from features.kinds import KINDS
from features.plan.plan import (
    Aggregate,
    Asked,
    Borrowed,
    CalendarPart,
    Deviation,
    Difference,
    Edge,
    EntityPlan,
    Expression,
    Extreme,
    Plan,
    Quotient,
    Since,
    Slope,
    Spacing,
    Total,
    Window,
    parts_of,
)
from features.state.algebra import Algebra, State
from features.state.tiles import rows_in

__all__ = ["EntityValues", "RequestValues", "Value", "picker"]

Value = int | float | None
"""A feature's value; None is null (undefined)."""


def picker(places: Sequence[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that picks these places (indices or keys) of its argument, as a tuple."""
    if len(places) < 2:  # of a single place itemgetter returns the item, not a tuple
        return lambda values: tuple(values[place] for place in places)
    return itemgetter(*places)


class EntityValues:
    """Computes the features of one entity, in the plan's order."""

    def __init__(self, plan: EntityPlan, names: Sequence[str] | None = None) -> None:
        wanted = plan.features if names is None else [f for f in plan.features if f.name in frozenset(names)]
        self.algebra = Algebra(plan)
        self.names = tuple(feature.name for feature in wanted)
        self._empty = self.algebra.empty()
        self._compute = _StateFunction(plan).of([feature.expression for feature in wanted])

    def get(self, state: State | None, now_us: int) -> tuple[Value, ...]:
        """Return every feature's value at a time, µs; `state` None is an entity without events.

        A state answers from its newest event on: an earlier time (a producer's clock ran ahead) counts as that event's.
        """
        if state is None:
            state = self._empty
        return self._compute(state.slots, state.tiles, max(now_us, self.algebra.last_event(state) or 0))


class RequestValues:
    """Computes the features of the request, from the entities' values, the amount and the time.

    `places` gives the key (an index, say) of an entity's value in the argument of `get`; by default, its name.
    """

    def __init__(self, plan: Plan, places: Mapping[str, Any] | None = None) -> None:
        self.names = tuple(feature.name for feature in plan.request)
        self._expressions = [feature.expression for feature in plan.request]
        self._compute = _RequestFunction(places or {}).of(self._expressions)

    @property
    def borrowed(self) -> tuple[str, ...]:
        """The entities' features that the request's features are computed from."""
        parts = [part for expression in self._expressions for part in parts_of(expression)]
        return tuple(dict.fromkeys(part.feature for part in parts if isinstance(part, Borrowed)))

    def get(self, entity_values: Any, amount: float | None, now_us: int) -> tuple[Value, ...]:
        """Return every feature's value; `entity_values` holds at least the `borrowed` ones, each at its place."""
        return self._compute(entity_values, amount, datetime.fromtimestamp(now_us // MICROS, UTC))


class _Function:
    """The source of a function, line by line: each line binds a name to a value that later lines may use."""

    parameters = ""

    def __init__(self) -> None:
        self._names: dict[Hashable, str] = {}
        self._lines: list[str] = []

    def of(self, expressions: Sequence[Expression]) -> Callable[..., tuple[Value, ...]]:
        """Return the function that computes these expressions."""
        results = [self._name(expression) for expression in expressions]
        body = "".join(f"    {line}\n" for line in [*self._lines, f"return ({''.join(f'{r}, ' for r in results)})"])
        known = {"rows_in": rows_in, "sqrt": sqrt, "slope": _slope}
        exec(f"def compute({self.parameters}):\n{body}", known)  # noqa: S102 - of what a plan holds, as said above
        compute: Callable[..., tuple[Value, ...]] = known["compute"]  # type: ignore[assignment]
        return compute

    def _name(self, expression: Expression) -> str:
        """Return the variable that holds an expression's value."""
        match expression:
            case Quotient(one, other):
                upper, lower = self._name(one), self._name(other)
                return self._let(expression, f"None if {upper} is None or not {lower} else {upper} / {lower}")
            case Difference(one, other):
                left, right = self._name(one), self._name(other)
                return self._let(expression, f"None if {left} is None or {right} is None else {left} - {right}")
        raise TypeError(f"{expression} is not computed here")

    def _let(self, key: Hashable, source: str) -> str:
        """Return the variable for the value of `source`; an expression that has one already is not computed again."""
        if key not in self._names:
            self._lines.append(f"{self._new(key)} = {source}")
        return self._names[key]

    def _new(self, key: Hashable) -> str:
        return self._names.setdefault(key, f"v{len(self._names)}")


class _StateFunction(_Function):
    """A function of a state's slots and tiles, and of a time."""

    parameters = "slots, tiles, now"

    def __init__(self, plan: EntityPlan) -> None:
        super().__init__()
        self._plan = plan
        self._unit = plan.unit
        self._lines.append(f"{''.join(f'{self._new(aggregate)}, ' for aggregate in plan.slots)} = slots")

    def of(self, expressions: Sequence[Expression]) -> Callable[..., tuple[Value, ...]]:
        """Return the function that computes these expressions."""
        self._sum_windows(expressions)
        return super().of(expressions)

    def _sum_windows(self, expressions: Sequence[Expression]) -> None:
        """Sum the columns of every window that the expressions use."""
        asked: dict[tuple[int, Window], dict[int, Total]] = {}
        totals = [part for expression in expressions for part in parts_of(expression) if isinstance(part, Total)]
        for total in totals:
            if total.window is not None:
                place = next(i for i, t in enumerate(self._plan.tile_sets) if t.hop_us == total.window.hop_us)
                column = 1 + self._plan.tile_sets[place].columns.index(total.aggregate)
                asked.setdefault((place, total.window), {})[column] = total
        for (place, window), columns in asked.items():
            width = 1 + len(self._plan.tile_sets[place].columns)
            names = {column: self._new((total.aggregate, window)) for column, total in columns.items()}
            self._lines += [
                f"rows = tiles[{place}]",
                f"first = now // {window.hop_us} - {window.tiles - 1}",
                # The common case, no event in the window, costs no call.
                "if rows and rows[0] >= first:",
                f"    end = rows_in(rows, {width}, first)",
                *(f"    {name} = sum(rows[{column}:end:{width}])" for column, name in names.items()),
                "else:",
                f"    {' = '.join(names.values())} = 0",
            ]

    def _name(self, expression: Expression) -> str:
        match expression:
            case Total(aggregate):
                return self._scaled(self._raw(expression), aggregate)
            case Extreme(aggregate):
                return self._scaled(self._names[aggregate], aggregate)
            case Edge(aggregate):
                edge = self._names[aggregate]
                return self._let(expression, f"None if {edge} is None else {edge}[2] / {self._unit(aggregate)}")
            case Since(aggregate, unit_us):
                at = self._names[aggregate]
                return self._let(expression, f"None if {at} is None else (now - {at}) / {unit_us}")
            case Spacing(first, last, count, unit_us):
                begin, end, n = (self._names[aggregate] for aggregate in (first, last, count))
                return self._let(expression, f"None if {n} < 2 else ({end} - {begin}) / (({n} - 1) * {unit_us})")
            case Deviation(count, total, squares):
                n, x, xx = map(self._raw, (count, total, squares))
                # Exact integers up to the last division, so nothing cancels.
                spread = f"sqrt(({n} * {xx} - {x} ** 2) / ({n} * ({n} - 1)))"
                return self._let(expression, f"None if {n} < 2 else {spread} / {self._unit(total.aggregate)}")
            case Slope(count, total, times, squares, products, first):
                parts = ", ".join(self._names[part] for part in (count, total, times, squares, products, first))
                return self._let(expression, f"slope(({parts}), {self._unit(total)})")
        return super()._name(expression)

    def _raw(self, total: Total) -> str:
        """Return the variable of a count or a sum in its integer unit."""
        return self._names[total.aggregate if total.window is None else (total.aggregate, total.window)]

    def _scaled(self, raw: str, aggregate: Aggregate) -> str:
        """Convert from the column's integer unit to its own unit."""
        unit = self._unit(aggregate) if KINDS[aggregate.kind].in_column_unit else 1
        return raw if unit == 1 else self._let(("scaled", raw), f"None if {raw} is None else {raw} / {unit}")


class _RequestFunction(_Function):
    """A function of the entities' values, the amount and the time."""

    parameters = "values, amount, moment"

    def __init__(self, places: Mapping[str, Any]) -> None:
        super().__init__()
        self._places = places

    def _name(self, expression: Expression) -> str:
        match expression:
            case Asked():
                return "amount"
            case CalendarPart("hour"):
                return self._let(expression, "moment.hour")
            case CalendarPart():
                return self._let(expression, "moment.weekday()")
            case Borrowed(name):
                return self._let(expression, f"values[{self._places.get(name, name)!r}]")
        return super()._name(expression)


def _slope(parts: tuple[int, int, int, int, int, int], unit: int) -> Value:
    n, x, t, tt, tx, first_us = parts
    if n < 3:
        return None
    spread = n * tt - t * t
    return (n * tx - t * x) * time_unit_us(first_us) / (spread * unit) if spread else 0.0


def time_unit_us(first_us: int) -> int:
    """Return the unit, µs, in which Featuretools' Trend measures time: chosen by the first event's time."""
    second_us = first_us - first_us % MICROS
    return next((unit_us for unit_us in (DAY_US, HOUR_US, MINUTE_US) if second_us % unit_us == 0), MICROS)
