"""Descriptions of features, generated from their expressions, for catalogues and the Feast UI."""

from data.schema import Schema
from data.units import DAY_US, HOUR_US, MICROS, MINUTE_US
from features.kinds import KINDS
from features.plan.plan import (
    Aggregate,
    Asked,
    Borrowed,
    CalendarPart,
    Deviation,
    Difference,
    Edge,
    Expression,
    Extreme,
    Feature,
    Quotient,
    Since,
    Slope,
    Spacing,
    Total,
    Window,
)

__all__ = ["describe"]

_UNITS = {DAY_US: "days", HOUR_US: "hours", MINUTE_US: "minutes", MICROS: "seconds"}


def describe(feature: Feature, schema: Schema) -> str:
    """Return a description of a feature, in one sentence."""
    text = _Words(schema).of(feature.expression)
    return f"{text[0].upper()}{text[1:]}."


class _Words:
    """Words for expressions, with the nouns that a schema has for its events."""

    def __init__(self, schema: Schema) -> None:
        self._plurals = {one.name: one.plural or f"{one.name} events" for one in schema.types}

    def of(self, expression: Expression) -> str:
        match expression:
            case Total(aggregate, window):
                return self._aggregate(aggregate) + _over(window)
            case Extreme(aggregate) | Edge(aggregate):
                return self._aggregate(aggregate)
            case Since(aggregate, unit_us):
                return f"{_UNITS.get(unit_us, 'time')} {self._aggregate(aggregate)}"
            case Spacing(_, _, count, unit_us):
                return f"average {_UNITS.get(unit_us, 'time')} between {self._events(count)}"
            case Deviation(_, total, _):
                return f"sample standard deviation of the {total.aggregate.column} of {self._events(total.aggregate)}"
            case Slope(_, total):
                return f"trend of the {total.column} of {self._events(total)} over time"
            case Quotient(Total(Aggregate("sum", column) as aggregate), Total(Aggregate("count"), window)):
                return f"average {column} of {self._events(aggregate)}{_over(window)}"
            case Quotient(upper, lower):
                return f"({self.of(upper)}) over ({self.of(lower)})"
            case Difference(left, right):
                return f"({self.of(left)}) less ({self.of(right)})"
            case Asked():
                return "the amount that the request names"
            case CalendarPart(part):
                return "hour of the request, UTC" if part == "hour" else "weekday of the request, UTC, Monday = 0"
            case Borrowed(name):
                return name
        raise TypeError(f"no words for {expression}")

    def _aggregate(self, aggregate: Aggregate) -> str:
        return KINDS[aggregate.kind].words.format(column=aggregate.column, events=self._events(aggregate))

    def _events(self, aggregate: Aggregate) -> str:
        types, others = "events", []
        for condition in aggregate.where:
            if condition.column == "event_type":
                types = " or ".join(self._plurals.get(name, name) for name in condition.values)
            else:
                others.append(f"{condition.column} {' or '.join(condition.values)}")
        return f"{types} of {' and '.join(others)}" if others else types


def _over(window: Window | None) -> str:
    return f" over the last {window.name}" if window else ""
