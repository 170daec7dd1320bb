"""What a model predicts: the event that asks, the event that answers, and how long the answer may take."""

from dataclasses import dataclass

from data.event import MICROS, EventType

__all__ = ["REPEAT_PURCHASE", "Target"]

_DAY_US = 86_400 * MICROS


@dataclass(frozen=True, slots=True)
class Target:
    """A yes-or-no question about a user and a product, asked at each trigger event.

    The answer is yes (1) when an event of type `label` of the same user and product follows strictly later than the
    trigger and at most `horizon_us` microseconds after it. A trigger whose horizon the log has not fully seen has no
    answer yet and is no example.
    """

    name: str
    trigger: EventType
    label: EventType
    horizon_us: int
    feature_service: str
    entity: str = "user_product"


REPEAT_PURCHASE = Target(
    name="repeat_purchase",
    trigger="purchase",
    label="purchase",
    horizon_us=30 * _DAY_US,
    feature_service="repeat_purchase",
)
"""At a purchase: does this user buy this product again within 30 days?"""
