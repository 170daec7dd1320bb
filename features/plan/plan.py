"""The plan: what each entity's state keeps, and how a feature is computed from a state and a time.

A plan is a description, free of Featuretools, so that the worker and the server start without importing it:
`features.plan.compiler` makes it, `features.state` keeps its aggregates, `features.state.values` and `features.batch`
compute its features.
"""

import hashlib
import zlib
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from data.schema import Schema
from features.kinds import AggregateKind
from features.plan.where import EVERY, Where

__all__ = [
    "LAST_EVENT",
    "Aggregate",
    "Asked",
    "Borrowed",
    "CalendarPart",
    "Decayed",
    "Deviation",
    "Difference",
    "Distinct",
    "Edge",
    "EntityPlan",
    "Expression",
    "Extreme",
    "Feature",
    "OrderValue",
    "Plan",
    "Quantile",
    "Quotient",
    "Recent",
    "SessionValue",
    "Since",
    "SinceRecent",
    "Slope",
    "Smoothed",
    "Spacing",
    "TileSet",
    "Tiled",
    "Top",
    "Total",
    "Window",
    "parts_of",
]


class Aggregate(msgspec.Struct, frozen=True, order=True):
    """One mergeable number over those of an entity's events that meet a condition: of a kind and a column.

    `parameter` is what its kind says (`features.kinds`); 0 where it has none.
    """

    kind: AggregateKind
    column: str = ""
    where: Where = EVERY
    parameter: int = 0

    def __str__(self) -> str:
        arguments = ", ".join(str(part) for part in (self.column, self.parameter) if part)
        condition = f" of {' '.join(map(str, self.where))}" if self.where else ""
        return f"{self.kind}{f'({arguments})' if arguments else ''}{condition}"


LAST_EVENT = Aggregate("last_time")
"""The time of the last event, kept in every state: a state cannot answer about an earlier time."""


class Window(msgspec.Struct, frozen=True, order=True):
    """The last `length_us` before a time, in tiles of `hop_us` aligned to 1970."""

    length_us: int
    hop_us: int
    name: str

    @property
    def tiles(self) -> int:
        """Number of tiles in the window, the current one included."""
        return self.length_us // self.hop_us


# Expressions: how a value is computed from aggregates. None anywhere means null.


class Total(msgspec.Struct, frozen=True, tag=True):
    """A count or a sum, over a lifetime or a window."""

    aggregate: Aggregate
    window: Window | None = None


class Extreme(msgspec.Struct, frozen=True, tag=True):
    """The least or greatest value, over a lifetime or a window; null over nothing."""

    aggregate: Aggregate
    window: Window | None = None


class Edge(msgspec.Struct, frozen=True, tag=True):
    """The value of the first or last event; null over nothing."""

    aggregate: Aggregate


class Since(msgspec.Struct, frozen=True, tag=True):
    """Time from the first or last event until now, in units of `unit_us`; null over nothing."""

    aggregate: Aggregate
    unit_us: int


class Spacing(msgspec.Struct, frozen=True, tag=True):
    """(last - first) / (count - 1), in units of `unit_us`; null below two events."""

    first: Aggregate
    last: Aggregate
    count: Aggregate
    unit_us: int


class Deviation(msgspec.Struct, frozen=True, tag=True):
    """The sample standard deviation of a column; null below two events."""

    count: Total
    total: Total
    squares: Total


class Slope(msgspec.Struct, frozen=True, tag=True):
    """Least-squares slope of a column over time; null below three events, 0 where all times are equal.

    The unit of time is Featuretools': days where the first event falls on midnight, else hours, minutes or seconds
    where it falls on a whole one.
    """

    count: Aggregate
    total: Aggregate
    time_sum: Aggregate
    time_squares: Aggregate
    time_products: Aggregate
    first: Aggregate


class Recent(msgspec.Struct, frozen=True, tag=True):
    """The value of the `number`-th last event (1: the last), ties going to the greater; null where there are fewer."""

    aggregate: Aggregate
    number: int


class SinceRecent(msgspec.Struct, frozen=True, tag=True):
    """Time from the `number`-th last event until now, in units of `unit_us`; null where there are fewer."""

    aggregate: Aggregate
    number: int
    unit_us: int


