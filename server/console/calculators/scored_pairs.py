"""Pairs with repeated events, scored by the API: when the next one is due, and how likely it is."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import streamlit as st

from data.units import DAY_US
from model.targets import first_target
from server.console.calculators.answers import Asking
from server.console.calculators.asked_pair import AskedPair, Regular, asked_pair
from server.console.calculators.batch_file import ask_all
from server.console.resources import api, api_key, asking, clock, history, settings

__all__ = ["ScoredPair", "ScoredPairs", "asked_about", "due_within", "scored_candidates", "scored_regulars"]


class ScoredPair(NamedTuple):
    """A regular pair with the score of a repeat, and the time when it is due (UTC µs)."""

    regular: Regular
    score: float
    prediction: bool

    @property
    def due_us(self) -> int:
        """The last time plus one average gap."""
        return self.regular.last_us + (self.regular.last_us - self.regular.first_us) // (self.regular.times - 1)


class ScoredPairs(NamedTuple):
    """Pairs, the question that their scores answer (None if unknown), and when these were made, UTC µs."""

    pairs: list[ScoredPair]
    question: Asking | None
    at_us: int


def asked_about() -> Asking | None:
    """Return the question that scores of pairs answer: the project's first; None if the API does not answer."""
    return asking(first_target(settings().declared), api_key())


def scored_regulars(most: int) -> ScoredPairs:
    """Return at most `most` pairs with at least two of the events, the latest first, with their scores.

    These are up to five minutes old, and shown whether the API answers or not.
    """
    return _scored(most, api_key())


@st.cache_data(ttl=300, show_spinner="scoring those who come again …")
def _scored(most: int, key: str) -> ScoredPairs:  # noqa: ARG001 - part of the cache's key
    pair, now_us = asked_pair(settings().declared), clock()
    if pair is None:
        return ScoredPairs([], None, now_us)
    regulars = history().regulars(pair, now_us, most)
    answers = _answers(pair, [(regular.user, regular.item) for regular in regulars])
    pairs = [
        ScoredPair(regular, answer["confidence"], answer["prediction"])
        for regular, answer in zip(regulars, answers, strict=True)
        if answer is not None
    ]
    return ScoredPairs(pairs, asked_about(), now_us)


def scored_candidates(pair: AskedPair, user: str, most: int) -> list[tuple[str, dict[str, Any]]]:
    """Return the items that `user` had events with, with the present answers about each, the most likely first."""
    before = history().had_before(pair, user, most)
    answers = zip(before, _answers(pair, [(user, item) for item in before]), strict=True)
    return sorted(((item, answer) for item, answer in answers if answer), key=lambda row: -row[1]["confidence"])


def due_within(pairs: Sequence[ScoredPair], now_us: int, days: float) -> list[ScoredPair]:
    """Return the pairs due in the next `days` days, or overdue by no more than that; the most likely first."""
    window = days * DAY_US
    return sorted((pair for pair in pairs if abs(pair.due_us - now_us) <= window), key=lambda pair: -pair.score)


def _answers(pair: AskedPair, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any] | None]:
    questions = [{pair.user_key: user, pair.item_key: item} for user, item in pairs]
    return [answer for part in ask_all(api().predict_batch, questions) for answer in part]
