"""Users with products they buy repeatedly, scored by the API: when they are due, and how likely."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import streamlit as st

from data.units import DAY_US
from features.state.values import Value
from server.console.calculators.batch_file import ask_all
from server.console.resources import api, api_key, clock, history

__all__ = ["ScoredPair", "due_within", "scored_rebuyers"]

_SPACING = "user_product_avg_days_between_purchases"
_SINCE = "user_product_days_since_last_purchase"
_AMOUNT = "user_product_avg_transaction_amount"
_COUNT = "user_product_purchase_count"


class ScoredPair(NamedTuple):
    """A user and a product: the probability of a repeat, the usual amount, and when it is due (UTC µs)."""

    user_id: str
    product_id: str
    score: float
    prediction: bool
    amount: float
    purchases: int
    last_us: int
    due_us: int


def scored_rebuyers(most: int) -> list[ScoredPair]:
    """Return at most `most` pairs with at least two purchases, the latest buyers first, with their present scores."""
    return _scored(most, api_key())


@st.cache_data(ttl=300, show_spinner="scoring those who buy again …")
def _scored(most: int, key: str) -> list[ScoredPair]:  # noqa: ARG001 - part of the cache's key
    now = clock()
    found = history().rebuyers(now, [_SPACING, _SINCE, _AMOUNT, _COUNT], most)
    questions = [{"user_id": one.user_id, "product_id": one.product_id} for one in found]
    answers = [answer for part in ask_all(api().predict_batch, questions) for answer in part]
    return [
        _pair(one.user_id, one.product_id, one.features, answer, now)
        for one, answer in zip(found, answers, strict=True)
        if answer is not None
    ]


def due_within(pairs: Sequence[ScoredPair], now_us: int, days: float) -> list[ScoredPair]:
    """Return the pairs due in the next `days` days, or overdue by no more than that; the most likely first."""
    window = days * DAY_US
    return sorted((pair for pair in pairs if abs(pair.due_us - now_us) <= window), key=lambda pair: -pair.score)


def _pair(user_id: str, product_id: str, features: dict[str, Value], answer: dict[str, Any], now_us: int) -> ScoredPair:
    last_us = now_us - round((features[_SINCE] or 0) * DAY_US)
    return ScoredPair(
        user_id,
        product_id,
        answer["confidence"],
        answer["prediction"],
        float(features[_AMOUNT] or 0),
        int(features[_COUNT] or 0),
        last_us,
        last_us + round((features[_SPACING] or 0) * DAY_US),
    )
