"""Feature values at any (entity, time), computed over the event log by one set of Ibis expressions for every engine.

A value at a time follows from running totals. Every row of a spine becomes probes on its entity's time line: one at the
time asked, and one just before each window begins. One ordered pass gives every probe the totals of the events at or
before it; a window's count is the difference of two.

    events    e   e e      e    e     e
    probes           |b30d    |b7d     |t        purchases_7d = purchases(t) - purchases(b7d)

Totals are exact integers (decimals of 38 digits), so differences are exact too.
"""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import ibis
import ibis.expr.types as ir

from data.errors import DefinitionError
from features.entities import USER_PRODUCT, Entity, entity_named
from features.plan import (
    UNITS,
    Aggregate,
    Deviation,
    Difference,
    Edge,
    EntityPlan,
    Expression,
    Extreme,
    Feature,
    Quotient,
    Since,
    Slope,
    Spacing,
    Total,
    Window,
)

__all__ = ["FACT_COLUMNS", "entity_values"]

FACT_COLUMNS = ("user_id", "product_id", "event_type", "event_id", "time_us", "amount", "quantity")
"""Columns of the facts table: `time_us` int64; `amount` in micro-units and `quantity`, decimal(38, 0)."""

_EXACT = "decimal(38, 0)"


def entity_values(facts: ir.Table, spine: ir.Table, plan: EntityPlan, names: Iterable[str]) -> ir.Table:
    """The named features of one entity at every row of a spine.

    `facts` has `FACT_COLUMNS`; `spine` has the entity's join keys, `time_us` (int64) and `row` (int64, unique).
    The result has `row` and a column per feature: int64, or float64 with nulls.
    """
    wanted = frozenset(names)
    features = [feature for feature in plan.features if feature.name in wanted]
    unknown = wanted - {feature.name for feature in features}
    if unknown:
        raise DefinitionError(f"no feature of {plan.entity} is called {', '.join(sorted(unknown))}")
    return _TimeLine(facts, spine, entity_named(plan.entity), features).values()


