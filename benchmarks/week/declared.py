"""The project of the week: all features of visitors, products and campaigns cover at most the last day."""

from pathlib import Path

__all__ = ["RETENTION", "declare"]

RETENTION = (
    "log=48h,predictions=24h,models=24h,"
    "state:visitor=25h,state:product=25h,state:visitor_product=25h,state:campaign=25h"
)
"""The log is kept for the longest window plus a day, the minimum; states for their longest window."""

_FILES = {
    "encore.toml": 'version = 1\nname = "week"\n',
    "schema.py": """\
from data.schema import Entity, EventType, Measure, Schema

SHOP = Schema(
    types=(EventType("view", "views"), EventType("purchase", "purchases")),
    keys=("visitor_id", "product_id"),
    labels=("campaign",),
    measures=(Measure("amount", decimals=2),),
    ordered_by="visitor_id",
    entities=(
        Entity("visitor", ("visitor_id",)),
        Entity("product", ("product_id",)),
        Entity("visitor_product", ("product_id", "visitor_id")),
        Entity("campaign", ("campaign",)),
    ),
    asks=("visitor_id", "product_id"),
)
""",
    "features.py": """\
import featuretools as ft
from featuretools.primitives import Count, Sum

WINDOWS = {"1h": ("1 hour", "5 minutes"), "24h": ("24 hours", "1 hour")}


def define(shop):
    event = shop["events"].ww
    kind = ft.Feature(event["event_type"])

    def over(entity, column, primitive, kept, window):
        return ft.Feature(
            event[column],
            parent_dataframe_name=f"{entity}s",
            primitive=primitive,
            where=kind == kept,
            use_previous=WINDOWS[window][0],
        )

    features = {}
    for entity in ("visitor", "product", "visitor_product", "campaign"):
        for window in WINDOWS:
            features[f"{entity}_views_{window}"] = over(entity, "event_id", Count, "view", window)
            features[f"{entity}_purchases_{window}"] = over(entity, "event_id", Count, "purchase", window)
        features[f"{entity}_spend_24h"] = over(entity, "amount", Sum, "purchase", "24h")
    return [feature.rename(name) for name, feature in features.items()]
""",
    "targets.py": """\
from data.units import HOUR_US
from model.targets import Target

TARGETS = [
    Target(
        name="buys",
        trigger=("view",),
        label="purchase",
        horizon_us=HOUR_US,
        meaning="the visitor buys something",
        entity="visitor",
    )
]
""",
}


def declare(folder: Path) -> Path:
    """Write the project into a new folder, and return it."""
    folder.mkdir()
    for name, text in _FILES.items():
        (folder / name).write_text(text)
    return folder
