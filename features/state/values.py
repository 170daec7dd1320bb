"""Compute feature values from a state and a time: the same formulas for Feast, the server and the tests.

A plan is compiled to the source of a Python function like one that a person would write: a local variable for each
number in the state, for each sum over a window and for each intermediate value. A subexpression that two features share
is computed once. Only the plan's own integers and names are written into the source, never data.

Most values hold for a while: one without any time until the next event, a window's until its next tile begins. So an
entity's function is two, of what holds in a tile (`Held`, which a server keeps) and of what moves with time.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial, reduce
from itertools import accumulate
from math import gcd, sqrt
from operator import itemgetter
from typing import Any

from data.units import DAY_US, HOUR_US, MICROS, MINUTE_US
from features.kinds import KINDS
from features.plan.plan import (
    Aggregate,
    Asked,
    Borrowed,
    CalendarPart,
    Decayed,
    Deviation,
    Difference,
    Distinct,
    Edge,
    EntityPlan,
    Expression,
    Extreme,
    Feature,
    OrderValue,
    Plan,
    Quantile,
    Quotient,
    Recent,
    SessionValue,
    Since,
    SinceRecent,
    Slope,
    Smoothed,
    Spacing,
    Tiled,
    Top,
    Total,
    Window,
    parts_of,
)
from features.state.algebra import Algebra, State
from features.summaries import (
    DECAY_UNIT,
    decayed,
    distinct_since,
    events_of_last_session,
    mean_session,
    order_times,
    quantile,
    repeated,
    std_gap,
    top,
)

__all__ = ["EntityValues", "Held", "RequestValues", "Value", "picker"]

Value = int | float | None
"""A feature's value; None is null (undefined)."""


