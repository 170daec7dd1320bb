"""Every feature, once, in Featuretools' own terms. This is the file to edit; all else follows from it.

`define(shop)` returns the features of the entities and of the request. A feature's name is what training,
`/features`, Feast and the model call it. Which primitives have a mergeable form says `SUPPORTED` in
`features/plan/compiler.py`, which refuses the others by name.
"""

from collections.abc import Callable
from typing import Any

import featuretools as ft
from featuretools import primitives

from features.entities import CATEGORY, PRODUCT, USER, USER_CATEGORY, USER_PRODUCT, Entity
from features.order_primitives import AvgOrderGap, OrderCount, OrderGap, RepeatedOrders, SettledOrders, StdOrderGap
from features.primitives import NumUnique, Rate, SmoothedRate, TopShare

__all__ = ["WINDOWS", "define"]

WINDOWS = {
    "1h": ("1 hour", "5 minutes"),
    "24h": ("24 hours", "1 hour"),
    "7d": ("7 days", "1 hour"),
    "30d": ("30 days", "1 day"),
    "90d": ("90 days", "1 day"),
    "180d": ("180 days", "1 day"),
}
"""Windows by short name: length, and hop (the width of a tile; a window moves by whole tiles)."""


def define(shop: ft.EntitySet) -> list[Any]:
    """Return the features over an entity set with the frames `events`, `requests`, and one an entity."""
    user, product, pair = (_of_any(shop, entity) for entity in (USER, PRODUCT, USER_PRODUCT))
    user |= _of_user(shop, user) | _of_returns(shop, USER, user) | _of_offers(shop, USER, user)
    user |= _of_orders(shop, USER, ("30d", "90d", "180d"))
    user["user_order_due_ratio"] = _rate(user["user_days_since_last_purchase"], user["user_avg_days_between_orders"])
    product |= _of_product(shop, product) | _of_returns(shop, PRODUCT, product) | _of_offers(shop, PRODUCT, product)
    pair |= _of_returns(shop, USER_PRODUCT, pair) | _of_orders(shop, USER_PRODUCT, ("90d", "180d"))
    named = user | product | pair
    named |= _of_category(shop) | _of_user_category(shop) | _of_request(shop, named)
    return [feature.rename(name) for name, feature in named.items()]


def _of_any(shop: ft.EntitySet, entity: Entity) -> dict[str, Any]:
    """Return the features that user, product and their pair have: lifetime, recency, windows."""
    kind = ft.Feature(shop["events"].ww["event_type"])
    viewed, carted, purchased = kind == "view", kind == "add_to_cart", kind == "purchase"
    over = _over(shop, entity)
    features = {
        "view_count": over("event_id", primitives.Count, where=viewed),
        "cart_count": over("event_id", primitives.Count, where=carted),
        "purchase_count": over("event_id", primitives.Count, where=purchased),
        "total_spend": over("amount", primitives.Sum, where=purchased),
        "avg_transaction_amount": over("amount", primitives.Mean, where=purchased),
        "std_transaction_amount": over("amount", primitives.Std, where=purchased),
        "max_transaction_amount": over("amount", primitives.Max, where=purchased),
        "days_since_last_view": over("timestamp", primitives.TimeSinceLast(unit="days"), where=viewed),
        "days_since_last_purchase": over("timestamp", primitives.TimeSinceLast(unit="days"), where=purchased),
        "days_since_first_event": over("timestamp", primitives.TimeSinceFirst(unit="days")),
        "avg_days_between_purchases": over("timestamp", primitives.AvgTimeBetween(unit="days"), where=purchased),
    }
    for window in ("1h", "24h", "7d", "30d"):
        length, _ = WINDOWS[window]
        features[f"views_{window}"] = over("event_id", primitives.Count, where=viewed, use_previous=length)
        features[f"carts_{window}"] = over("event_id", primitives.Count, where=carted, use_previous=length)
        features[f"purchases_{window}"] = over("event_id", primitives.Count, where=purchased, use_previous=length)
        features[f"spend_{window}"] = over("amount", primitives.Sum, where=purchased, use_previous=length)
    return {f"{entity.name}_{name}": feature for name, feature in features.items()}


