"""Targets are plain descriptions."""

import dataclasses

import pytest

from data.event import EVENT_TYPES
from model.targets import REPEAT_PURCHASE


def test_repeat_purchase_asks_at_a_purchase_about_the_next_thirty_days() -> None:
    assert REPEAT_PURCHASE.trigger == "purchase"
    assert REPEAT_PURCHASE.label == "purchase"
    assert REPEAT_PURCHASE.horizon_us == 30 * 86_400 * 1_000_000
    assert REPEAT_PURCHASE.entity == "user_product"
    assert {REPEAT_PURCHASE.trigger, REPEAT_PURCHASE.label} <= set(EVENT_TYPES)


def test_a_target_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        REPEAT_PURCHASE.horizon_us = 1  # type: ignore[misc]
