"""The project's definitions and some more, so that every supported primitive and window is tried."""

from typing import Any

import featuretools as ft
from featuretools.primitives import Count, First, Last, Max, Mean, Min, PercentTrue, Std, Sum, TimeSinceFirst, Trend

from features.definitions import define
from features.entities import ENTITIES

__all__ = ["define_more"]


def define_more(shop: ft.EntitySet) -> list[Any]:
    """Of each entity: First, Last, Trend, PercentTrue, Min, of quantities, and Mean, Std, PercentTrue in windows."""
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
        features += [feature.rename(f"{entity.name}_more_{name}") for name, feature in more.items()]
    return features
