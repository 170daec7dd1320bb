"""Featuretools primitives of orders: purchases that were made together, however many lines and events they are.

Events of one order id (`base` is the label that holds it) are one order. Events without one are one order where no two
neighbours lie more than `idle` apart. An order happens when its last event does. The last `MOST_ORDERS` of an entity
count: an entity sees only its own events, so that an id which two users share is an order of each.

Like `features.primitives`, these are plain formulas which the other paths must equal.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from featuretools import primitives

from features.primitives import LABEL, REAL, TIME, WHOLE, micros, micros_of
from features.summaries import MOST_ORDERS

__all__ = [
    "IDLE",
    "AvgOrderGap",
    "OrderCount",
    "OrderGap",
    "RepeatedOrders",
    "SettledOrders",
    "StdOrderGap",
]

IDLE = "1 hour"
"""The idle time that ends an order without an id, by default."""


class _OfOrders(primitives.AggregationPrimitive):  # type: ignore[misc]
    """A number of an entity's orders."""

    input_types: ClassVar[list[Any]] = [LABEL, TIME]
    return_type = REAL
    uses_calc_time = True

    def __init__(self, idle: str = IDLE) -> None:
        self.idle = idle

    def get_function(self) -> Callable[..., Any]:
        """Return the function of the order ids and the times, given the cutoff."""

        def of_orders(ids: pd.Series, times: pd.Series, time: Any = None) -> Any:
            return self._value(_orders(ids, times, micros(self.idle)), micros_of(time))

        return of_orders

    def _value(self, orders: list[int], now: int) -> Any:
        """Return the value of orders by their times, ascending."""
        raise NotImplementedError


def _orders(ids: pd.Series, times: pd.Series, idle: int) -> list[int]:
    """Return when the orders of events happened, µs, ascending.

    Events without an id that lie in one tile of `idle` are surely of one order. So what counts are the last ids and
    tiles, by the tile of their last event and then by id; neighbouring tiles may then turn out to be one order.
    """
    named: dict[str, list[int]] = {}
    tiles: dict[int, list[int]] = {}
    for order, at in zip(ids, map(micros_of, times), strict=True):
        if pd.isna(order) or not order:  # an empty label is none
            tiles.setdefault(at // idle, []).append(at)
        else:
            named.setdefault(order, []).append(at)
    kept = sorted(
        [
            *((max(order_times) // idle, order, order_times) for order, order_times in named.items()),
            *((t, "", tiles[t]) for t in tiles),
        ]
    )
    kept = kept[-MOST_ORDERS:]
    loose = [order_times for _, order, order_times in kept if not order]
    joined = {max(earlier) for earlier, later in pairwise(loose) if min(later) - max(earlier) <= idle}
    return sorted(max(order_times) for _, order, order_times in kept if order or max(order_times) not in joined)


class OrderCount(_OfOrders):
    """Number of orders, at most `MOST_ORDERS`; where `within` is one of `WINDOWS`, of those in its tiles."""

    name = "order_count"
    return_type = WHOLE
    default_value = 0

    def __init__(self, within: tuple[str, str] | None = None, idle: str = IDLE) -> None:
        super().__init__(idle)
        self.within = within

    def _value(self, orders: list[int], now: int) -> int:
        if self.within is None:
            return len(orders)
        length, hop = map(micros, self.within)
        return sum(1 for at in orders if at >= now // hop * hop + hop - length)


class OrderGap(_OfOrders):
    """Time between the `n`-th last order (1: the last) and the one before it, in a `unit` such as `days`."""

    name = "order_gap"

    def __init__(self, n: int = 1, unit: str = "days", idle: str = IDLE) -> None:
        super().__init__(idle)
        self.n = n
        self.unit = unit

    def _value(self, orders: list[int], now: int) -> float:  # noqa: ARG002 - see above
        gaps = _gaps(orders)
        return gaps[-self.n] / micros(f"1 {self.unit}") if len(gaps) >= self.n else np.nan


class AvgOrderGap(_OfOrders):
    """Mean time between orders, in a `unit`; null below two orders."""

    name = "avg_order_gap"

    def __init__(self, unit: str = "days", idle: str = IDLE) -> None:
        super().__init__(idle)
        self.unit = unit

    def _value(self, orders: list[int], now: int) -> float:  # noqa: ARG002 - see above
        gaps = _gaps(orders)
        return sum(gaps) / (len(gaps) * micros(f"1 {self.unit}")) if gaps else np.nan


class StdOrderGap(AvgOrderGap):
    """Sample standard deviation of the times between orders, in a `unit`; null below three orders."""

    name = "std_order_gap"

    def _value(self, orders: list[int], now: int) -> float:  # noqa: ARG002 - see above
        gaps = _gaps(orders)
        return float(np.std(gaps, ddof=1)) / micros(f"1 {self.unit}") if len(gaps) > 1 else np.nan


class SettledOrders(_OfOrders):
    """Number of orders of which it is known whether another followed within `span`: those older than it."""

    name = "settled_orders"
    return_type = WHOLE
    default_value = 0

    def __init__(self, span: str = "30 days", idle: str = IDLE) -> None:
        super().__init__(idle)
        self.span = span

    def _value(self, orders: list[int], now: int) -> int:
        return sum(1 for at in orders if at <= now - micros(self.span))


class RepeatedOrders(SettledOrders):
    """Number of settled orders that another one followed within `span`."""

    name = "repeated_orders"

    def _value(self, orders: list[int], now: int) -> int:
        span = micros(self.span)
        return sum(1 for at, following in pairwise(orders) if at <= now - span and following - at <= span)


def _gaps(orders: list[int]) -> list[int]:
    return [following - at for at, following in pairwise(orders)]