def _of_user(shop: ft.EntitySet, base: dict[str, Any]) -> dict[str, Any]:
    distinct_viewed, distinct_purchased = _distinct(shop, "product_id", USER)
    return {
        "user_distinct_products_viewed": distinct_viewed,
        "user_distinct_products_purchased": distinct_purchased,
        "user_repeat_purchase_count": base["user_purchase_count"] - distinct_purchased,
        "user_view_to_purchase_rate": _rate(base["user_purchase_count"], base["user_view_count"]),
        "user_cart_to_purchase_rate": _rate(base["user_purchase_count"], base["user_cart_count"]),
        "user_add_to_cart_rate_30d": _rate(base["user_carts_30d"], base["user_views_30d"]),
    }


def _of_orders(shop: ft.EntitySet, entity: Entity, windows: tuple[str, ...]) -> dict[str, Any]:
    """Return the features of orders, of which a basket of many lines is one."""
    event = shop["events"].ww
    purchased = ft.Feature(event["event_type"]) == "purchase"

    def over(primitive: Any) -> Any:
        lines = [ft.Feature(event["order_id"]), ft.Feature(event["timestamp"])]
        return ft.Feature(lines, parent_dataframe_name=entity.frame, primitive=primitive, where=purchased)

    repeated, settled = over(RepeatedOrders("30 days")), over(SettledOrders("30 days"))
    features = {
        "order_count": over(OrderCount()),
        **{f"orders_{window}": over(OrderCount(WINDOWS[window])) for window in windows},
        "avg_days_between_orders": over(AvgOrderGap()),
        "std_days_between_orders": over(StdOrderGap()),
        **{f"order_gap_{n}": over(OrderGap(n)) for n in (1, 2, 3)},
        "order_repeat_rate_30d": ft.Feature([repeated, settled], primitive=SmoothedRate(rate=0.25, weight=2)),
    }
    return {f"{entity.name}_{name}": feature for name, feature in features.items()}


def _of_product(shop: ft.EntitySet, base: dict[str, Any]) -> dict[str, Any]:
    viewers, buyers = _distinct(shop, "user_id", PRODUCT)
    return {
        "product_distinct_viewers": viewers,
        "product_distinct_buyers": buyers,
        "product_repeat_purchase_rate": _rate(base["product_purchase_count"] - buyers, base["product_purchase_count"]),
    }


def _of_returns(shop: ft.EntitySet, entity: Entity, base: dict[str, Any]) -> dict[str, Any]:
    """Return what came back, and the spend that is left; of users and products also the rate of returns."""
    over, name = _over(shop, entity), entity.name
    returned = ft.Feature(shop["events"].ww["event_type"]) == "return"
    count = over("event_id", primitives.Count, where=returned)
    amount = over("amount", primitives.Sum, where=returned)
    features = {
        f"{name}_return_count": count,
        f"{name}_returned_amount": amount,
        f"{name}_net_spend": base[f"{name}_total_spend"] - amount,
    }
    if entity is not USER_PRODUCT:
        features[f"{name}_return_rate"] = _rate(count, base[f"{name}_purchase_count"])
    return features


def _of_offers(shop: ft.EntitySet, entity: Entity, base: dict[str, Any]) -> dict[str, Any]:
    """Return the share of discounts in the spend; of users also which devices and brands they buy by."""
    event, over, name = shop["events"].ww, _over(shop, entity), entity.name
    purchased = ft.Feature(event["event_type"]) == "purchase"
    off = over("discount", primitives.Sum, where=purchased)
    features = {f"{name}_discount_rate": _rate(off, base[f"{name}_total_spend"])}
    if entity is USER:
        handheld = ft.Feature(event["device"]).isin(["mobile", "tablet"])
        by_hand = over("event_id", primitives.Count, where=purchased & handheld)
        features["user_mobile_purchase_share"] = _rate(by_hand, base["user_purchase_count"])
        features["user_top_brand_share"] = over("brand", TopShare(1), where=purchased)
    return features


