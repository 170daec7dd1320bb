"""Groups of features by what they are computed from: reports say what each brings, and a model can leave one out."""

from collections.abc import Sequence
from typing import Any

from data.errors import ConfigurationError
from data.schema import Schema
from features.plan.plan import (
    Aggregate,
    Asked,
    Borrowed,
    CalendarPart,
    OrderValue,
    Plan,
    Since,
    Spacing,
    Window,
    parts_of,
)

__all__ = ["groups_of", "names_without"]


def groups_of(plan: Plan) -> dict[str, str]:
    """Return each feature's group, such as `user.orders`: whose it is, and the first of these that it is computed from.

    Orders; money (a measure with decimals); times since and between events; the calendar; windows; else counts.
    """
    expressions = {feature.name: feature.expression for feature in plan.features}
    owners = {feature.name: entity.entity for entity in plan.entities for feature in entity.features}

    def parts(expression: Any) -> list[Any]:
        own_parts = list(parts_of(expression))
        borrowed = [expressions[part.feature] for part in own_parts if isinstance(part, Borrowed)]
        return [*own_parts, *(part for other in borrowed for part in parts(other))]

    return {
        name: f"{owners.get(name, 'request')}.{_family(parts(expression), plan.schema)}"
        for name, expression in expressions.items()
    }


def names_without(plan: Plan, left_out: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a model's inputs but for those of some groups.

    Raises ConfigurationError where there is no such group, or nothing is left.
    """
    groups = {name: group for name, group in groups_of(plan).items() if name in plan.names}
    if unknown := set(left_out) - set(groups.values()):
        raise ConfigurationError(
            f"--leave-out {', '.join(sorted(unknown))}: no such group of features; there are "
            f"{', '.join(sorted(set(groups.values())))}"
        )
    if not (kept := tuple(name for name in plan.names if groups[name] not in left_out)):
        raise ConfigurationError("--leave-out names every group of features; leave one")
    return kept


def _family(parts: list[Any], schema: Schema) -> str:
    if any(isinstance(part, OrderValue) for part in parts):
        return "orders"
    money = {measure.name for measure in schema.measures if not measure.is_whole}
    if any(isinstance(part, Asked) or (isinstance(part, Aggregate) and part.column in money) for part in parts):
        return "money"
    if any(isinstance(part, Since | Spacing) for part in parts):
        return "times"
    if any(isinstance(part, CalendarPart) for part in parts):
        return "calendar"
    return "windows" if any(isinstance(part, Window) for part in parts) else "counts"
