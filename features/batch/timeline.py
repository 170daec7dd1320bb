"""Feature values at any (entity, time), computed over the event log by one set of Ibis expressions for every engine.

A value at a time follows from running totals. Every row of a spine becomes probes on its entity's time line: one at the
time asked, and one just before each window begins. The events between two probes are put together, and one ordered pass
gives every probe the totals of all at or before it; a window's count is the difference of two.

    events    e   e e      e    e     e
    probes           |b30d    |b7d     |t        purchases_7d = purchases(t) - purchases(b7d)
    together         3        1        2

Totals are exact integers (decimals of 38 digits), so differences are exact too.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

import ibis
import ibis.expr.types as ir

from data.errors import DefinitionError
from data.units import DAY_US, HOUR_US, MICROS, MINUTE_US
from features.batch.kinds import BATCH_KINDS, EXACT
from features.batch.where import met, of_entities
from features.batch.windows import start_of
from features.batch.within import OF_EVENTS, is_of_events, is_zero_over_nothing, values_within
from features.kinds import KINDS
from features.plan.plan import (
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
    Smoothed,
    Spacing,
    Total,
    Window,
    parts_of,
)

__all__ = ["entity_values"]

_NO_PROBE: dict[str, Any] = {"row": ibis.null("int64"), "probe": ibis.literal(-1, "int8")}
"""What a row of events has in the columns of probes: a probe has its row of the spine and its number, from 0."""


def entity_values(facts: ir.Table, spine: ir.Table, plan: EntityPlan, names: Iterable[str]) -> ir.Table:
    """Return the named features of one entity at every row of a spine.

    `facts` has an event's columns, with `time_us` (int64) and measures in their integer units (decimal(38, 0)); `spine`
    has the entity's join keys, `time_us` and `row` (int64, unique). The result has `row` and a column per feature:
    int64, or float64 with nulls. Raises DefinitionError for an unknown feature.
    """
    wanted = frozenset(names)
    features = [feature for feature in plan.features if feature.name in wanted]
    unknown = wanted - {feature.name for feature in features}
    if unknown:
        raise DefinitionError(f"no feature of {plan.entity} is called {', '.join(sorted(unknown))}")
    return _TimeLine(of_entities(facts, plan.join_keys, plan.schema), spine, plan, features).values()


class _TimeLine:
    """One entity's events, firsts and probes, and the totals computed from them.

    `inputs` below are columns of what an event adds, each with its aggregate.
    """

    def __init__(self, facts: ir.Table, spine: ir.Table, plan: EntityPlan, features: Sequence[Feature]) -> None:
        self._facts = facts
        self._spine = spine
        self._plan = plan
        self._keys = list(plan.join_keys)
        self._features = features
        needs = [need for feature in features for need in _needs(feature.expression)]
        self._windows = sorted({window for _, window in needs if window})
        self._inputs = {f"input_{place}": a for place, a in enumerate(sorted({aggregate for aggregate, _ in needs}))}
        self._asked = sorted({(aggregate, window) for aggregate, window in needs}, key=str)
        self._within = list(
            dict.fromkeys(
                part for f in features for part in parts_of(f.expression, whole=OF_EVENTS) if is_of_events(part)
            )
        )

    def values(self) -> ir.Table:
        totals = self._totals()
        columns = {f.name: self._value(f.expression, totals).cast(f.type + "64") for f in self._features}
        return totals.select("row", **columns)

    def _totals(self) -> ir.Table:
        """Return a row per spine row: `time_us`, and the total of every (aggregate, window or None) that is needed."""
        merging = {name: a for name, a in self._inputs.items() if BATCH_KINDS[a.kind].merges}
        others = {name: a for name, a in self._inputs.items() if name not in merging}
        parts = [*values_within(self._facts, self._spine, self._plan, self._within)]
        if merging:
            probes = self._probes(merging)
            parts.append(self._at_probes(_union(self._put_together(merging, probes), probes), merging))
        if others:
            parts.append(self._at_probes(_union(self._events(others), self._probes(others)), others))
        answer = self._spine.select("row", "time_us")
        for part in parts:
            answer = answer.left_join(part, "row").drop("row_right")
        return answer

    def _at_probes(self, rows: ir.Table, inputs: Mapping[str, Aggregate]) -> ir.Table:
        """Return a row per spine row: `row`, and the totals of these aggregates over the rows up to its probes."""
        until_now = ibis.range_window(group_by=self._keys, order_by="time_us", preceding=None, following=0)
        running = rows.mutate(
            **{name: BATCH_KINDS[a.kind].total(rows[name]).over(until_now) for name, a in inputs.items()}
        )
        running = running.filter(ibis._.probe >= 0)
        at_time = running.probe == 0
        totals = {}
        columns = {aggregate: running[name] for name, aggregate in inputs.items()}
        for aggregate, window in (asked for asked in self._asked if asked[0] in columns):
            column = columns[aggregate]
            total = column.arbitrary(where=at_time)
            if window is not None:
                total = total - column.arbitrary(where=running.probe == 1 + self._windows.index(window))
            totals[self._total_name(aggregate, window)] = total
        return running.group_by("row").aggregate(**totals)

    def _put_together(self, inputs: Mapping[str, Aggregate], probes: ir.Table) -> ir.Table:
        """Return the totals of the events between two probes, at the time of the later one.

        A log has many more events than a spine has probes, and an ordered pass costs more than a grouping.
        """
        from_now = ibis.range_window(group_by=self._keys, order_by="time_us", preceding=0, following=None)
        rows = _union(self._events(inputs), *self._firsts(inputs), probes)
        rows = rows.mutate(next_us=rows.time_us.min(where=rows.probe >= 0).over(from_now))
        rows = rows.filter((rows.probe < 0) & rows.next_us.notnull())
        totals = {name: BATCH_KINDS[a.kind].total(rows[name]).cast(rows[name].type()) for name, a in inputs.items()}
        found = rows.group_by([*self._keys, "next_us"]).aggregate(**totals)
        return found.select(*self._keys, time_us="next_us", **_NO_PROBE, **{name: found[name] for name in inputs})

    def _total_name(self, aggregate: Aggregate, window: Window | None) -> str:
        return f"total_{self._asked.index((aggregate, window))}"

    def _events(self, inputs: Mapping[str, Aggregate]) -> ir.Table:
        facts = self._facts
        for name, aggregate in inputs.items():
            if aggregate.kind == "deviation":
                facts = self._with_anchor(facts, aggregate, f"anchor_{name}")
        adds = {name: _input(a, facts, f"anchor_{name}") for name, a in inputs.items()}
        return facts.select(*self._keys, "time_us", **_NO_PROBE, **adds)

    def _with_anchor(self, facts: ir.Table, aggregate: Aggregate, name: str) -> ir.Table:
        """Add the entity's first value to every event, as the value from which deviations are measured.

        Engines use floats, in which the deviation of large values that are close together would cancel.
        """
        keys = self._keys
        meeting = self._meeting(aggregate)
        anchors = meeting.group_by(keys).aggregate(**{name: meeting[aggregate.column].argmin(meeting.time_us)})
        return facts.left_join(anchors, keys).drop(*[f"{key}_right" for key in keys])

    def _firsts(self, inputs: Mapping[str, Aggregate]) -> list[ir.Table]:
        """Return, per distinct count, a row at an entity's first event of its kind with each value."""
        firsts = []
        for name, aggregate in inputs.items():
            if aggregate.kind == "distinct":
                meeting = self._meeting(aggregate).drop_null(aggregate.column)
                first = meeting.group_by([*self._keys, aggregate.column]).aggregate(time_us=meeting.time_us.min())
                firsts.append(self._blank(first, inputs, counted=name))
        return firsts

    def _meeting(self, aggregate: Aggregate) -> ir.Table:
        """Return the events that an aggregate counts."""
        return self._facts.filter(met(self._facts, aggregate.where)) if aggregate.where else self._facts

    def _probes(self, inputs: Mapping[str, Aggregate]) -> ir.Table:
        spine = self._spine
        times = [spine, *(spine.mutate(time_us=start_of(spine.time_us, window) - 1) for window in self._windows)]
        return _union(*(self._blank(at, inputs, at.row, number) for number, at in enumerate(times)))

    def _blank(
        self,
        table: ir.Table,
        inputs: Mapping[str, Aggregate],
        row: Any = _NO_PROBE["row"],
        probe: int = -1,
        *,
        counted: str = "",
    ) -> ir.Table:
        """Return rows of `table` that add nothing to any total, except 1 to that of the input `counted`."""
        blanks = {name: ibis.literal(1, "int64") if name == counted else _blank(a) for name, a in inputs.items()}
        return table.select(*self._keys, "time_us", row=row, probe=ibis.literal(probe, "int8"), **blanks)

    def _value(self, expression: Expression, totals: ir.Table) -> Any:
        def of(aggregate: Aggregate, window: Window | None = None) -> Any:
            return totals[self._total_name(aggregate, window)]

        if is_of_events(expression):
            value = totals[f"within_{self._within.index(expression)}"]
            return value.fill_null(0) if is_zero_over_nothing(expression) else value
        match expression:
            case Total(aggregate, window):
                return self._in_unit(of(aggregate, window), aggregate)
            case Extreme(aggregate):
                return self._in_unit(of(aggregate), aggregate)
            case Edge(aggregate):
                return of(aggregate)["value"].cast("float64") / self._plan.unit(aggregate)
            case Since(aggregate, unit_us):
                return (totals.time_us - of(aggregate)).cast("float64") / unit_us
            case Spacing(first, last, count, unit_us):
                gaps = (of(count) - 1).nullif(0)
                spacing = (of(last) - of(first)).cast("float64") / (gaps.cast("float64") * unit_us)
                return ibis.ifelse(of(count) > 1, spacing, _null("float64"))
            case Deviation(_, _, Total(squares)):
                return of(_running(squares)) / self._plan.unit(squares)
            case Slope():
                return _slope(of, expression, self._plan.unit(expression.total))
            case Quotient(upper, lower):
                below = self._value(lower, totals).cast("float64").nullif(0.0)
                return self._value(upper, totals).cast("float64") / below
            case Smoothed(upper, lower, rate, weight):
                above = self._value(upper, totals).cast("float64") + rate * weight
                return above / (self._value(lower, totals).cast("float64") + weight)
            case Difference(Total() as left, Total() as right) if unit := self._plan.common_unit(left, right):
                rest = of(left.aggregate, left.window) - of(right.aggregate, right.window)
                return rest.cast("float64") / unit
            case Difference(left, right):
                return self._value(left, totals) - self._value(right, totals)
        raise TypeError(f"{expression} is not computed from an entity's events")

    def _in_unit(self, value: Any, aggregate: Aggregate) -> Any:
        unit = self._plan.unit(aggregate) if KINDS[aggregate.kind].in_column_unit else 1
        return value if unit == 1 else value.cast("float64") / unit


