"""An answer of the API as rows and words: features with descriptions and ages, and the decision."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from data.schema import Schema
from data.units import span
from server.console import formats
from server.console.feature.words import FeatureWords, entity_words

__all__ = [
    "OTHERS",
    "Asking",
    "Parts",
    "age_rows",
    "asking_of",
    "feature_rows",
    "likelihood",
    "named_row",
    "parts_of",
    "probability",
    "scored_row",
    "verdict",
    "words_of",
]


class Asking(NamedTuple):
    """The question that a target's model answers: its meaning in words, its horizon, and the base rate of yes."""

    target: str
    version: str
    estimator: str
    meaning: str
    horizon_us: int
    base_rate: float | None

    @property
    def within(self) -> str:
        """The horizon in words, such as within 30 days."""
        return f"within {span(self.horizon_us)}"

    @property
    def model(self) -> str:
        """The model's name, for captions."""
        return f"{self.target.replace('_', ' ')}: {self.estimator} {self.version}"


def asking_of(report: Mapping[str, Any]) -> Asking:
    """Return what a version's report says of its question; the base rate is that of its test."""
    test = report["parts"].get("test") or report["metrics"].get("test") or {}
    return Asking(
        report["target"],
        report["version"],
        report["estimator"],
        report["meaning"],
        report["horizon_us"],
        test.get("base_rate"),
    )


def likelihood(score: float, base_rate: float | None) -> str:
    """Return a probability in words: likely from `_LIKELY` on, else compared with the average."""
    if score >= _LIKELY:
        return "Likely"
    if base_rate is None:
        return "Not likely"
    if score >= base_rate * _MORE:
        return "More likely than on average"
    return "Less likely than on average" if score * _MORE <= base_rate else "About as likely as on average"


_LIKELY = 0.5
_MORE = 1.25
"""Factor above or below the base rate from which a score is called more or less likely than on average."""


def verdict(answer: Mapping[str, Any], question: Asking | None = None) -> str:
    """Return the answer in a sentence: probability, horizon, base rate and threshold."""
    score, threshold = answer["confidence"], answer["threshold"]
    base_rate = question.base_rate if question else None
    subject = f"{question.within} {question.meaning}" if question else str(answer.get("target") or "").replace("_", " ")
    average = "" if base_rate is None else f"; {formats.percent(base_rate)} on average"
    text = (
        f"{likelihood(score, base_rate)}: {subject}: {formats.percent(score)}{average}. "
        f"It {'reaches' if score >= threshold else 'is below'} the threshold of {formats.percent(threshold)}."
    )
    if answer.get("cold_start"):
        text += " Something that the question names has never been seen (cold start): the score rests on little."
    return text


def named_row(value_of: Callable[[str], Any], schema: Schema) -> dict[str, Any]:
    """Return the ids of a question, by their columns' names in words (`user` for `user_id`)."""
    return {words_of(name): value_of(name) for name in schema.asked_keys}


def words_of(column: str) -> str:
    """Return a column's name in words."""
    return column.removesuffix("_id").replace("_", " ")


def scored_row(answer: Mapping[str, Any], schema: Schema, within: str = "") -> dict[str, Any]:
    """Return an answer as a row: ids, probability (`within` its horizon), and whether it reaches the threshold."""
    return {
        **named_row(answer.__getitem__, schema),
        (f"{within} (%)" if within else "probability (%)"): round(100 * answer["confidence"], 1),
        "reaches threshold": "yes" if answer["prediction"] else "no",
    }


def feature_rows(values: Mapping[str, Any], descriptions: FeatureWords) -> list[dict[str, str]]:
    """Return a row per feature: description, subject, value, and name in the definitions."""
    return [
        {
            "feature": descriptions[name].short,
            "of": descriptions[name].subject,
            "value": formats.significant(value),
            "meaning": descriptions[name].full,
            "name": name,
        }
        for name, value in values.items()
    ]


def age_rows(last_event: Mapping[str, str | None], now_us: int) -> list[dict[str, str]]:
    """Return a row per entity: the time since its last event."""
    return [
        {
            "of": entity_words(entity),
            "last event": formats.when(time),
            "age": formats.ago(formats.micros(time), now_us),
        }
        for entity, time in last_event.items()
    ]


class Parts(NamedTuple):
    """A score's log-odds: base + the largest contributions + the rest = total."""

    base: float
    largest: dict[str, float]
    rest: float
    total: float

    @property
    def contributions(self) -> dict[str, float]:
        """The contributions, with the rest as one of them."""
        return self.largest | ({OTHERS: self.rest} if self.rest else {})

    @property
    def points(self) -> dict[str, float]:
        """The contributions as shares of 1: the change of probability as each is added, in this order."""
        changes, log_odds = {}, self.base
        for name, part in self.contributions.items():
            changes[name] = probability(log_odds + part) - probability(log_odds)
            log_odds += part
        return changes


OTHERS = "all others"
"""Label of the contributions that are too small to be shown."""


def probability(log_odds: float) -> float:
    """Return the probability of log-odds."""
    return 1 / (1 + math.exp(-log_odds)) if log_odds >= 0 else 1 - 1 / (1 + math.exp(log_odds))


def parts_of(answer: Mapping[str, Any]) -> Parts | None:
    """Return the parts of an answer's score; None without an explanation."""
    explanation = answer.get("explanation")
    if not explanation:
        return None
    largest = {part["feature"]: part["contribution"] for part in explanation["contributions"]}
    return Parts(explanation["base"], largest, explanation["rest"], explanation["log_odds"])
