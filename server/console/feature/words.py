"""Features in words for people who know the shop and not its columns: short enough for a chart, and in full."""

import re
from typing import NamedTuple

from features.plan.describe import describe
from features.plan.plan import Plan

__all__ = ["FeatureWords", "Told", "entity_words"]

_ENTITY_WORDS = {"user_product": "user and product", "user_category": "user and category", "request": "question"}

_LONGEST = 64
"""The most characters of a short text; the full one is beside it, or in a tooltip."""

_UNITS = {"h": "hour", "d": "day", "m": "minute"}

_SHORTER: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"\bnumber of distinct (\w+?)(?:_id)? among ", r"different \1s among "),
        (r"\bnumber of orders among purchases\b", "orders"),
        (r"\bnumber of ", ""),
        (r"\bsum of the amount of ", "amount of "),
        (r"\bsum of the (\w+) of ", r"\1 of "),
        (r"\bsample standard deviation of the ", "spread of the "),
        (r"\bsince the (last|first) of (\w+?)s\b", r"since the \1 \2"),
        (r"\bbetween orders among purchases\b", "between orders"),
        (r"\bthe (\w+) that the request names\b", r"\1 of the question"),
        (r"\bof the request\b", "of the question"),
        (r", from [\d.]+ with the weight of [\d.]+", ""),
        (r"\) over \(", ") ÷ ("),
        (r"\) less \(", ") − ("),
    )
)
_WINDOW = re.compile(r" over the last (\d+)([hdm])\b")
_SIMPLE = re.compile(r"\(([^()]*)\)")


class Told(NamedTuple):
    """A feature's description: short, in full, and its subject (user, product, question)."""

    short: str
    full: str
    subject: str

    @property
    def title(self) -> str:
        """The short description with its subject."""
        return f"{self.short} ({self.subject})" if self.subject else self.short


class FeatureWords:
    """Descriptions of a plan's features, by name. A feature unknown to the plan keeps its name."""

    def __init__(self, plan: Plan) -> None:
        self._descriptions: dict[str, Told] = {}
        for entity in plan.entities:
            for feature in entity.features:
                full = describe(feature, plan.schema)
                self._descriptions[feature.name] = Told(_short(full), full, entity_words(entity.entity))
        for feature in plan.request:
            full = describe(feature, plan.schema)
            full = re.sub(r"\w+", lambda name: self._referenced(name[0]), full)
            self._descriptions[feature.name] = Told(_short(full), full, entity_words("request"))

    def __getitem__(self, name: str) -> Told:
        return self._descriptions.get(name) or Told(name, "", "")

    def title(self, name: str) -> str:
        """Return a feature's short description with its subject."""
        return self[name].title

    def _referenced(self, word: str) -> str:
        """Return the description of a feature that another one refers to, else the word itself."""
        description = self._descriptions.get(word)
        if description is None or "_" not in word:
            return word
        return f"{description.short[:1].lower()}{description.short[1:]} of the {description.subject}"


def entity_words(entity: str) -> str:
    """Return what an entity is called on pages."""
    return _ENTITY_WORDS.get(entity, entity.replace("_", " "))


def _short(full: str) -> str:
    text = full.removesuffix(".")
    text = text[:1].lower() + text[1:]
    for pattern, replacement in _SHORTER:
        text = pattern.sub(replacement, text)
    text = _WINDOW.sub(_window, text)
    if " ÷ " in text or " − " in text:
        text = _SIMPLE.sub(r"\1", text)
    text = text[:1].upper() + text[1:]
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1].rstrip() + "…"


def _window(match: re.Match[str]) -> str:
    count, unit = int(match[1]), _UNITS[match[2]]
    return f", last {unit}" if count == 1 else f", last {count} {unit}s"
