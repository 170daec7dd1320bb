"""How far back the features of an entity look: behind that, its events say nothing to them."""

from collections.abc import Mapping
from typing import Any

from data.units import MICROS, span
from features.plan.plan import (
    Decayed,
    Distinct,
    Edge,
    EntityPlan,
    Extreme,
    OrderValue,
    Plan,
    Quantile,
    Recent,
    SessionValue,
    Since,
    SinceRecent,
    Slope,
    Spacing,
    Top,
    Total,
    parts_of,
)

__all__ = ["Reach", "reach_of", "reach_of_all", "refusal_of_lives"]

_OF_ALL_TIME = (Edge, Since, Spacing, Slope, Recent, SinceRecent, OrderValue)
"""An order in a window may have begun before it, and gaps reach to the order before."""

_WINDOWED = (Total, Extreme, Distinct, Decayed, SessionValue, Top, Quantile)

Reach = tuple[int | None, str]
"""How far back, µs (None: without end), and what looks that far, in words; empty where there are no features."""


def reach_of(plan: EntityPlan) -> Reach:
    """Return how far back an entity's state must go for its features, and for what others ask of it."""
    if plan.firsts:
        return None, f"states of others count each {plan.entity} once, for ever"
    longest, by = plan.remembers_s * MICROS, "what tells which events were sent again" if plan.remembers_s else ""
    for feature in plan.features:
        for part in parts_of(feature.expression):
            length = _length(part)
            if length is None:
                return None, f"the feature {feature.name} is of all time"
            if length > longest:
                longest, by = length, f"the feature {feature.name}"
    return longest, by


def reach_of_all(plan: Plan) -> Reach:
    """Return how far back the features of all entities look."""
    longest: Reach = (0, "")
    for entity in plan.entities:
        reach = reach_of(entity)
        if reach[0] is None:
            return reach
        longest = max(longest, reach, key=lambda candidate: candidate[0] or 0)
    return longest


def refusal_of_lives(plan: Plan, lives: Mapping[str, int]) -> str:
    """Return why states may not leave the store so long (µs, by entity) after their last event; empty where they may.

    One that left must be as if it had never been: all that it held lies before every window.
    """
    entities = {entity.entity: entity for entity in plan.entities}
    for name, life_us in lives.items():
        if name not in entities:
            return f"state:{name}: there is no such entity; there are {', '.join(entities)}"
        reach_us, by = reach_of(entities[name])
        if reach_us is None:
            return (
                f"state:{name}: {by}, and a state that had left the store would begin from nothing; a time to live is "
                "for entities all of whose features have windows"
            )
        if life_us < reach_us:
            return f"state:{name}: {by} looks {span(reach_us)} back; let its states live no shorter"
    return ""


def _length(part: Any) -> int | None:
    """Return how far back a part of an expression looks, µs; None: without end, 0: not at all."""
    if isinstance(part, _OF_ALL_TIME):
        return None
    if isinstance(part, _WINDOWED):
        return None if part.window is None else part.window.length_us
    return 0
