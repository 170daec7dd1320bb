"""The aggregate kinds of `features.kinds` in Ibis: as an aggregate per entity, and as a running total."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import ibis

from features import summaries
from features.summaries import Summary

__all__ = ["BATCH_KINDS", "EXACT", "BatchKind", "exact"]

EXACT = "decimal(38, 0)"
"""The type of integers of up to 38 digits, named explicitly since Ibis would give sums two decimals."""

_HALF = 10**10
"""Squares are summed in halves: 1e15 in micro-units, squared, is past 38 digits."""


def exact(value: Any) -> Any:
    """Cast a value to an integer of up to 38 digits."""
    return value.cast(EXACT)


class BatchKind(NamedTuple):
    """One aggregate kind over a table with `time_us`, `event_id` and columns in integer units.

    For states: `fold` takes the table, the column (None: none) and the condition, and returns the aggregate of a group;
    `slot` converts the engine's answer, and the aggregate's `parameter`, to a state's number (None: no conversion).

    For running totals: `input` is what one event adds, of the table, the column and the column from which a deviation
    is measured; `blank` is the neutral input; `total` is the aggregate or window function over a column of inputs, and
    `merges` whether a total of totals is one of their inputs. Kinds without an `input` have none: their values are
    computed from events (`features.batch.within`).
    """

    fold: Callable[[Any, Any, Any], Any] | None
    slot: Callable[[Any, int], Any] | None
    input: Callable[[Any, Any, Any], Any] | None
    blank: Callable[[], Any]
    total: Callable[[Any], Any]
    merges: bool = True


def _sum(column: Any) -> Any:
    return column.sum()


def _least(column: Any) -> Any:
    return column.min()


def _greatest(column: Any) -> Any:
    return column.max()


def _deviation(column: Any) -> Any:
    return column.std(how="sample")


def _zero() -> Any:
    return ibis.literal(0, "int64")


def _exact_zero() -> Any:
    return exact(ibis.literal(0))


def _null(type_: str) -> Callable[[], Any]:
    return lambda: ibis.null(type_)


def _exact_sum(part: Callable[[Any, Any], Any]) -> BatchKind:
    """Return the kind that sums what `part` makes of the table and the column."""
    return BatchKind(
        fold=lambda table, value, where: exact(exact(part(table, value)).sum(where=where).fill_null(0)),
        slot=None,
        input=lambda table, value, _anchor: exact(part(table, value)),
        blank=_exact_zero,
        total=_sum,
    )


def _squares(_table: Any, value: Any, where: Any) -> Any:
    low = exact(value % _HALF)
    # DuckDB divides decimals as doubles: rounding down could be one too many, rounding what divides evenly cannot.
    high = exact((value - low) / _HALF)
    parts = {"high": high * high, "mixed": high * low, "low": low * low}
    return ibis.struct({name: exact(exact(part).sum(where=where)) for name, part in parts.items()})


def _whole(halves: dict[str, Any], _parameter: int) -> int:
    """Return a sum of squares from the sums of its halves' products."""
    high, mixed, low = (int(part or 0) for part in halves.values())
    return (high * _HALF + 2 * mixed) * _HALF + low


def _listed(summary: Callable[[int], Summary]) -> BatchKind:
    """Return the kind of a list: the engine collects times and values, which are then put in as events would be."""

    def collected(table: Any, value: Any, where: Any) -> Any:
        return ibis.struct({"time": table.time_us, "value": table.time_us if value is None else value}).collect(
            where=where
        )

    def put(events: list[dict[str, Any]], parameter: int) -> Any:
        put, number = summary(parameter).put, None
        for event in events:
            value = event["value"]
            number = put(number, event["time"], int(value) if isinstance(value, Decimal) else value)
        return number

    return BatchKind(fold=collected, slot=put, input=None, blank=_null(EXACT), total=_sum)


def _extreme(total: Callable[[Any], Any], pick: str) -> BatchKind:
    return BatchKind(
        fold=lambda _table, value, where: getattr(value, pick)(where=where),
        slot=None,
        input=lambda _table, value, _anchor: value,
        blank=_null(EXACT),
        total=total,
    )


def _time(total: Callable[[Any], Any], pick: str) -> BatchKind:
    return BatchKind(
        fold=lambda table, _value, where: getattr(table.time_us, pick)(where=where),
        slot=None,
        input=lambda table, _value, _anchor: table.time_us,
        blank=_null("int64"),
        total=total,
    )


def _edge(total: Callable[[Any], Any], pick: str) -> BatchKind:
    """Return the kind of the event that is earliest or latest by time, then by id: structs compare field by field."""

    def edge(table: Any, value: Any) -> Any:
        return ibis.struct({"time": table.time_us, "id": table.event_id, "value": value})

    return BatchKind(
        fold=lambda table, value, where: getattr(edge(table, value), pick)(where=where),
        slot=lambda edge, _: [edge["time"], edge["id"], int(edge["value"])],
        input=lambda table, value, _anchor: edge(table, value),
        blank=_null(f"struct<time: int64, id: string, value: {EXACT}>"),
        total=total,
    )


BATCH_KINDS: dict[str, BatchKind] = {
    "count": BatchKind(
        fold=lambda table, _value, where: table.count(where=where),
        slot=None,
        input=lambda _table, _value, _anchor: ibis.literal(1, "int64"),
        blank=_zero,
        total=_sum,
    ),
    # A sum without the cast of `_exact_sum`, since the column is exact already.
    "sum": BatchKind(
        fold=lambda _table, value, where: exact(value.sum(where=where).fill_null(0)),
        slot=None,
        input=lambda _table, value, _anchor: value,
        blank=_exact_zero,
        total=_sum,
    ),
    # No running total: sums of squares would overflow or cancel, and `deviation` stands in for them.
    "squares": BatchKind(fold=_squares, slot=_whole, input=None, blank=_null(EXACT), total=_sum),
    "time_sum": _exact_sum(lambda table, _value: exact(table.time_us)),
    "time_squares": _exact_sum(lambda table, _value: exact(table.time_us) * exact(table.time_us)),
    "time_products": _exact_sum(lambda table, value: exact(table.time_us) * value),
    # A pair's first event is a separate row, which adds 1; the caller makes these rows.
    "distinct": BatchKind(fold=None, slot=None, input=lambda _table, _value, _anchor: _zero(), blank=_zero, total=_sum),
    "deviation": BatchKind(
        fold=None,
        slot=None,
        input=lambda table, value, anchor: (value - table[anchor]).cast("float64"),
        blank=_null("float64"),
        total=_deviation,
        merges=False,
    ),
    "min": _extreme(_least, "min"),
    "max": _extreme(_greatest, "max"),
    "first_time": _time(_least, "min"),
    "last_time": _time(_greatest, "max"),
    "first": _edge(_least, "min"),
    "last": _edge(_greatest, "max"),
    "last_values": _listed(summaries.last_values),
    "last_times": _listed(summaries.last_times),
    "seen": _listed(summaries.seen),
    "labels": _listed(summaries.counts_of_labels),
    "rounded": _listed(summaries.counts_of_rounded),
    "orders": _listed(summaries.orders),
    "sessions": _listed(summaries.sessions),
}
