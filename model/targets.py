"""The questions that models answer: what triggers them, what answers them, within which horizon, and what yes means."""

from dataclasses import dataclass
from typing import Literal

from data.errors import ConfigurationError
from data.units import DAY_US, MICROS

__all__ = [
    "CART_ABANDONMENT",
    "PURCHASE_INTENT",
    "REPEAT_PURCHASE",
    "SESSION_IDLE_US",
    "TARGETS",
    "LabelRule",
    "Target",
    "target_named",
]


SESSION_IDLE_US = 30 * 60 * MICROS
"""A user's session ends where no event of theirs follows within this time."""

LabelRule = Literal["follows", "does_not_follow", "follows_in_next_session"]


@dataclass(frozen=True, slots=True)
class Target:
    """A yes-or-no question about a user and a product, asked at each event of a type in `trigger`.

    The label is found among the later events of the same `entity` (the user and the product, or the user whatever the
    product), strictly after the question and at most `horizon_us` microseconds after it. By `rule` it is 1 when

    - `follows`: an event of type `label` is there;
    - `does_not_follow`: none is there;
    - `follows_in_next_session`: one is there in the user's next session, sessions being cut by `SESSION_IDLE_US`.

    A question whose horizon extends past the log has no label yet and is no example. With `asked_later` each is also
    asked some time after its event (see `model.examples.spine`); without, an answer is worthless by then. `meaning`
    says in words what label 1 means; `feature_service` is Feast's, by default of the target's own name.
    """

    name: str
    trigger: tuple[str, ...]
    label: str
    horizon_us: int
    meaning: str
    rule: LabelRule = "follows"
    entity: Literal["user_product", "user"] = "user_product"
    asked_later: bool = True
    feature_service: str = ""

    def __post_init__(self) -> None:
        if self.horizon_us <= 0:
            raise ConfigurationError(f"target {self.name}: its horizon is {self.horizon_us} µs; give more than 0")
        if not self.feature_service:
            object.__setattr__(self, "feature_service", self.name)


REPEAT_PURCHASE = Target(
    name="repeat_purchase",
    trigger=("purchase",),
    label="purchase",
    horizon_us=30 * DAY_US,
    meaning="the user buys the product again",
)
"""At a purchase: does this user buy this product again within 30 days?"""

PURCHASE_INTENT = Target(
    name="purchase_intent",
    trigger=("view", "add_to_cart", "remove_from_cart", "purchase"),
    label="purchase",
    horizon_us=DAY_US,
    meaning="the user buys something",
    entity="user",
)
"""At a user's activity: do they buy anything within 24 hours?"""

CART_ABANDONMENT = Target(
    name="cart_abandonment",
    trigger=("add_to_cart",),
    label="purchase",
    horizon_us=DAY_US,
    meaning="the user does not buy what is in the cart",
    rule="does_not_follow",
    asked_later=False,
)
"""At an add-to-cart: does the product stay unbought for 24 hours?"""

TARGETS: dict[str, Target] = {target.name: target for target in (REPEAT_PURCHASE, PURCHASE_INTENT, CART_ABANDONMENT)}
"""Every target that can be trained, by name."""


def target_named(name: str) -> Target:
    """Return the target of that name. Raises ConfigurationError where there is none."""
    try:
        return TARGETS[name]
    except KeyError:
        raise ConfigurationError(f"target {name!r} is unknown; there are {', '.join(TARGETS)}") from None
