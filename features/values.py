"""From a state and a time to feature values: the same formulas for Feast, the server and the tests.

A plan becomes a short program over registers. The first registers are the state's slots, then come the sums of each
window, then whatever is computed from registers before it; what two features share is computed once.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime
from math import sqrt
from operator import itemgetter
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

__all__ = ["EntityValues", "RequestValues", "Value", "picker"]

Value = int | float | None
"""A feature's value; None is null: there is nothing to say."""

_Registers = list[Any]
_Step = Callable[[_Registers, int], Any]
_Windowed = tuple[int, int, Callable[[int], int], tuple[int, ...], list[int]]


def picker(places: Sequence[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """A function that picks these places (indices or keys) of what it is given, as a tuple."""
    if len(places) < 2:  # of a single place itemgetter gives the item, not a tuple
        return lambda values: tuple(values[place] for place in places)
    return itemgetter(*places)


class EntityValues:
    """Computes the features of one entity, in the plan's order."""

    def __init__(self, plan: EntityPlan, names: Sequence[str] | None = None) -> None:
        wanted = plan.features if names is None else [f for f in plan.features if f.name in frozenset(names)]
        self.algebra = Algebra(plan)
        self.names = tuple(feature.name for feature in wanted)
        self._empty = self.algebra.empty()
        compiler = _Compiler(plan, [feature.expression for feature in wanted])
        self._windows = compiler.windows
        self._steps = compiler.steps
        self._pick = picker(compiler.places)

    def get(self, state: State | None, now_us: int) -> tuple[Value, ...]:
        """Every feature's value at a time, which a state answers from its newest event on: an earlier time (a
        producer's clock ran ahead) counts as that event's. None is an entity that nobody has seen."""
        if state is None:
            state = self._empty
        now_us = max(now_us, self.algebra.last_event(state) or 0)
        registers = state.slots.copy()
        for place, width, first_tile, columns, nothing in self._windows:
            rows = state.tiles[place]
            end = rows_in(rows, width, first_tile(now_us))
            registers += [sum(rows[column:end:width]) for column in columns] if end else nothing
        for step in self._steps:
            registers.append(step(registers, now_us))
        return self._pick(registers)


class _Compiler:
    """Turns expressions into registers: `places` says where each one's value stands when all steps are done.

    `windows` are (tile set, the width of its rows, the window's first tile at a time, its columns, a 0 for each);
    `steps` compute a register each, in order.
    """

    def __init__(self, plan: EntityPlan, expressions: Sequence[Expression]) -> None:
        self._plan = plan
        self._places: dict[Hashable, int] = {aggregate: place for place, aggregate in enumerate(plan.slots)}
        self.steps: list[_Step] = []
        self.windows = self._window_sums(expressions)
        self._next = len(self._places)
        self.places = [self._place(expression) for expression in expressions]

    def _window_sums(self, expressions: Sequence[Expression]) -> list[_Windowed]:
        """Registers for every window that is asked about; all its columns are summed up to where it ends."""
        asked: dict[tuple[int, Window], dict[int, Total]] = {}
        for total in _totals(expressions):
            if total.window is not None:
                place = next(i for i, t in enumerate(self._plan.tile_sets) if t.hop_us == total.window.hop_us)
                column = 1 + self._plan.tile_sets[place].columns.index(total.aggregate)
                asked.setdefault((place, total.window), {})[column] = total
        windows: list[_Windowed] = []
        for (place, window), columns in asked.items():
            for total in columns.values():
                self._places[total.aggregate, window] = len(self._places)
            width = 1 + len(self._plan.tile_sets[place].columns)
            windows.append((place, width, window.first_tile, tuple(columns), [0] * len(columns)))
        return windows

    def _add(self, key: Hashable, step: _Step) -> int:
        """The register that holds what `step` computes; one that is there already is not computed again."""
        if key not in self._places:
            self._places[key] = self._next
            self._next += 1
            self.steps.append(step)
        return self._places[key]

    def _slot(self, aggregate: Aggregate) -> int:
        return self._places[aggregate]

    def _raw(self, total: Total) -> int:
        """A count or a sum in its integer unit."""
        return self._places[total.aggregate if total.window is None else (total.aggregate, total.window)]

    def _place(self, expression: Expression) -> int:
        match expression:
            case Total(aggregate):
                return self._scaled(self._raw(expression), aggregate)
            case Extreme(aggregate):
                return self._scaled(self._slot(aggregate), aggregate)
            case Edge(aggregate):
                return self._add(expression, _edge(self._slot(aggregate), UNITS[aggregate.column]))
            case Since(aggregate, unit_us):
                return self._add(expression, _since(self._slot(aggregate), unit_us))
            case Spacing():
                first, last, gaps = map(self._slot, (expression.first, expression.last, expression.count))
                return self._add(expression, _spacing(first, last, gaps, expression.unit_us))
            case Deviation(count, total, squares):
                n, x, xx = map(self._raw, (count, total, squares))
                return self._add(expression, _deviation(n, x, xx, UNITS[total.aggregate.column]))
            case Slope():
                return self._add(expression, self._slope(expression))
            case Quotient(upper, lower):
                return self._add(expression, _quotient(self._place(upper), self._place(lower)))
            case Difference(left, right):
                return self._add(expression, _difference(self._place(left), self._place(right)))
        raise TypeError(f"{expression} is not computed from a state")

    def _scaled(self, raw: int, aggregate: Aggregate) -> int:
        """In the column's own unit rather than its integer unit."""
        unit = UNITS.get(aggregate.column, 1) if aggregate.kind in ("sum", "min", "max") else 1
        return raw if unit == 1 else self._add(("scaled", raw), _over_unit(raw, unit))

    def _slope(self, of: Slope) -> _Step:
        parts = (of.count, of.total, of.time_sum, of.time_squares, of.time_products, of.first)
        pick = picker([self._slot(aggregate) for aggregate in parts])
        unit = UNITS[of.total.column]

        def step(registers: _Registers, _now: int) -> Value:
            n, x, t, tt, tx, first = pick(registers)
            if n < 3:
                return None
            spread = n * tt - t * t
            return (n * tx - t * x) * time_unit_us(first) / (spread * unit) if spread else 0.0

        return step


def _totals(expressions: Sequence[Expression]) -> list[Total]:
    """Every total in the expressions, however deep."""
    found: list[Total] = []
    for expression in expressions:
        match expression:
            case Total():
                found.append(expression)
            case Deviation(count, total, squares):
                found += (count, total, squares)
            case Quotient(one, other) | Difference(one, other):
                found += _totals((one, other))
    return found


def time_unit_us(first_us: int) -> int:
    """The unit in which Featuretools' Trend measures time, chosen by the first event's (featuretools.utils)."""
    seconds = first_us // MICROS
    return next((unit for unit in (86_400, 3_600, 60) if seconds % unit == 0), 1) * MICROS


def _over_unit(place: int, unit: int) -> _Step:
    def step(registers: _Registers, _now: int) -> Value:
        value = registers[place]
        return None if value is None else value / unit

    return step


def _edge(place: int, unit: int) -> _Step:
    def step(registers: _Registers, _now: int) -> Value:
        edge = registers[place]
        return None if edge is None else edge[2] / unit

    return step


def _since(place: int, unit_us: int) -> _Step:
    def step(registers: _Registers, now: int) -> Value:
        at = registers[place]
        return None if at is None else (now - at) / unit_us

    return step


def _spacing(first: int, last: int, count: int, unit_us: int) -> _Step:
    def step(registers: _Registers, _now: int) -> Value:
        gaps = registers[count] - 1
        return None if gaps < 1 else (registers[last] - registers[first]) / (gaps * unit_us)

    return step


def _deviation(count: int, total: int, squares: int, unit: int) -> _Step:
    def step(registers: _Registers, _now: int) -> Value:
        n = registers[count]
        if n < 2:
            return None
        # Exact integers up to the last division, so nothing cancels.
        return sqrt((n * registers[squares] - registers[total] ** 2) / (n * (n - 1))) / unit

    return step


def _quotient(upper: int, lower: int) -> _Step:
    def step(registers: _Registers, _now: int) -> Value:
        over, under = registers[upper], registers[lower]
        return None if over is None or not under else over / under

    return step


def _difference(left: int, right: int) -> _Step:
    return lambda registers, _now: _less(registers[left], registers[right])


def _over(upper: Value, lower: Value) -> Value:
    return None if upper is None or not lower else upper / lower


def _less(left: Value, right: Value) -> Value:
    return None if left is None or right is None else left - right


_Ask = Callable[[Any, float | None, datetime], Value]


class RequestValues:
    """Computes the features known only when asked, from the entities' values, the amount and the time.

    `places` says under which key (an index, say) an entity's value stands in what `get` is given; by default, its name.
    """

    def __init__(self, plan: Plan, places: Mapping[str, Any] | None = None) -> None:
        self.names = tuple(feature.name for feature in plan.request)
        self._features = plan.request
        self._asks = [_ask(feature, feature.expression, places or {}) for feature in plan.request]

    @property
    def borrowed(self) -> tuple[str, ...]:
        """The entities' features that these are computed from."""
        return tuple(dict.fromkeys(name for feature in self._features for name in _borrowed(feature.expression)))

    def get(self, entity_values: Any, amount: float | None, now_us: int) -> list[Value]:
        """Every feature's value; `entity_values` holds at least the `borrowed` ones, each at its place."""
        moment = datetime.fromtimestamp(now_us // MICROS, UTC)
        return [ask(entity_values, amount, moment) for ask in self._asks]


def _ask(feature: Feature, expression: Expression, places: Mapping[str, Any]) -> _Ask:
    match expression:
        case Asked():
            return lambda _values, amount, _moment: amount
        case CalendarPart("hour"):
            return lambda _values, _amount, moment: moment.hour
        case CalendarPart():
            return lambda _values, _amount, moment: moment.weekday()
        case Borrowed(name):
            place = places.get(name, name)
            return lambda values, _amount, _moment: values[place]
        case Quotient(upper, lower):
            over, under = _ask(feature, upper, places), _ask(feature, lower, places)
            return lambda values, amount, moment: _over(over(values, amount, moment), under(values, amount, moment))
        case Difference(one, other):
            left, right = _ask(feature, one, places), _ask(feature, other, places)
            return lambda values, amount, moment: _less(left(values, amount, moment), right(values, amount, moment))
    raise TypeError(f"feature {feature.name}: {expression} is not computed from a request")


def _borrowed(expression: Expression) -> list[str]:
    match expression:
        case Borrowed(name):
            return [name]
        case Quotient(left, right) | Difference(left, right):
            return _borrowed(left) + _borrowed(right)
    return []