class Distinct(msgspec.Struct, frozen=True, tag=True):
    """The number of distinct values over a window or a lifetime, at most the aggregate's `parameter`."""

    aggregate: Aggregate
    window: Window | None = None


class Decayed(msgspec.Struct, frozen=True, tag=True):
    """A count or sum in which an event weighs half with each half-life that lies between its tile and the present one.

    `window` holds the tiles that count (`features.summaries.DECAY_TILES`).
    """

    aggregate: Aggregate
    window: Window


class SessionValue(msgspec.Struct, frozen=True, tag=True):
    """Of the sessions in a window: their number, their mean length in units of `unit_us`, or the present one's events.

    A session that began before the window counts from its first event in it. Without sessions the length is null.
    """

    aggregate: Aggregate
    window: Window
    what: Literal["count", "length", "events"]
    unit_us: int = 1


class OrderValue(msgspec.Struct, frozen=True, tag=True):
    """Of the last orders: their number; in units of `unit_us` the `number`-th last gap, or gaps' mean or deviation.

    A number may be of those in a window, of the `settled` ones (older than `span_us`), or of the settled ones that
    another `repeated` within it. Gaps are null where there are too few.
    """

    aggregate: Aggregate
    what: Literal["count", "gap", "mean", "deviation", "settled", "repeated"]
    window: Window | None = None
    number: int = 1
    unit_us: int = 1
    span_us: int = 0


class Top(msgspec.Struct, frozen=True, tag=True):
    """Events that the `number` most frequent labels have together, as a count, or a share of all that have a label."""

    aggregate: Aggregate
    number: int
    share: bool
    window: Window | None = None


class Quantile(msgspec.Struct, frozen=True, tag=True):
    """The least rounded value that `per_mille` of 1000 events do not exceed; null over nothing."""

    aggregate: Aggregate
    per_mille: int
    window: Window | None = None


class Smoothed(msgspec.Struct, frozen=True, tag=True):
    """(upper + `rate` * `weight`) / (lower + `weight`): a rate that begins at `rate`; null where either is null."""

    upper: "Expression"
    lower: "Expression"
    rate: float
    weight: float


class Quotient(msgspec.Struct, frozen=True, tag=True):
    """One value over another; null where the lower is 0 or either is null."""

    upper: "Expression"
    lower: "Expression"


class Difference(msgspec.Struct, frozen=True, tag=True):
    """One value less another; null where either is null. Of two sums in one unit it is exact."""

    left: "Expression"
    right: "Expression"


class Asked(msgspec.Struct, frozen=True, tag=True):
    """A value of the request itself, such as `request_amount`."""

    column: str


class CalendarPart(msgspec.Struct, frozen=True, tag=True):
    """Hour (0 to 23) or weekday (Monday = 0) of the request's time, in UTC."""

    part: Literal["hour", "weekday"]


class Borrowed(msgspec.Struct, frozen=True, tag=True):
    """The value of a feature of one of the request's entities."""

    feature: str


Expression = (
    Total
    | Extreme
    | Edge
    | Since
    | Spacing
    | Deviation
    | Slope
    | Recent
    | SinceRecent
    | Distinct
    | Decayed
    | SessionValue
    | OrderValue
    | Top
    | Quantile
    | Smoothed
    | Quotient
    | Difference
    | Asked
    | CalendarPart
    | Borrowed
)


Tiled = Total | Extreme | Decayed | SessionValue | Top | Quantile
"""Expressions whose aggregate is kept in tiles where they have a window."""


def parts_of(expression: Any, whole: tuple[type, ...] = ()) -> Iterator[Any]:
    """Yield the expression and everything under it, aggregates and windows included, from the outside in.

    A part of a type in `whole` is yielded, and nothing under it.
    """
    yield expression
    if not isinstance(expression, whole):
        for name in getattr(expression, "__struct_fields__", ()):
            yield from parts_of(getattr(expression, name), whole)


class Feature(msgspec.Struct, frozen=True):
    """A named value: `type` is `int` (never null) or `float` (null where undefined)."""

    name: str
    expression: Expression
    type: Literal["int", "float"]


