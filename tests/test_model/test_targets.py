"""The targets are declared as the issue words them, and cannot be changed under way."""

from dataclasses import FrozenInstanceError

import pytest

from data.default_shop import EVENT_TYPES
from data.errors import ConfigurationError
from data.units import DAY_US
from model.targets import CART_ABANDONMENT, PURCHASE_INTENT, REPEAT_PURCHASE, TARGETS, Target, target_named


def test_repeat_purchase_is_asked_at_a_purchase_and_answered_within_thirty_days() -> None:
    assert REPEAT_PURCHASE.trigger == ("purchase",)
    assert (REPEAT_PURCHASE.label, REPEAT_PURCHASE.rule, REPEAT_PURCHASE.entity) == (
        "purchase",
        "follows",
        "user_product",
    )
    assert REPEAT_PURCHASE.horizon_us == 30 * DAY_US


def test_intent_is_the_users_and_abandonment_is_that_nothing_follows() -> None:
    assert set(PURCHASE_INTENT.trigger) == set(EVENT_TYPES) - {"return"}
    assert (PURCHASE_INTENT.entity, PURCHASE_INTENT.horizon_us) == ("user", DAY_US)
    assert CART_ABANDONMENT.trigger == ("add_to_cart",)
    assert (CART_ABANDONMENT.rule, CART_ABANDONMENT.horizon_us) == ("does_not_follow", DAY_US)


def test_a_target_has_a_feature_service_of_its_own_name() -> None:
    assert [TARGETS[name].feature_service for name in TARGETS] == list(TARGETS)
    assert Target("mine", ("view",), "purchase", 1, "it is bought", feature_service="other").feature_service == "other"


def test_an_unknown_target_and_an_empty_horizon_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="target 'repeat' is unknown; there are repeat_purchase, purchase_int"):
        target_named("repeat")
    with pytest.raises(ConfigurationError, match="give more than 0"):
        Target("mine", ("view",), "purchase", 0, "it is bought")


def test_a_target_is_fixed() -> None:
    with pytest.raises(FrozenInstanceError):
        REPEAT_PURCHASE.horizon_us = 1  # type: ignore[misc]
