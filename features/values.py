"""From a state and a time to feature values: the same formulas for Feast, the server and the tests."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import sqrt
from typing import Any

from data.event import MICROS
from features.plan import (
    UNITS,
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
    Feature,
    Plan,
    Quotient,
    Since,
    Slope,
    Spacing,
    Total,
    Window,
)
from features.state import Algebra, State
from features.tiles import rows_in

__all__ = ["EntityValues", "RequestValues", "Value"]

Value = int | float | None
"""A feature's value; None is null: there is nothing to say."""

Ends = Sequence[int]
_Read = Callable[[State, int, Ends], Any]


class EntityValues:
    """Computes the features of one entity, in the plan's order."""

    def __init__(self, plan: EntityPlan, names: Sequence[str] | None = None) -> None:
        wanted = plan.features if names is None else [f for f in plan.features if f.name in frozenset(names)]
        self.algebra = Algebra(plan)
        self.names = tuple(feature.name for feature in wanted)
        self._empty = self.algebra.empty()
        compiler = _Compiler(plan)
        self._reads = [compiler.read(feature.expression) for feature in wanted]
        self._windows = compiler.windows

    def get(self, state: State | None, now_us: int) -> list[Value]:
        """Every feature's value at a time, which a state answers from its newest event on: an earlier time (a
        producer's clock ran ahead) counts as that event's. None is an entity that nobody has seen."""
        if state is None:
            state = self._empty
        now_us = max(now_us, self.algebra.last_event(state) or 0)
        ends = [rows_in(state.tiles[place], width, window.first_tile(now_us)) for place, width, window in self._windows]
        return [read(state, now_us, ends) for read in self._reads]


class _Compiler:
    """Turns expressions into functions of (state, now, where each window ends in its rows)."""

    def __init__(self, plan: EntityPlan) -> None:
        self._plan = plan
        self.windows: list[tuple[int, int, Window]] = []

    def read(self, expression: Expression) -> _Read:
        match expression:
            case Total(aggregate, None):
                return _scaled(self._slot(aggregate), aggregate)
            case Total(aggregate, Window() as window):
                return _scaled(self._windowed(aggregate, window), aggregate)
            case Extreme(aggregate):
                return _scaled(self._slot(aggregate), aggregate)
            case Edge(aggregate):
                return self._edge(aggregate)
            case Since(aggregate, unit_us):
                return self._since(aggregate, unit_us)
            case Spacing():
                return self._spacing(expression)
            case Deviation():
                return self._deviation(expression)
            case Slope():
                return self._slope(expression)
            case Quotient(upper, lower):
                return _quotient(self.read(upper), self.read(lower))
            case Difference(left, right):
                return _difference(self.read(left), self.read(right))
        raise TypeError(f"{expression} is not computed from a state")

    def _slot(self, aggregate: Aggregate) -> _Read:
        slot = self._plan.slots.index(aggregate)
        return lambda state, _now, _ends: state.slots[slot]

    def _windowed(self, aggregate: Aggregate, window: Window) -> _Read:
        place = next(i for i, tiles in enumerate(self._plan.tile_sets) if tiles.hop_us == window.hop_us)
        columns = self._plan.tile_sets[place].columns
        column, width = 1 + columns.index(aggregate), 1 + len(columns)
        if (place, width, window) not in self.windows:
            self.windows.append((place, width, window))
        end = self.windows.index((place, width, window))
        return lambda state, _now, ends: sum(state.tiles[place][column : ends[end] : width])

    def _raw(self, total: Total) -> _Read:
        """A count or a sum in its integer unit."""
        if total.window is None:
            return self._slot(total.aggregate)
        return self._windowed(total.aggregate, total.window)

    def _edge(self, aggregate: Aggregate) -> _Read:
        slot, unit = self._plan.slots.index(aggregate), UNITS[aggregate.column]

        def read(state: State, _now: int, _ends: Ends) -> Value:
            edge = state.slots[slot]
            return None if edge is None else edge[2] / unit

        return read

    def _since(self, aggregate: Aggregate, unit_us: int) -> _Read:
        slot = self._plan.slots.index(aggregate)

        def read(state: State, now: int, _ends: Ends) -> Value:
            at = state.slots[slot]
            return None if at is None else (now - at) / unit_us

        return read

    def _spacing(self, of: Spacing) -> _Read:
        first, last, count = (self._plan.slots.index(aggregate) for aggregate in (of.first, of.last, of.count))
        unit_us = of.unit_us

        def read(state: State, _now: int, _ends: Ends) -> Value:
            slots = state.slots
            gaps = slots[count] - 1
            return None if gaps < 1 else (slots[last] - slots[first]) / (gaps * unit_us)

        return read

    def _deviation(self, of: Deviation) -> _Read:
        count, total, squares = self._raw(of.count), self._raw(of.total), self._raw(of.squares)
        unit = UNITS[of.total.aggregate.column]

        def read(state: State, now: int, ends: Ends) -> Value:
            n = count(state, now, ends)
            if n < 2:
                return None
            # Exact integers up to the last division, so nothing cancels.
            return sqrt((n * squares(state, now, ends) - total(state, now, ends) ** 2) / (n * (n - 1))) / unit

        return read

    def _slope(self, of: Slope) -> _Read:
        parts = (of.count, of.total, of.time_sum, of.time_squares, of.time_products, of.first)
        places = [self._plan.slots.index(aggregate) for aggregate in parts]
        unit = UNITS[of.total.column]

        def read(state: State, _now: int, _ends: Ends) -> Value:
            n, x, t, tt, tx, first = (state.slots[place] for place in places)
            if n < 3:
                return None
            spread = n * tt - t * t
            return (n * tx - t * x) * time_unit_us(first) / (spread * unit) if spread else 0.0

        return read


