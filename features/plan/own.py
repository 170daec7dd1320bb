"""Compile Encore's own primitives (`features.primitives`) to expressions: the kinds that are lists, and decay."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from data.errors import DefinitionError
from data.units import MINUTE_US
from features import order_primitives as of_orders
from features import primitives
from features.plan.plan import (
    Aggregate,
    Decayed,
    Distinct,
    Expression,
    OrderValue,
    Quantile,
    Recent,
    SessionValue,
    SinceRecent,
    Top,
    Window,
)
from features.plan.where import Where
from features.summaries import DECAY_TILES, MOST_ORDERS, TILES_PER_HALF_LIFE

__all__ = ["OWN", "Columns"]

_MOST_RECENT = 50
"""How many last values or times a state keeps at most."""

_MOST_VALUES = 10_000
"""How many distinct values, or labels, a state keeps at most."""

_MOST_DIGITS = 4
"""A quantile's digits at most: with each more, a state may hold ten times as many counts."""


class Columns(NamedTuple):
    """What a definition may name: `refusal` makes its error; the next three read a feature's column, or its unit."""

    refusal: Callable[[str], DefinitionError]
    measure: Callable[[Any], str]
    label: Callable[[Any], str]
    unit: Callable[[Any], int]
    windows: Mapping[str, tuple[str, str]]


def _length(columns: Columns, text: Any) -> int:
    """Return a length of time, µs, given as pandas reads it."""
    try:
        length_us = int(pd.Timedelta(text).value // 1000)
    except (TypeError, ValueError) as error:
        raise columns.refusal(f"`{text}` is no length of time such as `7 days` ({error})") from error
    if length_us <= 0:
        raise columns.refusal(f"a length of time is above 0, not `{text}`")
    return length_us


def _up_to(columns: Columns, number: Any, name: str, most: int) -> int:
    """Return a parameter of a primitive, a whole number from 1 to `most`."""
    if type(number) is not int or not 1 <= number <= most:
        raise columns.refusal(f"`{name}` is a whole number from 1 to {most}, not {number!r}")
    return number


def _recent(columns: Columns, feature: Any, where: Where, _window: Window | None) -> Expression:
    number = _up_to(columns, feature.primitive.n, "n", _MOST_RECENT)
    return Recent(Aggregate("last_values", columns.measure(feature), where, number), number)


def _since_recent(columns: Columns, feature: Any, where: Where, _window: Window | None) -> Expression:
    number = _up_to(columns, feature.primitive.n, "n", _MOST_RECENT)
    return SinceRecent(Aggregate("last_times", where=where, parameter=number), number, columns.unit(feature))


def _distinct_up_to(columns: Columns, feature: Any, where: Where, window: Window | None) -> Expression:
    most = _up_to(columns, feature.primitive.most, "most", _MOST_VALUES)
    return Distinct(Aggregate("seen", columns.label(feature), where, most), window)


def _decayed(columns: Columns, feature: Any, where: Where, _window: Window | None) -> Expression:
    half_life = feature.primitive.half_life
    hop_us, rest = divmod(_length(columns, half_life), TILES_PER_HALF_LIFE)
    if rest:
        raise columns.refusal(f"a half-life is a whole number of {TILES_PER_HALF_LIFE} µs, which `{half_life}` is not")
    counts = isinstance(feature.primitive, primitives.DecayedCount)
    window = Window(DECAY_TILES * hop_us, hop_us, f"half-life of {half_life}")
    return Decayed(Aggregate("count" if counts else "sum", "" if counts else columns.measure(feature), where), window)


def _within(columns: Columns, within: tuple[str, str]) -> Window:
    """Return the window that a primitive names itself."""
    name = next((name for name, window in columns.windows.items() if window == tuple(within)), None)
    if name is None:
        raise columns.refusal(f"`within` is one of WINDOWS of features/definitions.py, not {within!r}")
    length, hop = within
    return Window(_length(columns, length), _length(columns, hop), name)


def _session(columns: Columns, feature: Any, where: Where, _window: Window | None) -> Expression:
    primitive = feature.primitive
    window = _within(columns, primitive.within)
    aggregate = Aggregate("sessions", where=where, parameter=_length(columns, primitive.idle))
    match primitive:
        case primitives.SessionCount():
            return SessionValue(aggregate, window, "count")
        case primitives.SessionLength():
            return SessionValue(aggregate, window, "length", MINUTE_US)
    return SessionValue(aggregate, window, "events")


def _order(columns: Columns, feature: Any, where: Where, _window: Window | None) -> Expression:
    primitive = feature.primitive
    aggregate = Aggregate("orders", columns.label(feature), where, _length(columns, primitive.idle))
    match primitive:
        case of_orders.OrderCount(within=within):
            return OrderValue(aggregate, "count", None if within is None else _within(columns, within))
        case of_orders.OrderGap():
            number = _up_to(columns, primitive.n, "n", MOST_ORDERS - 1)
            return OrderValue(aggregate, "gap", number=number, unit_us=columns.unit(feature))
        case of_orders.StdOrderGap():
            return OrderValue(aggregate, "deviation", unit_us=columns.unit(feature))
        case of_orders.AvgOrderGap():
            return OrderValue(aggregate, "mean", unit_us=columns.unit(feature))
        case of_orders.RepeatedOrders():
            return OrderValue(aggregate, "repeated", span_us=_length(columns, primitive.span))
    return OrderValue(aggregate, "settled", span_us=_length(columns, primitive.span))


def _top(columns: Columns, feature: Any, where: Where, window: Window | None) -> Expression:
    most = _up_to(columns, feature.primitive.most, "most", _MOST_VALUES)
    number = _up_to(columns, feature.primitive.n, "n", most)
    aggregate = Aggregate("labels", columns.label(feature), where, most)
    return Top(aggregate, number, isinstance(feature.primitive, primitives.TopShare), window)


def _quantile(columns: Columns, feature: Any, where: Where, window: Window | None) -> Expression:
    per_mille = round(feature.primitive.q * 1000)
    if not 1 <= per_mille <= 1000 or abs(per_mille - feature.primitive.q * 1000) > 1e-9:
        raise columns.refusal(f"`q` is a share from 0.001 to 1 in thousandths, not {feature.primitive.q!r}")
    digits = _up_to(columns, feature.primitive.digits, "digits", _MOST_DIGITS)
    return Quantile(Aggregate("rounded", columns.measure(feature), where, digits), per_mille, window)


OWN: dict[type, Callable[[Columns, Any, Where, Window | None], Expression]] = {
    primitives.NthLast: _recent,
    primitives.TimeSinceNthLast: _since_recent,
    primitives.NumUniqueUpTo: _distinct_up_to,
    primitives.DecayedCount: _decayed,
    primitives.DecayedSum: _decayed,
    primitives.SessionCount: _session,
    primitives.SessionLength: _session,
    primitives.SessionEvents: _session,
    of_orders.OrderCount: _order,
    of_orders.OrderGap: _order,
    of_orders.AvgOrderGap: _order,
    of_orders.StdOrderGap: _order,
    of_orders.SettledOrders: _order,
    of_orders.RepeatedOrders: _order,
    primitives.TopCount: _top,
    primitives.TopShare: _top,
    primitives.Quantile: _quantile,
}
"""The compiler of each primitive, of a feature, its condition and its window."""
