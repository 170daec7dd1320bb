"""Values of orders at every row of a spine: the orders of each moment, computed once for all values that are requested.

A later event of an order replaces an earlier one, so an event counts as its order's last from its time until the next.
So a moment is joined to an entity's orders up to then, not to its events.
"""

from collections.abc import Sequence
from typing import Any

import ibis
import ibis.expr.types as ir

from features.batch.where import met
from features.batch.windows import start_of
from features.plan.plan import Aggregate, EntityPlan, OrderValue
from features.summaries import MOST_ORDERS

__all__ = ["order_values"]


def order_values(
    facts: ir.Table, spine: ir.Table, plan: EntityPlan, aggregate: Aggregate, wanted: Sequence[tuple[str, OrderValue]]
) -> ir.Table:
    """Return `row` and a column per named value of an aggregate's orders, null or absent where there are none."""
    keys = list(plan.join_keys)
    moments = spine.select(*keys, now=spine.time_us).distinct()
    orders = _orders(_ends(facts, keys, aggregate), moments, keys, aggregate.parameter)
    values = orders.group_by("now", *keys).aggregate(**{name: _value(orders, value) for name, value in wanted})
    rows = spine.select(*keys, "row", now=spine.time_us)
    return rows.inner_join(values, ["now", *keys]).select("row", *[name for name, _ in wanted])


def _ends(facts: ir.Table, keys: list[str], aggregate: Aggregate) -> ir.Table:
    """Return when each order of an id, or each tile of events without one, may have ended.

    `tile` is that of the end; `first` begins the events of a tile without ids; from `until` on there is a later end.
    """
    meeting = facts.filter(met(facts, aggregate.where)) if aggregate.where else facts
    events = meeting.select(*keys, at=meeting.time_us, order=meeting[aggregate.column]).distinct()
    events = events.mutate(tile=events["at"] - events["at"] % aggregate.parameter)
    events = events.mutate(loose=ibis.ifelse(events.order.isnull(), events.tile, ibis.null("int64")))
    of_order = ibis.window(group_by=[*keys, "order", "loose"])
    in_time = ibis.window(group_by=[*keys, "order", "loose"], order_by="at")
    return events.mutate(
        first=ibis.ifelse(events.order.isnull(), events["at"].min().over(of_order), ibis.null("int64")),
        until=events["at"].lead().over(in_time),
        order=events.order.fill_null(""),
    )


def _orders(ends: ir.Table, moments: ir.Table, keys: list[str], idle_us: int) -> ir.Table:
    """Return the orders of each moment, `at` their times, with their `place`, 0 for the last.

    `gap` is the time since the order before, `least` the least gap of the moment, `next` the time until the one after.
    """
    on = [moments[key] == ends[key] for key in keys]
    open_ = ends.until.isnull() | (ends.until > moments.now)
    seen = moments.inner_join(ends, [*on, ends["at"] <= moments.now, open_])
    seen = seen.select(*keys, "now", "at", "first", "order", "tile")
    moment = [*keys, "now"]
    newest = ibis.window(group_by=moment, order_by=[seen.tile.desc(), seen.order.desc()])
    kept = seen.mutate(place=ibis.row_number().over(newest)).filter(ibis._.place < MOST_ORDERS).drop("place")
    loose = kept.mutate(is_loose=kept.order == "")
    in_tiles = ibis.window(group_by=[*moment, "is_loose"], order_by="tile")
    going_on = loose.is_loose & (loose["first"].lead().over(in_tiles) - loose["at"] <= idle_us)
    whole = loose.mutate(going_on=going_on.fill_null(False)).filter(~ibis._.going_on)
    up = ibis.window(group_by=moment, order_by=[whole["at"], whole.order])
    down = ibis.window(group_by=moment, order_by=[whole["at"].desc(), whole.order.desc()])
    return whole.mutate(
        gap=whole["at"] - whole["at"].lag().over(up),
        next=whole["at"].lead().over(up) - whole["at"],
        place=ibis.row_number().over(down),
    ).mutate(least=ibis._.gap.min().over(ibis.window(group_by=moment)))


def _value(orders: ir.Table, value: OrderValue) -> Any:
    gap, old = orders.gap, orders["at"] <= orders.now - value.span_us
    match value.what:
        case "count" if value.window:
            return orders.count(where=orders["at"] >= start_of(orders.now, value.window))
        case "count":
            return orders.count()
        case "gap":
            return gap.max(where=orders.place == value.number - 1).cast("float64") / value.unit_us
        case "mean":
            return gap.sum().cast("float64") / (gap.count() * value.unit_us).cast("float64").nullif(0.0)
        case "deviation":
            return (gap - orders.least).cast("float64").std(how="sample") / value.unit_us
        case "settled":
            return orders.count(where=old)
    return orders.count(where=old & (orders.next <= value.span_us))