def _of_category(shop: ft.EntitySet) -> dict[str, Any]:
    viewers, buyers = _distinct(shop, "user_id", CATEGORY)
    return _of_few(shop, CATEGORY) | {"category_distinct_viewers": viewers, "category_distinct_buyers": buyers}


def _of_user_category(shop: ft.EntitySet) -> dict[str, Any]:
    return _of_few(shop, USER_CATEGORY)


def _of_few(shop: ft.EntitySet, entity: Entity) -> dict[str, Any]:
    """Return the features of an entity that is a label of events: few, for each event with the label pays for them."""
    kind = ft.Feature(shop["events"].ww["event_type"])
    viewed, purchased = kind == "view", kind == "purchase"
    over = _over(shop, entity)
    features = {
        "view_count": over("event_id", primitives.Count, where=viewed),
        "purchase_count": over("event_id", primitives.Count, where=purchased),
        "total_spend": over("amount", primitives.Sum, where=purchased),
        "avg_transaction_amount": over("amount", primitives.Mean, where=purchased),
        "days_since_last_view": over("timestamp", primitives.TimeSinceLast(unit="days"), where=viewed),
        "days_since_last_purchase": over("timestamp", primitives.TimeSinceLast(unit="days"), where=purchased),
        "views_30d": over("event_id", primitives.Count, where=viewed, use_previous="30 days"),
        "purchases_30d": over("event_id", primitives.Count, where=purchased, use_previous="30 days"),
        "spend_30d": over("amount", primitives.Sum, where=purchased, use_previous="30 days"),
    }
    return {f"{entity.name}_{name}": feature for name, feature in features.items()}


def _over(shop: ft.EntitySet, entity: Entity) -> Callable[..., Any]:
    """Return a function that makes a feature of an entity from a column of its events, a primitive and options."""
    event = shop["events"].ww

    def over(column: str, primitive: Any, **options: Any) -> Any:
        return ft.Feature(event[column], parent_dataframe_name=entity.frame, primitive=primitive, **options)

    return over


def _of_request(shop: ft.EntitySet, base: dict[str, Any]) -> dict[str, Any]:
    """Return the features known only at request time: the request's amount and time, with the entities' features."""
    request = shop["requests"].ww
    amount, asked_at = ft.Feature(request["request_amount"]), ft.Feature(request["timestamp"])

    def asked_about(name: str) -> Any:
        return ft.DirectFeature(base[name], "requests")

    return {
        "request_amount": amount,
        "amount_vs_user_avg": _rate(amount, asked_about("user_avg_transaction_amount")),
        "amount_vs_product_avg": _rate(amount, asked_about("product_avg_transaction_amount")),
        "hour_of_day": ft.Feature(asked_at, primitive=primitives.Hour),
        "day_of_week": ft.Feature(asked_at, primitive=primitives.Weekday),
        "user_product_order_share": _rate(asked_about("user_product_order_count"), asked_about("user_order_count")),
        "user_product_due_ratio": _rate(
            asked_about("user_product_days_since_last_purchase"), asked_about("user_product_avg_days_between_purchases")
        ),
    }


def _distinct(shop: ft.EntitySet, column: str, entity: Entity) -> tuple[Any, Any]:
    """Return the counts of distinct values of `column`: among an entity's views, and among its purchases."""
    event = shop["events"].ww
    kind = ft.Feature(event["event_type"])
    viewed, purchased = (
        ft.Feature(event[column], parent_dataframe_name=entity.frame, primitive=NumUnique, where=kind == happened)
        for happened in ("view", "purchase")
    )
    return viewed, purchased


def _rate(upper: Any, lower: Any) -> Any:
    return ft.Feature([upper, lower], primitive=Rate)
