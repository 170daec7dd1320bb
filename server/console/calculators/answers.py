"""An answer of the API as rows and words: features with descriptions and ages, and the decision."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from data.schema import Schema
from features.plan.describe import describe
from features.plan.plan import Plan
from server.console import formats

__all__ = ["Parts", "age_rows", "feature_rows", "named_row", "parts_of", "scored_row", "verdict", "words_of"]

_ENTITY_WORDS = {
    "user": "the user",
    "product": "the product",
    "user_product": "the two together",
    "request": "the request",
}


_QUESTIONS = {
    "repeat_purchase": "to buy again",
    "purchase_intent": "to buy soon",
    "cart_abandonment": "to be left in the cart",
}


def verdict(answer: Mapping[str, Any], target: str | None = None) -> str:
    """Return the decision in a sentence."""
    reaches = answer["confidence"] >= answer["threshold"]
    target = target or str(answer.get("target") or "repeat_purchase")
    question = _QUESTIONS.get(target, f"({target.replace('_', ' ')})")
    text = (
        f"{'Likely' if reaches else 'Not likely'} {question}: {formats.percent(answer['confidence'])} "
        f"{'reaches' if reaches else 'is below'} the threshold of {formats.percent(answer['threshold'])}."
    )
    if answer.get("cold_start"):
        text += " Something that the question names has never been seen (cold start): the score rests on little."
    return text


def named_row(value_of: Callable[[str], Any], schema: Schema) -> dict[str, Any]:
    """Return what a question names, by the words for its columns (`user` for `user_id`)."""
    return {words_of(name): value_of(name) for name in schema.asked_keys}


def words_of(column: str) -> str:
    """Return a column's name in words."""
    return column.removesuffix("_id").replace("_", " ")


def scored_row(answer: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """Return an answer as a row: what it is about, probability and decision."""
    return {
        **named_row(answer.__getitem__, schema),
        "score (%)": round(100 * answer["confidence"], 1),
        "decision": "yes" if answer["prediction"] else "no",
    }


def feature_rows(values: Mapping[str, Any], plan: Plan) -> list[dict[str, str]]:
    """Return a row per feature: its entity, value and description."""
    by_name = {feature.name: (entity.entity, feature) for entity in plan.entities for feature in entity.features}
    by_name |= {feature.name: ("request", feature) for feature in plan.request}
    rows = []
    for name, value in values.items():
        entity, feature = by_name.get(name, ("", None))
        rows.append(
            {
                "feature": name,
                "value": formats.significant(value),
                "of": _ENTITY_WORDS.get(entity, entity.replace("_", " ")),
                "meaning": describe(feature, plan.schema) if feature else "",
            }
        )
    return rows


def age_rows(last_event: Mapping[str, str | None], now_us: int) -> list[dict[str, str]]:
    """Return a row per entity: the time since its last event."""
    return [
        {
            "of": _ENTITY_WORDS.get(entity, entity.replace("_", " ")),
            "last event": formats.when(at),
            "age": formats.ago(formats.micros(at), now_us),
        }
        for entity, at in last_event.items()
    ]


class Parts(NamedTuple):
    """A score's log-odds: base + the largest contributions + the rest = total."""

    base: float
    largest: dict[str, float]
    rest: float
    total: float

    @property
    def shown(self) -> dict[str, float]:
        """The contributions, with the rest as one of them."""
        return self.largest | ({"all others": self.rest} if self.rest else {})


def parts_of(answer: Mapping[str, Any]) -> Parts | None:
    """Return the parts of an answer's score; None without an explanation."""
    explanation = answer.get("explanation")
    if not explanation:
        return None
    largest = {one["feature"]: one["contribution"] for one in explanation["contributions"]}
    return Parts(explanation["base"], largest, explanation["rest"], explanation["log_odds"])
