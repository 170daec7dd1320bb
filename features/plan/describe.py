"""Descriptions of features, generated from their expressions, for catalogues and the Feast UI."""

import msgspec

from data.schema import Schema
from data.units import DAY_US, HOUR_US, MICROS, MINUTE_US, span
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
    OrderValue,
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

__all__ = ["describe", "formula"]

_UNITS = {DAY_US: "days", HOUR_US: "hours", MINUTE_US: "minutes", MICROS: "seconds"}


def describe(feature: Feature, schema: Schema) -> str:
    """Return a description of a feature, in one sentence."""
    text = _Words(schema).of(feature.expression)
    return f"{text[0].upper()}{text[1:]}."


def formula(expression: Expression) -> str:
    """Return an expression as it is compiled, such as `Total(sum(amount) of purchase, 7d in tiles of 1 hour)`.

    Arguments that have their default are left out; lengths of time are in words, as are conditions on events.
    """
    return _written(expression)


def _written(part: object, name: str = "") -> str:
    match part:
        case Aggregate(kind, parameter=idle_us) if KINDS[kind].idle:
            return f"{msgspec.structs.replace(part, parameter=0)}, idle={span(idle_us)}"
        case Aggregate():
            return str(part)
        case Window(_, hop_us, window):
            return f"{window} in tiles of {span(hop_us)}"
        case msgspec.Struct():
            arguments = [
                _written(value, field.name)
                for field in msgspec.structs.fields(part)
                if (value := getattr(part, field.name)) != field.default
            ]
            return f"{type(part).__name__}({', '.join(arguments)})"
        case int() if name.endswith("_us"):
            return f"{name.removesuffix('_us')}={span(part)}"
    return f"{name}={part}"


class _Words:
    """Words for expressions, with the nouns that a schema has for its events."""

    def __init__(self, schema: Schema) -> None:
        self._plurals = {
            event_type.name: event_type.plural or f"{event_type.name} events" for event_type in schema.types
        }

    def of(self, expression: Expression) -> str:
        match expression:
            case Total(aggregate, window) | Extreme(aggregate, window) | Distinct(aggregate, window):
                return self._aggregate(aggregate) + _over(window)
            case Edge(aggregate):
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
            case Asked(column):
                return f"the {column.removeprefix('request_')} that the request names"
            case CalendarPart(part):
                return "hour of the request, UTC" if part == "hour" else "weekday of the request, UTC, Monday = 0"
            case Borrowed(name):
                return name
        return self._listed(expression)

    def _listed(self, expression: Expression) -> str:
        """Return the words for what is read from a list, or from tiles by age."""
        match expression:
            case Recent(aggregate, number):
                return f"{aggregate.column} of the {_last(number)} of {self._events(aggregate)}"
            case SinceRecent(aggregate, number, unit_us):
                return f"{_UNITS.get(unit_us, 'time')} since the {_last(number)} of {self._events(aggregate)}"
            case Decayed(aggregate, window):
                return f"{self._aggregate(aggregate)}, decayed by a {window.name}"
            case SessionValue(aggregate, window, what):
                words = {"count": "number", "length": "mean length in minutes", "events": "events in the present one"}
                idle = f"that end after {aggregate.parameter / MINUTE_US:g} idle minutes"
                return f"{words[what]} of the {self._aggregate(aggregate)} {idle}{_over(window)}"
            case OrderValue(aggregate, "count", window):
                return self._aggregate(aggregate) + _over(window)
            case OrderValue(aggregate, "gap", _, number, unit_us):
                return f"{_UNITS.get(unit_us, 'time')} between the {_last(number)} and the {_last(number + 1)} order"
            case OrderValue(aggregate, "mean" | "deviation" as what, unit_us=unit_us):
                kind = "average" if what == "mean" else "sample standard deviation of the"
                return f"{kind} {_UNITS.get(unit_us, 'time')} between orders among {self._events(aggregate)}"
            case OrderValue(aggregate, "settled", span_us=span_us):
                return f"{self._aggregate(aggregate)} that are over {span_us / DAY_US:g} days old"
            case OrderValue(aggregate, span_us=span_us):
                days = f"{span_us / DAY_US:g} days"
                return f"{self._aggregate(aggregate)} that are over {days} old and that another followed within these"
            case Top(aggregate, number, share, window):
                subject = f"{self._events(aggregate)} in the {number} most frequent {aggregate.column}"
                return f"{'share' if share else 'number'} of {subject}{_over(window)}"
            case Quantile(aggregate, per_mille, window):
                subject = f"the {aggregate.column} of {self._events(aggregate)}{_over(window)}"
                return f"{per_mille / 10:g} % quantile of {subject}, within {500 / 10**aggregate.parameter:g} %"
            case Smoothed(upper, lower, rate, weight):
                subject = f"({self.of(upper)}) over ({self.of(lower)})"
                return f"{subject}, from {rate:g} with the weight of {weight:g}"
        raise TypeError(f"no words for {expression}")

    def _aggregate(self, aggregate: Aggregate) -> str:
        return KINDS[aggregate.kind].words.format(
            column=aggregate.column, events=self._events(aggregate), parameter=aggregate.parameter
        )

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


def _last(number: int) -> str:
    return "last" if number == 1 else f"last but {number - 1}"
