"""Values that are no running totals: each is computed from the events that a row of the spine has, joined to it.

It costs a joined row per event of an entity and time (of the window, where there is one), where a running total costs
one per probe; but a difference of two totals is no extreme, no list, and of sums of squares it cancels or overflows.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any

import ibis
import ibis.expr.types as ir

from features.batch.kinds import exact
from features.batch.orders import order_values
from features.batch.where import met
from features.batch.windows import start_of
from features.plan.plan import (
    Aggregate,
    Decayed,
    Deviation,
    Distinct,
    EntityPlan,
    Extreme,
    OrderValue,
    Quantile,
    Recent,
    SessionValue,
    SinceRecent,
    Top,
    Window,
)
from features.summaries import DECAY_UNIT, DECAY_WEIGHTS

__all__ = ["OF_EVENTS", "is_of_events", "is_zero_over_nothing", "values_within"]

OF_EVENTS = (Deviation, Extreme, Recent, SinceRecent, Distinct, Decayed, SessionValue, OrderValue, Top, Quantile)
"""Expressions that are computed here; deviations and extremes of a lifetime are running totals."""


def is_of_events(expression: Any) -> bool:
    """Return whether an expression is computed here."""
    match expression:
        case Deviation(_, _, squares):
            return squares.window is not None
        case Extreme(_, window):
            return window is not None
    return isinstance(expression, OF_EVENTS)


def is_zero_over_nothing(expression: Any) -> bool:
    """Return whether the value over no events is 0, rather than null."""
    match expression:
        case Distinct() | Decayed() | SessionValue(what="count" | "events") | Top(share=False):
            return True
        case OrderValue(what="count" | "settled" | "repeated"):
            return True
    return False


def values_within(facts: ir.Table, spine: ir.Table, plan: EntityPlan, expressions: Sequence[Any]) -> Iterator[ir.Table]:
    """Yield tables of `row` and columns `within_N`, over all tables one per expression; null where it has no events.

    The rows are those of the spine that have events for any of the table's.
    """
    orders: dict[Aggregate, list[tuple[str, OrderValue]]] = {}
    parts = []
    for place, part in enumerate(expressions):
        if isinstance(part, OrderValue):
            orders.setdefault(part.aggregate, []).append((f"within_{place}", part))
        else:
            table = _values(facts, spine, plan, part)
            parts.append(table.select("row", part=ibis.literal(place, "int16"), value=table.value.cast("float64")))
    for aggregate, values in orders.items():
        yield order_values(facts, spine, plan, aggregate, values)
    if parts:
        # Stacked, and then pivoted: a join for each makes a query that takes seconds to compile.
        stacked = reduce(lambda left, right: left.union(right), parts)
        yield stacked.group_by("row").aggregate(
            **{
                f"within_{place}": stacked.value.max(where=stacked.part == place)
                for place, part in enumerate(expressions)
                if not isinstance(part, OrderValue)
            }
        )


def _values(facts: ir.Table, spine: ir.Table, plan: EntityPlan, expression: Any) -> ir.Table:
    """Return `row` and `value` of an expression."""
    aggregate, window = _source(expression)
    start = start_of(spine.time_us, window) if window else spine.time_us - spine.time_us
    questions = spine.select(*plan.join_keys, "row", start=start.cast("int64"), now=spine.time_us)
    meeting = facts.filter(met(facts, aggregate.where)) if aggregate.where else facts
    value = meeting[aggregate.column] if aggregate.column else meeting.time_us
    events = meeting.select(*plan.join_keys, at=meeting.time_us, x=value).filter(ibis._.x.notnull())
    on = [questions[key] == events[key] for key in plan.join_keys]
    within = questions.inner_join(events, [*on, events["at"] >= questions.start, events["at"] <= questions.now])
    return _VALUES[type(expression)](within.select("row", "now", "at", "x"), expression, plan.unit)


def _source(expression: Any) -> tuple[Aggregate, Window | None]:
    if isinstance(expression, Deviation):
        expression = expression.squares
    return expression.aggregate, getattr(expression, "window", None)


_Unit = Callable[[Aggregate], int]

_BY_ROW = ibis.window(group_by="row")


def _deviation(within: ir.Table, deviation: Deviation, unit: _Unit) -> ir.Table:
    beyond = (within.x - within.x.min().over(_BY_ROW)).cast("float64")
    spread = within.select("row", beyond=beyond).group_by("row").aggregate(value=ibis._.beyond.std(how="sample"))
    return spread.mutate(value=spread.value / unit(deviation.squares.aggregate))


def _extreme(within: ir.Table, extreme: Extreme, unit: _Unit) -> ir.Table:
    value = within.x.min() if extreme.aggregate.kind == "min" else within.x.max()
    return within.group_by("row").aggregate(value=value.cast("float64") / unit(extreme.aggregate))


def _nth_last(within: ir.Table, number: int) -> ir.Table:
    later = ibis.window(group_by="row", order_by=[within["at"].desc(), within.x.desc()])
    return within.mutate(place=ibis.row_number().over(later)).filter(ibis._.place == number - 1)


def _recent(within: ir.Table, recent: Recent, unit: _Unit) -> ir.Table:
    nth = _nth_last(within, recent.number)
    return nth.select("row", value=nth.x.cast("float64") / unit(recent.aggregate))


def _since_recent(within: ir.Table, since: SinceRecent, _unit: _Unit) -> ir.Table:
    nth = _nth_last(within, since.number)
    return nth.select("row", value=(nth.now - nth["at"]).cast("float64") / since.unit_us)


def _distinct(within: ir.Table, distinct: Distinct, _unit: _Unit) -> ir.Table:
    most = ibis.literal(distinct.aggregate.parameter, "int64")
    return within.group_by("row").aggregate(value=ibis.least(within.x.nunique(), most))


def _decayed(within: ir.Table, decayed: Decayed, unit: _Unit) -> ir.Table:
    hop_us = decayed.window.hop_us
    tiles_us = (within.now - within.now % hop_us) - (within["at"] - within["at"] % hop_us)
    # The difference is a whole number of hops, so that its quotient is one too, even as a float.
    weight = ibis.array(list(DECAY_WEIGHTS))[(tiles_us / hop_us).round().cast("int32")]
    weighed = exact(weight) if decayed.aggregate.kind == "count" else exact(exact(within.x) * exact(weight))
    total = within.select("row", weighed=exact(weighed)).group_by("row").aggregate(value=exact(ibis._.weighed.sum()))
    return total.mutate(value=total.value.cast("float64") / (DECAY_UNIT * unit(decayed.aggregate)))


def _session(within: ir.Table, session: SessionValue, _unit: _Unit) -> ir.Table:
    idle_us = session.aggregate.parameter
    by_time = ibis.window(group_by="row", order_by="at")
    gaps = within.mutate(gap=within["at"] - within["at"].lag().over(by_time))
    begins = gaps.gap.isnull() | (gaps.gap > idle_us)
    gaps = gaps.mutate(begun=ibis.ifelse(begins, gaps["at"], ibis.null("int64")), pause=begins.ifelse(gaps.gap, 0))
    if session.what == "count":
        return gaps.group_by("row").aggregate(value=gaps.begun.count())
    if session.what == "length":
        busy = gaps["at"].max() - gaps["at"].min() - gaps.pause.fill_null(0).sum()
        length = busy.cast("float64") / (gaps.begun.count() * session.unit_us).cast("float64")
        return gaps.group_by("row").aggregate(value=length)
    last = gaps.mutate(begun=gaps.begun.max().over(_BY_ROW), ended=gaps["at"].max().over(_BY_ROW))
    in_session = (last["at"] >= last.begun) & (last.now - last.ended <= idle_us)
    return last.group_by("row").aggregate(value=in_session.sum())


def _top(within: ir.Table, top: Top, _unit: _Unit) -> ir.Table:
    counts = within.group_by("row", "x").aggregate(events=within.count())
    first = counts.mutate(place=ibis.row_number().over(ibis.window(group_by="row", order_by="x")))
    kept = first.filter(first.place < top.aggregate.parameter)
    ranked = kept.mutate(rank=ibis.row_number().over(ibis.window(group_by="row", order_by=kept.events.desc())))
    events = ranked.events.sum(where=ranked["rank"] < top.number)
    return ranked.group_by("row").aggregate(
        value=events.cast("float64") / ranked.events.sum().cast("float64") if top.share else events
    )


def _quantile(within: ir.Table, quantile: Quantile, unit: _Unit) -> ir.Table:
    values = within.select("row", x=_rounded(within.x, quantile.aggregate.parameter))
    counts = values.group_by("row", "x").aggregate(events=values.count())
    up_to = ibis.range_window(group_by="row", order_by="x", preceding=None, following=0)
    sums = counts.mutate(below=counts.events.sum().over(up_to), total=counts.events.sum().over(_BY_ROW))
    enough = sums.filter(sums.below * 1000 >= sums.total * quantile.per_mille)
    least = enough.group_by("row").aggregate(value=enough.x.min())
    return least.mutate(value=least.value.cast("float64") / unit(quantile.aggregate))


def _rounded(value: Any, digits: int) -> Any:
    """Round to significant digits as `features.summaries.rounded` does, by the digits themselves.

    Engines divide and raise to powers in floats, which are not exact here.
    """
    size = exact(value.abs()).cast("string")
    over = size.length() - digits
    up = size.substr(digits, 1) >= "5"
    lead = size.substr(0, digits).cast("int64") + up.ifelse(1, 0)
    nearest = ibis.ifelse(over > 0, lead.cast("string").concat(ibis.literal("0").repeat(over)), size)
    return exact(nearest) * ibis.ifelse(value < 0, -1, 1)


_VALUES: dict[type, Callable[[ir.Table, Any, _Unit], ir.Table]] = {
    Deviation: _deviation,
    Extreme: _extreme,
    Recent: _recent,
    SinceRecent: _since_recent,
    Distinct: _distinct,
    Decayed: _decayed,
    SessionValue: _session,
    Top: _top,
    Quantile: _quantile,
}