def time_unit_us(first_us: int) -> int:
    """The unit in which Featuretools' Trend measures time, chosen by the first event's (featuretools.utils)."""
    seconds = first_us // MICROS
    return next((unit for unit in (86_400, 3_600, 60) if seconds % unit == 0), 1) * MICROS


def _scaled(read: _Read, aggregate: Aggregate) -> _Read:
    """In the column's own unit rather than its integer unit."""
    unit = UNITS.get(aggregate.column, 1) if aggregate.kind in ("sum", "min", "max") else 1
    if unit == 1:
        return read

    def scaled(state: State, now: int, ends: Ends) -> Value:
        value = read(state, now, ends)
        return None if value is None else value / unit

    return scaled


def _quotient(upper: _Read, lower: _Read) -> _Read:
    def read(state: State, now: int, ends: Ends) -> Value:
        return _over(upper(state, now, ends), lower(state, now, ends))

    return read


def _difference(left: _Read, right: _Read) -> _Read:
    def read(state: State, now: int, ends: Ends) -> Value:
        return _less(left(state, now, ends), right(state, now, ends))

    return read


def _over(upper: Value, lower: Value) -> Value:
    return None if upper is None or not lower else upper / lower


def _less(left: Value, right: Value) -> Value:
    return None if left is None or right is None else left - right


class RequestValues:
    """Computes the features known only when asked, from the entities' values, the amount and the time."""

    def __init__(self, plan: Plan) -> None:
        self.names = tuple(feature.name for feature in plan.request)
        self._features = plan.request

    @property
    def borrowed(self) -> tuple[str, ...]:
        """The entities' features that these are computed from."""
        return tuple(dict.fromkeys(name for feature in self._features for name in _borrowed(feature.expression)))

    def get(self, entity_values: dict[str, Value], amount: float | None, now_us: int) -> list[Value]:
        """Every feature's value; `entity_values` holds at least the `borrowed` ones, by name."""
        moment = datetime.fromtimestamp(now_us // MICROS, UTC)
        return [_ask(feature, entity_values, amount, moment) for feature in self._features]


def _ask(feature: Feature, values: dict[str, Value], amount: float | None, moment: datetime) -> Value:
    def of(expression: Expression) -> Value:
        match expression:
            case Asked():
                return amount
            case CalendarPart(part):
                return moment.hour if part == "hour" else moment.weekday()
            case Borrowed(name):
                return values[name]
            case Quotient(upper, lower):
                return _over(of(upper), of(lower))
            case Difference(left, right):
                return _less(of(left), of(right))
        raise TypeError(f"feature {feature.name}: {expression} is not computed from a request")

    return of(feature.expression)


def _borrowed(expression: Expression) -> list[str]:
    match expression:
        case Borrowed(name):
            return [name]
        case Quotient(left, right) | Difference(left, right):
            return _borrowed(left) + _borrowed(right)
    return []
