"""An answer of the API as rows and words: features with what they mean and how old they are, and the verdict."""

from collections.abc import Mapping, Sequence
from typing import Any

from features.describe import describe
from features.plan import Plan
from server.console import formats

__all__ = ["age_rows", "contributions", "feature_rows", "top", "verdict"]

_ENTITY_WORDS = {
    "user": "the user",
    "product": "the product",
    "user_product": "the two together",
    "request": "the request",
}


def verdict(answer: Mapping[str, Any]) -> str:
    """The decision in a sentence."""
    reaches = answer["confidence"] >= answer["threshold"]
    text = (
        f"{'Likely' if reaches else 'Not likely'} to buy again: {formats.percent(answer['confidence'])} "
        f"{'reaches' if reaches else 'is below'} the threshold of {formats.percent(answer['threshold'])}."
    )
    if answer.get("cold_start"):
        text += " Nobody has seen this user or this product yet (cold start): the score rests on little."
    return text


def feature_rows(values: Mapping[str, Any], plan: Plan) -> list[dict[str, str]]:
    """A row per feature: of whom, its value, and what it means."""
    by_name = {feature.name: (entity.entity, feature) for entity in plan.entities for feature in entity.features}
    by_name |= {feature.name: ("request", feature) for feature in plan.request}
    rows = []
    for name, value in values.items():
        entity, feature = by_name.get(name, ("", None))
        rows.append(
            {
                "feature": name,
                "value": formats.significant(value),
                "of": _ENTITY_WORDS.get(entity, ""),
                "meaning": describe(feature) if feature else "",
            }
        )
    return rows


def age_rows(last_event: Mapping[str, str | None], now_us: int) -> list[dict[str, str]]:
    """How old what is known of each entity is."""
    return [
        {
            "of": _ENTITY_WORDS.get(entity, entity),
            "last event": formats.when(at),
            "age": formats.ago(formats.micros(at), now_us),
        }
        for entity, at in last_event.items()
    ]


def contributions(answer: Mapping[str, Any]) -> tuple[float, dict[str, float]] | None:
    """Base and parts of a score on the log-odds scale; None where the answer has no explanation."""
    explanation = answer.get("explanation")
    if not explanation:
        return None
    parts: Sequence[Mapping[str, Any]] | Mapping[str, float] = explanation["contributions"]
    if isinstance(parts, Mapping):
        return explanation["base"], dict(parts)
    return explanation["base"], {part["feature"]: part["contribution"] for part in parts}


def top(parts: Mapping[str, float], count: int) -> dict[str, float]:
    """The parts that count most, and the rest together, so that the sum stays."""
    ranked = sorted(parts, key=lambda name: -abs(parts[name]))
    shown = {name: parts[name] for name in ranked[:count]}
    rest = ranked[count:]
    return shown | ({f"{len(rest)} others": sum(parts[name] for name in rest)} if rest else {})
