"""Conditions on events: which of them an aggregate counts."""

from collections.abc import Iterable

import msgspec

__all__ = ["EVERY", "Condition", "Where", "both", "types_of"]


class Condition(msgspec.Struct, frozen=True, order=True):
    """The event's type, or one of its labels, is one of some values, which are sorted."""

    column: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        values = "|".join(self.values)
        return values if self.column == "event_type" else f"{self.column}={values}"


Where = tuple[Condition, ...]
"""Conditions that all hold, one a column, by the column's name; none: every event."""

EVERY: Where = ()


def both(first: Where, second: Where) -> Where | None:
    """Return the condition that both hold; None where no event can meet it."""
    allowed: dict[str, tuple[str, ...]] = {condition.column: condition.values for condition in first}
    for condition in second:
        column, values = condition.column, condition.values
        allowed[column] = tuple(value for value in allowed.get(column, values) if value in values)
    if not all(allowed.values()):
        return None
    return tuple(Condition(column, values) for column, values in sorted(allowed.items()))


def types_of(where: Where, every: Iterable[str]) -> tuple[str, ...]:
    """Return the event types that a condition allows, of all that there are."""
    return next((condition.values for condition in where if condition.column == "event_type"), tuple(every))