class TileSet(msgspec.Struct, frozen=True):
    """The tiles of one hop: aggregates per tile, for the last `span` tiles."""

    hop_us: int
    span: int
    columns: tuple[Aggregate, ...]


class EntityPlan(msgspec.Struct, frozen=True):
    """What the state of one entity keeps (`slots`, `tile_sets`), and the features computed from it.

    `firsts` are the conditions whose first event the states of entities with one key less count as a distinct; this
    state remembers the offset of that first event.
    """

    entity: str
    schema: Schema
    slots: tuple[Aggregate, ...]
    tile_sets: tuple[TileSet, ...]
    firsts: tuple[Where, ...]
    features: tuple[Feature, ...]

    @property
    def join_keys(self) -> tuple[str, ...]:
        """The columns that say which entity it is."""
        return self.schema.entity(self.entity).join_keys

    @property
    def remembers_s(self) -> int:
        """For how long this state remembers which events it has seen, s; 0 where another's does, or none."""
        return self.schema.duplicates_within_s if self.join_keys == (self.schema.ordered_by,) else 0

    @property
    def layout(self) -> int:
        """Fingerprint (32 bits) of what the state keeps, stored in every state so that none is misread."""
        aggregates = [*self.slots, *(column for tile_set in self.tile_sets for column in tile_set.columns)]
        used = {aggregate.column for aggregate in aggregates}
        units = [(measure.name, measure.unit) for measure in self.schema.measures if measure.name in used]
        seen = (self.remembers_s,) if self.remembers_s else ()
        return zlib.crc32(msgspec.json.encode((self.slots, self.tile_sets, self.firsts, sorted(units), *seen)))

    def unit(self, aggregate: Aggregate) -> int:
        """Return the number of integer units in 1 of an aggregate's number: of its column, where it is in that unit."""
        return self.schema.measure(aggregate.column).unit if aggregate.column else 1

    def common_unit(self, left: Expression, right: Expression) -> int:
        """Return the unit in which two sums are integers, so that their difference is exact; 0 where there is none.

        Large sums that are close together would cancel in floats.
        """
        match left, right:
            case Total(Aggregate("sum") as first), Total(Aggregate("sum") as second):
                return self.unit(first) if self.unit(first) == self.unit(second) else 0
        return 0


class Plan(msgspec.Struct, frozen=True):
    """The compiled definitions: a plan per entity of the schema, and the features of the request."""

    schema: Schema
    entities: tuple[EntityPlan, ...]
    request: tuple[Feature, ...]

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that change with any feature."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:12]

    @property
    def features(self) -> tuple[Feature, ...]:
        """All features: those of each entity, then the request's."""
        return tuple(f for entity in self.entities for f in entity.features) + self.request

    @property
    def asked(self) -> tuple[EntityPlan, ...]:
        """The plans of the entities that a question names."""
        return tuple(self.of(entity.name) for entity in self.schema.asked)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of a model's inputs, in their order: the features of the asked entities, and the request's."""
        return tuple(feature.name for entity in self.asked for feature in entity.features) + tuple(
            feature.name for feature in self.request
        )

    @property
    def request_view(self) -> tuple[Feature, ...]:
        """The features that Feast's view of the request has; none: no view. Its measures are what is asked."""
        return tuple(feature for feature in self.request if feature.name not in self.schema.request_columns)

    def seen_by(self, entity: EntityPlan, distinct: Aggregate) -> EntityPlan:
        """Return the plan of the entity that sees the firsts which a distinct count of `entity` counts."""
        seer = self.schema.keyed_by({*entity.join_keys, distinct.column})
        if seer is None:
            raise KeyError(distinct.column)
        return self.of(seer.name)

    @property
    def remembering(self) -> EntityPlan | None:
        """The plan of the entity whose states tell repeats; None where repeats are counted."""
        return next((entity for entity in self.entities if entity.remembers_s), None)

    def of(self, entity: str) -> EntityPlan:
        """Return the plan of one entity. Raises KeyError where there is none."""
        return {plan.entity: plan for plan in self.entities}[entity]