def _union(*tables: ir.Table) -> ir.Table:
    return reduce(lambda a, b: a.union(b), tables)


def _slope(of: Any, slope: Slope, unit: int) -> Any:
    # With a whole number q about the mean time and time_sum = n * q + rest, what would cancel in floats (times are
    # large and close together) is decimal: time_squares - time_sum**2 / n = (time_squares - q * (time_sum + rest)) -
    # rest**2 / n, and so for the products.
    n, x, t, tt, tx = (
        of(a) for a in (slope.count, slope.total, slope.time_sum, slope.time_squares, slope.time_products)
    )
    count = n.nullif(0).cast("float64")
    q = (t.cast("float64") / count).round().cast("int64").cast(EXACT)
    rest = t - (q * n.cast(EXACT)).cast(EXACT)
    beside = rest.cast("float64") / count
    spread = (tt - (q * (t + rest).cast(EXACT)).cast(EXACT)).cast("float64") - rest.cast("float64") * beside
    rise = (tx - (q * x).cast(EXACT)).cast("float64") - x.cast("float64") * beside
    second = of(slope.first) - of(slope.first) % MICROS
    units = [(second % unit_us == 0, unit_us // MICROS) for unit_us in (DAY_US, HOUR_US, MINUTE_US)]
    steep = rise / spread.nullif(0.0) * ibis.cases(*units, else_=1) * 1e6 / unit
    return ibis.ifelse(n > 2, steep.fill_null(0.0), _null("float64"))


def _needs(expression: Any) -> list[tuple[Aggregate, Window | None]]:
    """Return the running totals that batch needs for an expression.

    A lifetime deviation is one of the engine's, not three of ours; what is computed from events needs none.
    """
    needs: list[tuple[Aggregate, Window | None]] = []
    for part in parts_of(expression, whole=(Total, *OF_EVENTS)):
        match part:
            case part if is_of_events(part):
                pass
            case Extreme(aggregate):
                needs.append((aggregate, None))
            case Aggregate():
                needs.append((part, None))
            case Total(aggregate, window):
                needs.append((aggregate, window))
            case Deviation(_, _, Total(squares)):
                needs.append((_running(squares), None))
    return needs


def _running(squares: Aggregate) -> Aggregate:
    """Return the engine's own running standard deviation, without a sum of squares that could overflow or cancel."""
    return Aggregate("deviation", squares.column, squares.where)


def _input(aggregate: Aggregate, facts: ir.Table, anchor: str) -> Any:
    """Return what one event adds to an aggregate; `anchor` is the column from which a deviation is measured."""
    value = facts[aggregate.column] if aggregate.column else None
    make = BATCH_KINDS[aggregate.kind].input
    if make is None:
        raise TypeError(f"{aggregate} has no running total")
    adds = make(facts, value, anchor)
    return ibis.ifelse(met(facts, aggregate.where), adds, _blank(aggregate)) if aggregate.where else adds


def _blank(aggregate: Aggregate) -> Any:
    """Return the neutral input of an aggregate."""
    return BATCH_KINDS[aggregate.kind].blank()


def _null(type_: str) -> Any:
    return ibis.null(type_)
