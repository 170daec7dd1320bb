"""Facts of the default shop's events."""

from data.default_shop import SHOP
from features.facts import Fact, fact_class, fact_maker
from features.plan.where import Condition, Where
from features.state.algebra import Algebra

__all__ = ["distincts", "fact_of", "of_type", "some_fact"]

fact_of = fact_maker(SHOP)


def some_fact(
    kind: str, user: str, product: str, at_us: int, amount: int, quantity: int, event_id: str, **more: object
) -> Fact:
    """A fact in a few words; `amount` in micro-units."""
    named = {"user_id": user, "product_id": product, "amount": amount, "quantity": quantity}
    return fact_class(SHOP)(kind, at_us, event_id, **named, **more)


def distincts(algebra: Algebra, fact: Fact) -> list[int]:
    """The slots that count an event which is the first of its kind."""
    return [
        place
        for place, slot in enumerate(algebra.plan.slots)
        if slot.kind == "distinct" and all(getattr(fact, one.column) in one.values for one in slot.where)
    ]


def of_type(*names: str) -> Where:
    """The condition that an event is of one of these types."""
    return (Condition("event_type", tuple(sorted(names))),)
