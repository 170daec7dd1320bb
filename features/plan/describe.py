"""Descriptions of features, generated from their expressions, for catalogues and the Feast UI."""

from data.units import DAY_US, HOUR_US, MICROS, MINUTE_US
from features.kinds import KINDS
from features.plan.plan import (
    Aggregate,
    Asked,
    Borrowed,
    CalendarPart,
    Decayed,
    Deviation,
    Difference,
    Distinct,
    Edge,
    Expression,
    Extreme,
    Feature,
    Quantile,
    Quotient,
    Recent,
    SessionValue,
    Since,
    SinceRecent,
    Slope,
    Smoothed,
    Spacing,
    Top,
    Total,
    Window,
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
        case Total(aggregate, window) | Extreme(aggregate, window) | Distinct(aggregate, window):
            return _aggregate(aggregate) + _over(window)
        case Edge(aggregate):
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
            return f"average {column} of {_EVENTS.get(where, where)}{_over(window)}"
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
    return _more_words(expression)


def _more_words(expression: Expression) -> str:
    match expression:
        case Recent(aggregate, number):
            return f"{aggregate.column} of the {_last(number)} of {_events(aggregate)}"
        case SinceRecent(aggregate, number, unit_us):
            return f"{_UNITS.get(unit_us, 'time')} since the {_last(number)} of {_events(aggregate)}"
        case Decayed(aggregate, window):
            return f"{_aggregate(aggregate)}, decayed by a {window.name}"
        case SessionValue(aggregate, window, what):
            words = {"count": "number", "length": "mean length in minutes", "events": "events in the present one"}
            idle = f"that end after {aggregate.parameter / MINUTE_US:g} idle minutes"
            return f"{words[what]} of the {_aggregate(aggregate)} {idle}{_over(window)}"
        case Top(aggregate, number, share, window):
            part = "share" if share else "number"
            return f"{part} of {_events(aggregate)} in the {number} most frequent {aggregate.column}{_over(window)}"
        case Quantile(aggregate, per_mille, window):
            of = f"the {aggregate.column} of {_events(aggregate)}{_over(window)}"
            return f"{per_mille / 10:g} % quantile of {of}, within {500 / 10**aggregate.parameter:g} %"
        case Smoothed(upper, lower, rate, weight):
            return f"({_words(upper)}) over ({_words(lower)}), from {rate:g} with the weight of {weight:g}"
    raise TypeError(f"no words for {expression}")


def _aggregate(aggregate: Aggregate) -> str:
    return KINDS[aggregate.kind].words.format(
        column=aggregate.column, events=_events(aggregate), parameter=aggregate.parameter
    )


def _over(window: Window | None) -> str:
    return f" over the last {window.name}" if window else ""


def _last(number: int) -> str:
    return "last" if number == 1 else f"last but {number - 1}"


def _events(aggregate: Aggregate) -> str:
    return _EVENTS.get(aggregate.where, aggregate.where)
