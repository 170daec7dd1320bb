"""Descriptions of features, generated from their expressions, for catalogues and the Feast UI."""

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
)

__all__ = ["describe"]

_EVENTS = {
    "": "events",
    "view": "views",
    "add_to_cart": "additions to the cart",
    "remove_from_cart": "removals from the cart",
    "purchase": "purchases",
}
_UNITS = {DAY_US: "days", HOUR_US: "hours", MINUTE_US: "minutes", MICROS: "seconds"}


def describe(feature: Feature) -> str:
    """Return a description of a feature, in one sentence."""
    text = _words(feature.expression)
    return f"{text[0].upper()}{text[1:]}."


def _words(expression: Expression) -> str:
    match expression:
        case Total(aggregate, window):
            over = f" over the last {window.name}" if window else ""
            return _aggregate(aggregate) + over
        case Extreme(aggregate) | Edge(aggregate):
            return _aggregate(aggregate)
        case Since(aggregate, unit_us):
            return f"{_UNITS.get(unit_us, 'time')} {_aggregate(aggregate)}"
        case Spacing(_, _, count, unit_us):
            return f"average {_UNITS.get(unit_us, 'time')} between {_events(count)}"
        case Deviation(_, total, _):
            return f"sample standard deviation of the {total.aggregate.column} of {_events(total.aggregate)}"
        case Slope(_, total):
            return f"trend of the {total.column} of {_events(total)} over time"
        case Quotient(Total(Aggregate("sum", column, where)), Total(Aggregate("count"), window)):
            over = f" over the last {window.name}" if window else ""
            return f"average {column} of {_EVENTS.get(where, where)}{over}"
        case Quotient(upper, lower):
            return f"({_words(upper)}) over ({_words(lower)})"
        case Difference(left, right):
            return f"({_words(left)}) less ({_words(right)})"
        case Asked():
            return "the amount that the request names"
        case CalendarPart(part):
            return "hour of the request, UTC" if part == "hour" else "weekday of the request, UTC, Monday = 0"
        case Borrowed(name):
            return name
    raise TypeError(f"no words for {expression}")


def _aggregate(aggregate: Aggregate) -> str:
    return KINDS[aggregate.kind].words.format(column=aggregate.column, events=_events(aggregate))


def _events(aggregate: Aggregate) -> str:
    return _EVENTS.get(aggregate.where, aggregate.where)
