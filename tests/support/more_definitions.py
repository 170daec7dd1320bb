"""The project's definitions and some more, so that every supported primitive and window is tried."""

from typing import Any

import featuretools as ft
from featuretools.primitives import Count, First, Last, Max, Mean, Min, PercentTrue, Std, Sum, TimeSinceFirst, Trend

from features.definitions import WINDOWS, define
from features.entities import ENTITIES, USER
from features.order_primitives import OrderCount, OrderGap, RepeatedOrders, SettledOrders, StdOrderGap
from features.primitives import (
    DecayedCount,
    DecayedSum,
    NthLast,
    NumUniqueUpTo,
    Quantile,
    SessionCount,
    SessionEvents,
    SessionLength,
    SmoothedRate,
    TimeSinceNthLast,
    TopCount,
    TopShare,
)

__all__ = ["define_more"]


def define_more(shop: ft.EntitySet) -> list[Any]:
    """Of each entity: what `define` leaves out of the primitives, of quantities, and in windows."""
    event = shop["events"].ww
    kind = ft.Feature(event["event_type"])
    purchased = kind == "purchase"
    mobile = ft.Feature(event["device"]).isin(["phone", "tablet"])
    new = ft.Feature(event["category"]) == "toys"
    features = define(shop)
    for entity in ENTITIES:

        def over(column: Any, primitive: Any, frame: str = entity.frame, **options: Any) -> Any:
            return ft.Feature(column, parent_dataframe_name=frame, primitive=primitive, **options)

        amount, quantity, time = event["amount"], event["quantity"], event["timestamp"]
        more = {
            "first_amount": over(amount, First, where=purchased),
            "last_amount": over(amount, Last),
            "last_quantity": over(quantity, Last, where=purchased),
            "trend": over([amount, time], Trend, where=purchased),
            "share": over(purchased, PercentTrue),
            "share_7d": over(purchased, PercentTrue, use_previous="7 days"),
            "min_amount": over(amount, Min, where=purchased),
            "max_quantity": over(quantity, Max),
            "items": over(quantity, Sum, where=purchased),
            "items_24h": over(quantity, Sum, where=purchased, use_previous="24 hours"),
            "avg_amount_7d": over(amount, Mean, where=purchased, use_previous="7 days"),
            "std_amount_30d": over(amount, Std, where=purchased, use_previous="30 days"),
            "std_quantity": over(quantity, Std),
            "mobile_purchases": over(event["event_id"], Count, where=purchased & mobile),
            "mobile_spend_7d": over(amount, Sum, where=mobile & purchased, use_previous="7 days"),
            "ends": over(event["event_id"], Count, where=kind.isin(["purchase", "return"])),
            "toys_off": over(event["discount"], Max, where=new),
            "hours_since_first": over(time, TimeSinceFirst(unit="hours"), where=purchased),
        }
        newer = {
            "min_amount_7d": over(amount, Min, where=purchased, use_previous="7 days"),
            "max_quantity_30d": over(quantity, Max, use_previous="30 days"),
            "last_amount_but_1": over([amount, time], NthLast(2)),
            "last_amount_but_2": over([amount, time], NthLast(3)),
            "last_quantity_but_1": over([quantity, time], NthLast(2), where=purchased),
            "days_since_second_last": over(time, TimeSinceNthLast(2)),
            "hours_since_third_last_purchase": over(time, TimeSinceNthLast(3, unit="hours"), where=purchased),
            "categories_7d": over(event["category"], NumUniqueUpTo(), use_previous="7 days"),
            "at_most_2_categories": over(event["category"], NumUniqueUpTo(2), where=purchased),
            "at_most_2_products_30d": over(event["product_id"], NumUniqueUpTo(2), use_previous="30 days"),
            "recent_events": over(time, DecayedCount("3 days")),
            "recent_spend": over([amount, time], DecayedSum("8 days"), where=purchased),
            "recent_items": over([quantity, time], DecayedSum("30 minutes")),
            "sessions_30d": over(time, SessionCount("6 hours")),
            "sessions_7d": over(time, SessionCount("1 day", WINDOWS["7d"]), where=purchased),
            "session_length": over(time, SessionLength("2 days")),
            "session_events": over(time, SessionEvents("2 days")),
            "top_category": over(event["category"], TopCount()),
            "top_2_categories_share": over(event["category"], TopShare(2), where=purchased),
            "top_of_2_share_30d": over(event["category"], TopShare(1, most=2), use_previous="30 days"),
            "top_users_24h": over(event["user_id"], TopCount(2), use_previous="24 hours"),
            "median_amount": over(amount, Quantile(), where=purchased),
            "q95_amount_7d": over(amount, Quantile(0.95, digits=3), use_previous="7 days"),
            "q10_quantity": over(quantity, Quantile(0.1)),
            "smooth_share": ft.Feature(
                [
                    over(event["event_id"], Count, where=purchased, use_previous="30 days"),
                    over(event["event_id"], Count, use_previous="30 days"),
                ],
                primitive=SmoothedRate(rate=0.1, weight=20),
            ),
        }
        # Of users all, of others some, since each costs the oracle and batch much time.
        more |= dict(list(newer.items())[:: 1 if entity is USER else 4])
        if entity is USER:
            order = [event["order_id"], time]
            more |= {
                "orders_of_days": over(order, OrderCount(idle="1 day")),
                "orders_of_days_7d": over(order, OrderCount(WINDOWS["7d"], idle="1 day")),
                "orders_of_days_std": over(order, StdOrderGap("hours", idle="1 day")),
                "orders_of_days_gap": over(order, OrderGap(2, "hours", idle="1 day")),
                "orders_settled": over(order, SettledOrders("5 days"), where=purchased),
                "orders_repeated": over(order, RepeatedOrders("5 days"), where=purchased),
            }
        features += [feature.rename(f"{entity.name}_more_{name}") for name, feature in more.items()]
    return features