class _TimeLine:
    """One entity's events, firsts and probes in one table, and what follows from it."""

    def __init__(self, facts: ir.Table, spine: ir.Table, entity: Entity, features: Sequence[Feature]) -> None:
        self._facts = facts
        self._spine = spine
        self._entity = entity
        self._features = features
        needs = [need for feature in features for need in _needs(feature.expression)]
        self._windows = sorted({window for _, window in needs if window})
        self._aggregates = sorted({aggregate for aggregate, _ in needs})
        self._asked = sorted({(aggregate, window) for aggregate, window in needs}, key=str)

    def values(self) -> ir.Table:
        totals = self._totals()
        columns = {f.name: self._value(f.expression, totals).cast(f.type + "64") for f in self._features}
        return totals.select("row", **columns)

    def _totals(self) -> ir.Table:
        """A row per spine row: `time_us`, and the total of every (aggregate, window or none) that is asked for."""
        rows = reduce(lambda a, b: a.union(b), [self._events(), *self._firsts(), *self._probes()])
        until_now = ibis.range_window(
            group_by=list(self._entity.join_keys), order_by="time_us", preceding=None, following=0
        )
        running = rows.mutate(
            **{
                name: _fold(a, rows[name]).over(until_now)
                for a, name in zip(self._aggregates, self._inputs, strict=True)
            }
        ).filter(ibis._.probe >= 0)
        at_time = running.probe == 0
        totals = {"time_us": running.time_us.max(where=at_time)}
        for aggregate, window in self._asked:
            column = running[self._inputs[self._aggregates.index(aggregate)]]
            total = column.arbitrary(where=at_time)
            if window is not None:
                total = total - column.arbitrary(where=running.probe == 1 + self._windows.index(window))
            totals[self._total_name(aggregate, window)] = total
        return running.group_by("row").aggregate(**totals)

    @property
    def _inputs(self) -> list[str]:
        return [f"input_{place}" for place in range(len(self._aggregates))]

    def _total_name(self, aggregate: Aggregate, window: Window | None) -> str:
        return f"total_{self._asked.index((aggregate, window))}"

    def _events(self) -> ir.Table:
        facts = self._facts
        return facts.select(
            *self._entity.join_keys,
            "time_us",
            row=_null("int64"),
            probe=ibis.literal(-1, "int8"),
            **{name: _input(a, facts) for a, name in zip(self._aggregates, self._inputs, strict=True)},
        )

    def _firsts(self) -> list[ir.Table]:
        """For each distinct count, a row at the first event of its type of each user and product together."""
        firsts = []
        for place, aggregate in enumerate(self._aggregates):
            if aggregate.kind == "distinct":
                of_type = self._facts.filter(self._facts.event_type == aggregate.where)
                first = of_type.group_by(list(USER_PRODUCT.join_keys)).aggregate(time_us=of_type.time_us.min())
                firsts.append(self._blank(first, _null("int64"), -1, one=place))
        return firsts

    def _probes(self) -> list[ir.Table]:
        spine = self._spine
        probes = [self._blank(spine, spine.row, 0)]
        for place, window in enumerate(self._windows):
            hop = window.hop_us
            # Floor division, as time is not before 1970.
            first_tile = (spine.time_us - spine.time_us % hop) // hop - (window.tiles - 1)
            before = spine.mutate(time_us=(first_tile * hop - 1).cast("int64"))
            probes.append(self._blank(before, before.row, 1 + place))
        return probes

    def _blank(self, table: ir.Table, row: ir.Value, probe: int, *, one: int | None = None) -> ir.Table:
        """Rows of `table` as rows that add nothing to any total, but 1 to that at place `one`."""
        blanks = {
            name: ibis.literal(1 if place == one else 0, "int64") if a.kind in ("count", "distinct") else _blank(a)
            for place, (a, name) in enumerate(zip(self._aggregates, self._inputs, strict=True))
        }
        return table.select(*self._entity.join_keys, "time_us", row=row, probe=ibis.literal(probe, "int8"), **blanks)

    def _value(self, expression: Expression, totals: ir.Table) -> Any:
        def of(aggregate: Aggregate, window: Window | None = None) -> Any:
            return totals[self._total_name(aggregate, window)]

        match expression:
            case Total(aggregate, window):
                return _in_unit(of(aggregate, window), aggregate)
            case Extreme(aggregate):
                return _in_unit(of(aggregate), aggregate)
            case Edge(aggregate):
                return of(aggregate)["value"].cast("float64") / UNITS[aggregate.column]
            case Since(aggregate, unit_us):
                return (totals.time_us - of(aggregate)).cast("float64") / unit_us
            case Spacing(first, last, count, unit_us):
                gaps = (of(count) - 1).nullif(0)
                spacing = (of(last) - of(first)).cast("float64") / (gaps.cast("float64") * unit_us)
                return ibis.ifelse(of(count) > 1, spacing, _null("float64"))
            case Deviation(count, total, squares):
                return self._deviation(of, count, total, squares)
            case Slope():
                return _slope(of, expression)
            case Quotient(upper, lower):
                below = self._value(lower, totals).cast("float64").nullif(0.0)
                return self._value(upper, totals).cast("float64") / below
            case Difference(left, right):
                return self._value(left, totals) - self._value(right, totals)
        raise TypeError(f"{expression} is not computed from an entity's events")

    def _deviation(self, of: Any, count: Total, total: Total, squares: Total) -> Any:
        if squares.window is None:
            return of(_running_deviation(squares.aggregate))
        n = of(count.aggregate, count.window).cast("float64")
        mean = of(total.aggregate, total.window).cast("float64") / n.nullif(0.0)
        spread = of(squares.aggregate, squares.window).cast("float64") - n * mean * mean
        deviation = (ibis.greatest(spread, 0.0) / (n - 1).nullif(0.0)).sqrt() / UNITS[total.aggregate.column]
        return ibis.ifelse(n > 1, deviation, _null("float64"))


