"""The default project's schema: a web shop whose customers view, put into the cart, buy and send back products."""

from typing import TYPE_CHECKING, Literal

from data.event import EventDecoder, event_class
from data.schema import Entity, EventType, Measure, Schema

__all__ = ["EVENT_TYPES", "SHOP", "ShopEvent", "ShopEventType", "decode_event"]

SHOP = Schema(
    types=(
        EventType("view", "views"),
        EventType("add_to_cart", "additions to the cart"),
        EventType("remove_from_cart", "removals from the cart"),
        EventType("purchase", "purchases"),
        EventType("return", "returns"),
    ),
    keys=("user_id", "product_id"),
    labels=("category", "brand", "device", "order_id"),
    measures=(
        Measure("amount", decimals=6, most=1e15),
        Measure("quantity", least=1, default=1),
        Measure("discount", decimals=6, most=1e15, default=0),
    ),
    ordered_by="user_id",
    entities=(
        Entity("user", ("user_id",), "a shopper"),
        Entity("product", ("product_id",), "a product on sale"),
        Entity("user_product", ("product_id", "user_id"), "a shopper and a product together"),
        Entity("category", ("category",), "a category of products", frame="categories"),
        Entity("user_category", ("category", "user_id"), "a shopper and a category together", frame="user_categories"),
    ),
    asks=("user_id", "product_id", "amount"),
)
"""`amount` is the total price of the line, and `discount` what was taken off it. Purchases of one `order_id` are one
order; of those without, an idle time ends one (`features.order_primitives`)."""

EVENT_TYPES = SHOP.type_names

if TYPE_CHECKING:
    ShopEventType = str
else:
    ShopEventType = Literal[EVENT_TYPES]

ShopEvent = event_class(SHOP)
"""The class of this shop's events."""

decode_event = EventDecoder(SHOP)
