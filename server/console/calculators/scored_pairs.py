"""Those who come again for something, scored by the API: when they are due, and how likely."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import streamlit as st

from data.units import DAY_US
from model.targets import first_target
from server.console.calculators.answers import Asking
from server.console.calculators.asked_pair import AskedPair, Regular, asked_pair
from server.console.calculators.batch_file import ask_all
from server.console.resources import api, api_key, asking, clock, history, settings

__all__ = ["ScoredPair", "asked_about", "due_within", "scored_candidates", "scored_regulars"]


class ScoredPair(NamedTuple):
    """Who and what, as in `Regular`, with the score of a repeat, and when it is due (UTC µs)."""

    regular: Regular
    score: float
    prediction: bool

    @property
    def due_us(self) -> int:
        """One average gap after the last time."""
        return self.regular.last_us + (self.regular.last_us - self.regular.first_us) // (self.regular.times - 1)


def asked_about() -> Asking | None:
    """Return the question that scores of pairs answer: the project's first; None where the API does not tell."""
    return asking(first_target(settings().declared), api_key())


def scored_regulars(most: int) -> list[ScoredPair]:
    """Return at most `most` pairs with at least two of the events, the latest first, with their present scores."""
    return _scored(most, api_key())


@st.cache_data(ttl=300, show_spinner="scoring those who come again …")
def _scored(most: int, key: str) -> list[ScoredPair]:  # noqa: ARG001 - part of the cache's key
    pair = asked_pair(settings().declared)
    if pair is None:
        return []
    found = history().regulars(pair, clock(), most)
    answers = _answers(pair, [(one.who, one.what) for one in found])
    return [
        ScoredPair(one, answer["confidence"], answer["prediction"])
        for one, answer in zip(found, answers, strict=True)
        if answer is not None
    ]


def scored_candidates(pair: AskedPair, who: str, most: int) -> list[tuple[str, dict[str, Any]]]:
    """Return what somebody had before, with the answers about it now, the most likely first."""
    before = history().had_before(pair, who, most)
    answers = zip(before, _answers(pair, [(who, what) for what in before]), strict=True)
    return sorted(((what, one) for what, one in answers if one), key=lambda each: -each[1]["confidence"])


def due_within(pairs: Sequence[ScoredPair], now_us: int, days: float) -> list[ScoredPair]:
    """Return the pairs due in the next `days` days, or overdue by no more than that; the most likely first."""
    window = days * DAY_US
    return sorted((pair for pair in pairs if abs(pair.due_us - now_us) <= window), key=lambda pair: -pair.score)


def _answers(pair: AskedPair, asked: Sequence[tuple[str, str]]) -> list[dict[str, Any] | None]:
    questions = [{pair.who: who, pair.what: what} for who, what in asked]
    return [answer for part in ask_all(api().predict_batch, questions) for answer in part]