def _slope(of: Any, slope: Slope) -> Any:
    # Decimals: the products of microseconds since 1970 would cancel in floats.
    n, x, t = (of(a).cast("float64") for a in (slope.count, slope.total, slope.time_sum))
    tt, tx = (of(a).cast("float64") for a in (slope.time_squares, slope.time_products))
    spread = tt - t * t / n.nullif(0.0)
    seconds = of(slope.first) // 1_000_000
    unit = ibis.cases((seconds % 86_400 == 0, 86_400), (seconds % 3_600 == 0, 3_600), (seconds % 60 == 0, 60), else_=1)
    steep = (tx - t * x / n.nullif(0.0)) / spread.nullif(0.0) * unit * 1e6 / UNITS[slope.total.column]
    return ibis.ifelse(n > 2, steep.fill_null(0.0), _null("float64"))


def _needs(expression: Any) -> list[tuple[Aggregate, Window | None]]:
    """The aggregates that batch needs: a lifetime deviation is one aggregate of engines, not three of ours."""
    match expression:
        case Aggregate():
            return [(expression, None)]
        case Total(aggregate, window):
            return [(aggregate, window)]
        case Deviation(_, _, Total(squares, None)):
            return [(_running_deviation(squares), None)]
    parts = [getattr(expression, name) for name in getattr(expression, "__struct_fields__", ())]
    return [need for part in parts for need in _needs(part)]


def _running_deviation(squares: Aggregate) -> Aggregate:
    """The engine's own running standard deviation, which needs no sum of squares that could overflow or cancel."""
    return Aggregate("deviation", squares.column, squares.where)


def _input(aggregate: Aggregate, facts: ir.Table) -> Any:
    """What one event adds to an aggregate."""
    value: Any = facts[aggregate.column] if aggregate.column in UNITS else None
    match aggregate.kind:
        case "count":
            given: Any = ibis.literal(1, "int64")
        case "distinct":
            return ibis.literal(0, "int64")
        case "deviation":
            given = value.cast("float64") / UNITS[aggregate.column]
        case "squares":
            given = (value * value).cast(_EXACT)
        case "time_sum":
            given = facts.time_us.cast(_EXACT)
        case "time_squares":
            given = (facts.time_us.cast(_EXACT) * facts.time_us.cast(_EXACT)).cast(_EXACT)
        case "time_products":
            given = (facts.time_us.cast(_EXACT) * value).cast(_EXACT)
        case "first_time" | "last_time":
            given = facts.time_us
        case "first" | "last":
            given = ibis.struct({"time": facts.time_us, "id": facts.event_id, "value": value})
        case _:
            given = value
    if not aggregate.where:
        return given
    return ibis.ifelse(facts.event_type == aggregate.where, given, _blank(aggregate))


def _blank(aggregate: Aggregate) -> Any:
    """What adds nothing to an aggregate."""
    match aggregate.kind:
        case "count" | "distinct":
            return ibis.literal(0, "int64")
        case "deviation":
            return _null("float64")
        case "sum" | "squares" | "time_sum" | "time_squares" | "time_products":
            return ibis.literal(0).cast(_EXACT)
        case "first_time" | "last_time":
            return _null("int64")
        case "first" | "last":
            return _null(f"struct<time: int64, id: string, value: {_EXACT}>")
    return _null(_EXACT)


def _fold(aggregate: Aggregate, column: Any) -> Any:
    match aggregate.kind:
        case "deviation":
            return column.std(how="sample")
        case "min" | "first_time" | "first":
            return column.min()
        case "max" | "last_time" | "last":
            return column.max()
    return column.sum()


def _in_unit(value: Any, aggregate: Aggregate) -> Any:
    if aggregate.kind in ("count", "distinct"):
        return value
    unit = UNITS[aggregate.column]
    return value if unit == 1 else value.cast("float64") / unit


def _null(type_: str) -> Any:
    return ibis.null(type_)