def picker(places: Sequence[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that picks these places (indices or keys) of its argument, as a tuple."""
    if len(places) < 2:  # of a single place itemgetter returns the item, not a tuple
        return lambda values: tuple(values[place] for place in places)
    return itemgetter(*places)


def _wanted(features: Sequence[Feature], names: Sequence[str] | None) -> Sequence[Feature]:
    return features if names is None else [feature for feature in features if feature.name in frozenset(names)]


class Held:
    """The numbers from which a state's features are computed at any time of one tile of the shortest hop."""

    __slots__ = ("numbers", "of", "tile")

    def __init__(self) -> None:
        self.numbers: tuple[Any, ...] = ()
        self.of: EntityValues | None = None
        self.tile = 0


class EntityValues:
    """Computes the features of one entity, or those of `names`, in the plan's order."""

    def __init__(self, plan: EntityPlan, names: Sequence[str] | None = None) -> None:
        wanted = _wanted(plan.features, names)
        self.algebra = Algebra(plan)
        self.names = tuple(feature.name for feature in wanted)
        self._empty = self.algebra.empty()
        expressions = [feature.expression for feature in wanted]
        hops = {part.hop_us for expression in expressions for part in parts_of(expression) if isinstance(part, Window)}
        self._tile_us = gcd(*hops) or DAY_US
        self._hold, self._move = _StateFunction(plan).halves_of(expressions)

    def get(self, state: State | None, now_us: int, held: Held | None = None) -> tuple[Value, ...]:
        """Return every feature's value at a time, µs; `state` None is an entity without events.

        A state answers from its newest event on: an earlier time (a producer's clock ran ahead) counts as that event's.
        `held` is what an earlier call for the same state left there.
        """
        if state is None:
            state = self._empty
        now_us = max(now_us, self.algebra.last_event(state) or 0)
        tile = now_us // self._tile_us
        if held is None:
            held = Held()
        if held.tile != tile or held.of is not self:
            held.numbers = self._hold(state.slots, state.tiles, tile * self._tile_us)
            held.tile, held.of = tile, self
        return self._move(held.numbers, now_us)


class RequestValues:
    """Computes the features of the request, or those of `names`, from the entities' values, its measures and the time.

    `places` gives the key (an index, say) of an entity's value in the argument of `get`; by default, its name.
    """

    def __init__(
        self, plan: Plan, places: Mapping[str, Any] | None = None, *, names: Sequence[str] | None = None
    ) -> None:
        wanted = _wanted(plan.request, names)
        self.names = tuple(feature.name for feature in wanted)
        expressions = [feature.expression for feature in wanted]
        self._compute = _RequestFunction(places or {}, plan.schema.request_columns).of(expressions)
        parts = [part for expression in expressions for part in parts_of(expression)]
        self.borrowed = tuple(dict.fromkeys(part.feature for part in parts if isinstance(part, Borrowed)))
        """The entities' features that the request's features are computed from."""

    def get(self, entity_values: Any, asked: Sequence[float | None], now_us: int) -> tuple[Value, ...]:
        """Return every feature's value.

        `entity_values` holds at least the `borrowed` ones, each at its place; `asked` are the request's measures, in
        the order of the schema's `asked_measures`.
        """
        return self._compute(entity_values, asked, datetime.fromtimestamp(now_us // MICROS, UTC))


class _Function:
    """The source of a function, line by line: each line binds a name to a value that later lines may use."""

    parameters = ""

    def __init__(self) -> None:
        self._names: dict[Hashable, str] = {}
        self._lines: list[str] = []
        self._merges: dict[str, Any] = {}
        """Functions that merge the numbers of a window's tiles, by their names in the source."""

    def of(self, expressions: Sequence[Expression]) -> Callable[..., tuple[Value, ...]]:
        """Return the function that computes these expressions."""
        results = [self._name(expression) for expression in expressions]
        return self._made(self.parameters, self._lines, results)

    def _made(self, parameters: str, lines: Sequence[str], results: Sequence[str]) -> Callable[..., tuple[Any, ...]]:
        """Return the function of these parameters that runs the lines and returns the variables `results`."""
        body = "".join(f"    {line}\n" for line in [*lines, f"return {_tuple_of(results)}"])
        names = {"sqrt": sqrt, "slope": _slope} | _READS | self._merges
        exec(f"def compute({parameters}):\n{body}", names)  # noqa: S102 - of what a plan holds, as said above
        compute: Callable[..., tuple[Any, ...]] = names["compute"]
        return compute

    def _name(self, expression: Expression) -> str:
        """Return the variable that holds an expression's value."""
        match expression:
            case Quotient(first, second):
                upper, lower = self._name(first), self._name(second)
                return self._let(expression, f"None if {upper} is None or not {lower} else {upper} / {lower}")
            case Difference(first, second):
                left, right = self._name(first), self._name(second)
                return self._let(expression, f"None if {left} is None or {right} is None else {left} - {right}")
            case Smoothed(first, second, rate, weight):
                upper, lower = self._name(first), self._name(second)
                smoothed = f"({upper} + {rate * weight!r}) / ({lower} + {weight!r})"
                return self._let(expression, f"None if {upper} is None or {lower} is None else {smoothed}")
        raise TypeError(f"{expression} is not computed here")

    def _let(self, key: Hashable, source: str) -> str:
        """Return the variable for the value of `source`; an expression that has one already is not computed again."""
        if key not in self._names:
            self._lines.append(f"{self._new(key)} = {source}")
        return self._names[key]

    def _new(self, key: Hashable) -> str:
        return self._names.setdefault(key, f"v{len(self._names)}")


class _StateFunction(_Function):
    """Two functions: of a state's slots and tiles in the tile that begins `then`; of what that returns, and `now`."""

    def __init__(self, plan: EntityPlan) -> None:
        super().__init__()
        self._plan = plan
        self._unit = plan.unit
        self._lines.append(f"{_tuple_of([self._new(aggregate) for aggregate in plan.slots])} = slots")
        self._moving_lines: list[str] = []
        self._moving = {"now"}

    def halves_of(
        self, expressions: Sequence[Expression]
    ) -> tuple[Callable[..., tuple[Any, ...]], Callable[..., tuple[Value, ...]]]:
        """Return the functions that compute these expressions."""
        self._read_windows(expressions)
        results = [self._name(expression) for expression in expressions]
        used = dict.fromkeys(_VARIABLE.findall("\n".join([*self._moving_lines, *results])))
        held = [name for name in used if name not in self._moving]
        return (
            self._made("slots, tiles, then", self._lines, held),
            self._made("held, now", [f"{_tuple_of(held)} = held", *self._moving_lines], results),
        )

    def _let(self, key: Hashable, source: str) -> str:
        if key not in self._names and not self._moving.isdisjoint(_WORD.findall(source)):
            self._moving_lines.append(f"{self._new(key)} = {source}")
            self._moving.add(self._names[key])
        return super()._let(key, source)

    def _read_windows(self, expressions: Sequence[Expression]) -> None:
        """Sum or merge the columns of every window that the expressions use."""
        wanted: dict[tuple[int, Window], dict[int, Aggregate]] = {}
        for part in (part for expression in expressions for part in parts_of(expression)):
            if isinstance(part, Tiled) and part.window is not None:
                place, column = self._tiles(part.aggregate, part.window)
                if isinstance(part, Decayed):
                    width, tile = 1 + len(self._plan.tile_sets[place].columns), f"then // {part.window.hop_us}"
                    self._let((Decayed, part), f"decayed(tiles[{place}], {width}, {column}, {tile})")
                else:
                    wanted.setdefault((place, part.window), {})[column] = part.aggregate
        for place in dict.fromkeys(place for place, _ in wanted):
            width, rows = 1 + len(self._plan.tile_sets[place].columns), f"tiles[{place}]"
            # Most states have no tile but the newest, which costs no call.
            self._let(("ages", place), f"list(accumulate({rows}[{width}::{width}])) if len({rows}) > {width} else ()")
        for (place, window), columns in wanted.items():
            width = 1 + len(self._plan.tile_sets[place].columns)
            names = {column: self._new((aggregate, window)) for column, aggregate in columns.items()}
            starts = [f"    {names[column]} = {KINDS[aggregate.kind].start}" for column, aggregate in columns.items()]
            reads = [
                f"    {names[column]} = {self._joined(aggregate, f'rows[{column}:end:{width}]')}"
                for column, aggregate in columns.items()
            ]
            self._lines += [
                f"rows = tiles[{place}]",
                f"first = {_tile_of(window)}",
                # The common case, no event in the window, costs no call.
                "if rows and rows[0] >= first:",
                f"    end = {width} * (1 + bisect_right({self._names['ages', place]}, rows[0] - first))",
                *reads,
                "else:",
                *starts,
            ]

    def _tiles(self, aggregate: Aggregate, window: Window) -> tuple[int, int]:
        """Return the place of an aggregate's tile set, and its column there."""
        place = next(i for i, t in enumerate(self._plan.tile_sets) if t.hop_us == window.hop_us)
        return place, 1 + self._plan.tile_sets[place].columns.index(aggregate)

    def _joined(self, aggregate: Aggregate, numbers: str) -> str:
        """Return the source of the number of some tiles."""
        if KINDS[aggregate.kind].additive:
            return f"sum({numbers})"
        name = f"merge_{aggregate.kind}_{aggregate.parameter}"
        self._merges[name] = partial(_merged, KINDS[aggregate.kind].merge, aggregate.parameter)
        return f"{name}({numbers})"

    def _name(self, expression: Expression) -> str:
        match expression:
            case Total(aggregate) | Extreme(aggregate):
                return self._scaled(self._raw(expression), aggregate)
            case Difference(Total() as left, Total() as right) if unit := self._plan.common_unit(left, right):
                return self._let(expression, f"({self._raw(left)} - {self._raw(right)}) / {unit}")
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
        return self._listed(expression)

    def _listed(self, expression: Expression) -> str:
        """Return the variable that holds the value of what is read from a list, or from tiles by their age."""
        match expression:
            case Recent(aggregate, number):
                values, unit = self._names[aggregate], self._unit(aggregate)
                recent = f"{values}[-{number}][1] / {unit} if {values} and len({values}) >= {number} else None"
                return self._let(expression, recent)
            case SinceRecent(aggregate, number, unit_us):
                times = self._names[aggregate]
                since = f"(now - {times}[-{number}]) / {unit_us} if {times} and len({times}) >= {number} else None"
                return self._let(expression, since)
            case Distinct(aggregate, window):
                start = f"({_tile_of(window)}) * {window.hop_us}" if window else "0"
                return self._let(expression, f"distinct_since({self._names[aggregate]}, {start})")
            case Decayed(aggregate):
                unit = DECAY_UNIT * self._unit(aggregate)
                return self._let(expression, f"{self._names[Decayed, expression]} / {unit}")
            case SessionValue(aggregate, _, "events"):
                idle = aggregate.parameter
                return self._let(expression, f"events_of_last_session({self._raw(expression)}, now, {idle})")
            case SessionValue(_, _, "length", unit_us):
                return self._let(expression, f"mean_session({self._raw(expression)}, {unit_us})")
            case SessionValue():
                return self._let(expression, f"len({self._raw(expression)} or ())")
            case OrderValue():
                return self._of_orders(expression)
            case Top(_, number, share):
                events, total = self._let_two((expression, "top"), f"top({self._raw(expression)}, {number})")
                return self._let(expression, f"{events} / {total} if {total} else None") if share else events
            case Quantile(aggregate, per_mille):
                raw = self._let((expression, "raw"), f"quantile({self._raw(expression)}, {per_mille})")
                return self._let(expression, f"None if {raw} is None else {raw} / {self._unit(aggregate)}")
        return super()._name(expression)

    def _of_orders(self, value: OrderValue) -> str:
        """Return the variable that holds the value of what is read from the times of orders."""
        aggregate, number, unit_us = value.aggregate, value.number, value.unit_us
        times = self._let((aggregate, "times"), f"order_times({self._names[aggregate]}, {aggregate.parameter})")
        match value.what:
            case "count" if value.window:
                start = f"({_tile_of(value.window)}) * {value.window.hop_us}"
                return self._let(value, f"len({times}) - bisect_left({times}, {start})")
            case "count":
                return self._let(value, f"len({times})")
            case "gap":
                gap = f"({times}[-{number}] - {times}[-{number + 1}]) / {unit_us}"
                return self._let(value, f"{gap} if len({times}) > {number} else None")
            case "mean":
                mean = f"({times}[-1] - {times}[0]) / ((len({times}) - 1) * {unit_us})"
                return self._let(value, f"{mean} if len({times}) > 1 else None")
            case "deviation":
                return self._let(value, f"std_gap({times}, {unit_us})")
            case "settled":
                return self._let(value, f"bisect_right({times}, now - {value.span_us})")
        return self._let(value, f"repeated({times}, now - {value.span_us}, {value.span_us})")

    def _let_two(self, key: Hashable, source: str) -> tuple[str, str]:
        if (key, 0) not in self._names:
            self._lines.append(f"{self._new((key, 0))}, {self._new((key, 1))} = {source}")
        return self._names[key, 0], self._names[key, 1]

    def _raw(self, tiled: Tiled) -> str:
        """Return the variable of a number in its integer unit, over a lifetime or a window."""
        return self._names[tiled.aggregate if tiled.window is None else (tiled.aggregate, tiled.window)]

    def _scaled(self, raw: str, aggregate: Aggregate) -> str:
        """Convert from the column's integer unit to its own unit."""
        unit = self._unit(aggregate) if KINDS[aggregate.kind].in_column_unit else 1
        return raw if unit == 1 else self._let(("scaled", raw), f"None if {raw} is None else {raw} / {unit}")


class _RequestFunction(_Function):
    """A function of the entities' values, the request's measures and the time."""

    parameters = "values, asked, moment"

    def __init__(self, places: Mapping[str, Any], columns: Sequence[str]) -> None:
        super().__init__()
        self._places = places
        self._columns = columns

    def _name(self, expression: Expression) -> str:
        match expression:
            case Asked(column):
                return self._let(expression, f"asked[{self._columns.index(column)}]")
            case CalendarPart("hour"):
                return self._let(expression, "moment.hour")
            case CalendarPart():
                return self._let(expression, "moment.weekday()")
            case Borrowed(name):
                return self._let(expression, f"values[{self._places.get(name, name)!r}]")
        return super()._name(expression)


_WORD, _VARIABLE = re.compile(r"\w+"), re.compile(r"\bv\d+\b")


def _tuple_of(names: Sequence[str]) -> str:
    """Return the source of a tuple of variables."""
    return f"({''.join(f'{name}, ' for name in names)})"


def _tile_of(window: Window) -> str:
    """Return the source of the number of the oldest tile in a window."""
    return f"then // {window.hop_us} - {window.tiles - 1}"


def _merged(merge: Callable[[Any, Any, int], Any], parameter: int, numbers: Sequence[Any]) -> Any:
    """Merge the numbers of tiles, None of those without events; None where there is nothing."""
    present = [number for number in numbers if number is not None]
    return reduce(lambda left, right: merge(left, right, parameter), present) if present else None


_READS = {
    read.__name__: read
    for read in (
        accumulate,
        bisect_left,
        bisect_right,
        decayed,
        distinct_since,
        events_of_last_session,
        mean_session,
        order_times,
        quantile,
        repeated,
        std_gap,
        top,
    )
}


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
