"""Compile Featuretools definitions to a plan; a definition without a mergeable form is refused by name."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, get_args

import featuretools as ft
import pandas as pd
from featuretools import primitives
from msgspec import Struct
from msgspec.structs import replace

from data.errors import DefinitionError
from data.units import DAY_US, HOUR_US, MICROS, MINUTE_US
from features.definitions import WINDOWS, define
from features.entities import ENTITIES, USER_PRODUCT
from features.kinds import KINDS, AggregateKind
from features.plan.entity_set import entity_set
from features.plan.own import OWN, Columns
from features.plan.plan import (
    LAST_EVENT,
    UNITS,
    Aggregate,
    Asked,
    Borrowed,
    CalendarPart,
    Decayed,
    Deviation,
    Difference,
    Distinct,
    Edge,
    EntityPlan,
    Expression,
    Extreme,
    Feature,
    Plan,
    Quotient,
    SessionValue,
    Since,
    Slope,
    Smoothed,
    Spacing,
    Tiled,
    TileSet,
    Top,
    Total,
    Window,
    parts_of,
)
from features.primitives import SmoothedRate

__all__ = ["SUPPORTED", "compile_features", "compile_plan"]

SUPPORTED = (
    "Count, Sum, Mean, Std, Min, Max, NumUnique (of the pair's other id), First, Last, TimeSinceFirst, TimeSinceLast, "
    "AvgTimeBetween, PercentTrue, Trend, NthLast, TimeSinceNthLast, NumUniqueUpTo, DecayedCount, DecayedSum, "
    "SessionCount, SessionLength, SessionEvents, TopCount, TopShare, Quantile; over windows Count, Sum, Mean, Std, "
    "PercentTrue, Min, Max, NumUniqueUpTo, TopCount, TopShare, Quantile; and over these subtraction and division "
    "(`Rate`, `SmoothedRate`)"
)

_UNITS_US = {
    "days": DAY_US,
    "hours": HOUR_US,
    "minutes": MINUTE_US,
    "seconds": MICROS,
    "milliseconds": 1_000,
}


def compile_plan() -> Plan:
    """Return the plan of `features/definitions.py`."""
    return compile_features(define(entity_set()))


def compile_features(features: Iterable[Any]) -> Plan:
    """Return the plan of a list of Featuretools features. Raises DefinitionError, naming what cannot be compiled."""
    compiled: dict[str, list[Feature]] = {frame: [] for frame in (*(entity.frame for entity in ENTITIES), "requests")}
    named: dict[tuple[str, Expression], str] = {}
    taken: set[str] = set()
    for definition in features:
        frame, name = definition.dataframe_name, definition.get_name()
        if frame not in compiled:
            raise _refusal(definition, f"it belongs to `{frame}`; a feature belongs to one of {', '.join(compiled)}")
        if name in taken:
            raise _refusal(definition, "another feature has this name")
        taken.add(name)
        expression = _Expressions(definition, named).of(definition)
        named.setdefault((frame, expression), name)
        compiled[frame].append(Feature(name, expression, _type(expression)))
    compiled = {frame: _sharing(features) for frame, features in compiled.items()}
    plans = {entity.name: _entity_plan(entity.name, compiled[entity.frame]) for entity in ENTITIES}
    firsts = {slot.where for plan in plans.values() for slot in plan.slots if slot.kind == "distinct"}
    pair = _entity_plan(USER_PRODUCT.name, compiled[USER_PRODUCT.frame], tuple(sorted(firsts)))
    plans[USER_PRODUCT.name] = pair
    return Plan(tuple(plans.values()), tuple(compiled["requests"]))


def _entity_plan(entity: str, features: list[Feature], firsts: tuple[str, ...] = ()) -> EntityPlan:
    slots = {LAST_EVENT} | {Aggregate("count", where=where) for where in firsts}
    tiles: dict[int, tuple[int, set[Aggregate]]] = {}
    for feature in features:
        for aggregate, window in _needs(feature.expression):
            if window is None:
                slots.add(aggregate)
            else:
                span, columns = tiles.get(window.hop_us, (0, set()))
                tiles[window.hop_us] = (max(span, window.tiles), columns | {aggregate})
    tile_sets = tuple(TileSet(hop, span, tuple(sorted(columns))) for hop, (span, columns) in sorted(tiles.items()))
    return EntityPlan(entity, tuple(sorted(slots)), tile_sets, firsts, tuple(features))


def _sharing(features: list[Feature]) -> list[Feature]:
    """Let features that want the last values of the same events read one list, the longest."""
    longest: dict[Aggregate, int] = {}
    for aggregate, _ in (need for feature in features for need in _needs(feature.expression)):
        if aggregate.kind in ("last_values", "last_times"):
            same = replace(aggregate, parameter=0)
            longest[same] = max(aggregate.parameter, longest.get(same, 0))

    def shared(part: Any) -> Any:
        if isinstance(part, Aggregate):
            return replace(part, parameter=longest.get(replace(part, parameter=0), part.parameter))
        if isinstance(part, Struct):
            return replace(part, **{name: shared(getattr(part, name)) for name in part.__struct_fields__})
        return part

    return [replace(feature, expression=shared(feature.expression)) for feature in features] if longest else features


def _needs(expression: Any) -> list[tuple[Aggregate, Window | None]]:
    """Return the aggregates under an expression, each with the window that it is used over."""
    return [
        (part.aggregate, part.window) if isinstance(part, Tiled) else (part, None)
        for part in parts_of(expression, whole=get_args(Tiled))
        if isinstance(part, Tiled | Aggregate)
    ]


def _type(expression: Expression) -> Any:
    match expression:
        case Total(aggregate=aggregate):
            whole = not KINDS[aggregate.kind].in_column_unit or UNITS[aggregate.column] == 1
        case Difference(left=left, right=right):
            whole = _type(left) == _type(right) == "int"
        case CalendarPart() | Distinct() | SessionValue(what="count" | "events") | Top(share=False):
            whole = True
        case _:
            whole = False
    return "int" if whole else "float"


def _refusal(definition: Any, reason: str) -> DefinitionError:
    return DefinitionError(f"feature `{definition.get_name()}` cannot be compiled: {reason}. What works: {SUPPORTED}.")


class _Expressions:
    """Compiles the expression tree of one definition; errors name the definition, whichever part of it is at fault."""

    def __init__(self, definition: Any, named: dict[tuple[str, Expression], str]) -> None:
        self._definition = definition
        self._named = named

    def of(self, feature: Any) -> Expression:
        match feature:
            case ft.AggregationFeature():
                return self._aggregation(feature)
            case ft.DirectFeature():
                return self._borrowed(feature)
            case ft.TransformFeature():
                return self._transform(feature)
            case ft.IdentityFeature():
                return self._asked(feature)
        raise self.refusal(f"{type(feature).__name__} has no mergeable form")

    def refusal(self, reason: str) -> DefinitionError:
        return _refusal(self._definition, reason)

    def _asked(self, feature: Any) -> Expression:
        if feature.dataframe_name == "requests" and feature.column_name == "request_amount":
            return Asked("request_amount")
        raise self.refusal(
            f"the plain column `{feature.dataframe_name}.{feature.column_name}` is no feature of its own"
        )

    def _borrowed(self, feature: Any) -> Expression:
        lender = feature.base_features[0]
        name = self._named.get((lender.dataframe_name, self.of(lender)))
        if name is None:
            raise self.refusal(f"it borrows `{lender.get_name()}`, which is no named feature before it")
        return Borrowed(name)

    def _transform(self, feature: Any) -> Expression:
        primitive, bases = feature.primitive, feature.base_features
        match primitive:
            case primitives.DivideNumeric():
                return Quotient(self.of(bases[0]), self.of(bases[1]))
            case SmoothedRate(rate=rate, weight=weight):
                if not (weight > 0 and 0 <= rate <= 1):
                    raise self.refusal("a prior's rate lies between 0 and 1, and its weight above 0")
                return Smoothed(self.of(bases[0]), self.of(bases[1]), float(rate), float(weight))
            case primitives.SubtractNumeric():
                return Difference(self.of(bases[0]), self.of(bases[1]))
            case primitives.Hour() | primitives.Weekday() if bases[0].get_name() == "timestamp":
                return CalendarPart("hour" if isinstance(primitive, primitives.Hour) else "weekday")
        raise self.refusal(f"the transform {type(primitive).__name__} is not supported")

    def _aggregation(self, feature: Any) -> Expression:
        if feature.child_dataframe_name != "events":
            raise self.refusal(f"it aggregates `{feature.child_dataframe_name}`; only `events` can be aggregated")
        compilers: dict[type, Callable[[Any, str, Window | None], Expression]] = {
            primitives.Count: self._count,
            primitives.Sum: self._sum,
            primitives.Mean: self._mean,
            primitives.Std: self._deviation,
            primitives.PercentTrue: self._share,
            primitives.Min: self._extreme,
            primitives.Max: self._extreme,
            primitives.NumUnique: self._distinct,
            primitives.First: self._edge,
            primitives.Last: self._edge,
            primitives.TimeSinceFirst: self._since,
            primitives.TimeSinceLast: self._since,
            primitives.AvgTimeBetween: self._spacing,
            primitives.Trend: self._slope,
        }
        columns = Columns(self.refusal, self._column, self._unit, WINDOWS)
        compilers |= {primitive: partial(compiler, columns) for primitive, compiler in OWN.items()}
        for primitive, compiler in compilers.items():
            if isinstance(feature.primitive, primitive):
                expression = compiler(feature, self._where(feature), self._window(feature))
                self._check_windows(feature, expression)
                return expression
        raise self.refusal(f"the primitive {type(feature.primitive).__name__} has no mergeable form")

    def _check_windows(self, feature: Any, expression: Expression) -> None:
        if feature.use_previous and isinstance(expression, Decayed | SessionValue):
            raise self.refusal(f"{type(feature.primitive).__name__} has a window of its own, so it has no use_previous")
        lost = feature.use_previous and not any(isinstance(part, Window) for part in parts_of(expression))
        untiled = any(window and not KINDS[aggregate.kind].tiled for aggregate, window in _needs(expression))
        if lost or untiled:
            raise self.refusal(
                f"{type(feature.primitive).__name__} keeps nothing per tile, so it has no window (use_previous)"
            )

    def _where(self, feature: Any) -> str:
        return "" if feature.where is None else self._event_type(feature.where)

    def _event_type(self, condition: Any) -> str:
        """Return the event type that a condition (event_type == "...") selects."""
        primitive = getattr(condition, "primitive", None)
        if isinstance(primitive, primitives.EqualScalar) and condition.base_features[0].get_name() == "event_type":
            return str(primitive.value)
        raise self.refusal(f"the condition `{condition.get_name()}` is not of the form event_type == '...'")

    def _window(self, feature: Any) -> Window | None:
        if not feature.use_previous:
            return None
        if not feature.use_previous.has_no_observations():
            raise self.refusal("a window is a length of time, not a number of events")
        length = pd.Timedelta(feature.use_previous.delta_obj)
        for name, (known, hop) in WINDOWS.items():
            if pd.Timedelta(known) == length:
                return Window(_micros(pd.Timedelta(known)), _micros(pd.Timedelta(hop)), name)
        raise self.refusal(
            f"the window {feature.use_previous.get_name()} is not in WINDOWS of features/definitions.py; add it"
        )

    def _column(self, feature: Any) -> str:
        name = str(feature.base_features[0].get_name())
        if name not in UNITS:
            raise self.refusal(f"`{name}` cannot be summed or compared; {' and '.join(UNITS)} can")
        return name

    def _count(self, _feature: Any, where: str, window: Window | None) -> Expression:
        return Total(Aggregate("count", where=where), window)

    def _sum(self, feature: Any, where: str, window: Window | None) -> Expression:
        return Total(Aggregate("sum", self._column(feature), where), window)

    def _mean(self, feature: Any, where: str, window: Window | None) -> Expression:
        return Quotient(self._sum(feature, where, window), self._count(feature, where, window))

    def _deviation(self, feature: Any, where: str, window: Window | None) -> Expression:
        column = self._column(feature)
        return Deviation(
            Total(Aggregate("count", where=where), window),
            Total(Aggregate("sum", column, where), window),
            Total(Aggregate("squares", column, where), window),
        )

    def _share(self, feature: Any, where: str, window: Window | None) -> Expression:
        true = self._event_type(feature.base_features[0])
        if where not in ("", true):
            raise self.refusal("a share of one event type among another is always 0")
        return Quotient(self._count(feature, true, window), self._count(feature, where, window))

    def _extreme(self, feature: Any, where: str, window: Window | None) -> Expression:
        kind: AggregateKind = "min" if isinstance(feature.primitive, primitives.Min) else "max"
        return Extreme(Aggregate(kind, self._column(feature), where), window)

    def _edge(self, feature: Any, where: str, _window: Window | None) -> Expression:
        kind: AggregateKind = "first" if isinstance(feature.primitive, primitives.First) else "last"
        return Edge(Aggregate(kind, self._column(feature), where))

    def _distinct(self, feature: Any, where: str, window: Window | None) -> Expression:
        parent = next(entity for entity in ENTITIES if entity.frame == feature.parent_dataframe_name)
        child = str(feature.base_features[0].get_name())
        if {*parent.join_keys, child} != set(USER_PRODUCT.join_keys) or child in parent.join_keys:
            raise self.refusal(
                f"distinct `{child}` of `{parent.frame}`: only products of a user and users of a product count"
            )
        if not where:
            raise self.refusal("a distinct count is of one event type: give it where=event_type == '...'")
        return Total(Aggregate("distinct", child, where), window)

    def _unit(self, feature: Any) -> int:
        unit = feature.primitive.unit
        if unit not in _UNITS_US:
            raise self.refusal(f"the unit {unit} has no fixed length; use one of {', '.join(_UNITS_US)}")
        return _UNITS_US[unit]

    def _since(self, feature: Any, where: str, _window: Window | None) -> Expression:
        kind: AggregateKind = "first_time" if isinstance(feature.primitive, primitives.TimeSinceFirst) else "last_time"
        return Since(Aggregate(kind, where=where), self._unit(feature))

    def _spacing(self, feature: Any, where: str, _window: Window | None) -> Expression:
        first, last = Aggregate("first_time", where=where), Aggregate("last_time", where=where)
        return Spacing(first, last, Aggregate("count", where=where), self._unit(feature))

    def _slope(self, feature: Any, where: str, _window: Window | None) -> Expression:
        column = self._column(feature)
        return Slope(
            Aggregate("count", where=where),
            Aggregate("sum", column, where),
            Aggregate("time_sum", where=where),
            Aggregate("time_squares", where=where),
            Aggregate("time_products", column, where),
            Aggregate("first_time", where=where),
        )


def _micros(length: pd.Timedelta) -> int:
    return int(length.value // 1000)
