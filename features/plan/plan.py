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
    "Deviation",
    "Difference",
    "Edge",
    "EntityPlan",
    "Expression",
    "Extreme",
    "Feature",
    "Plan",
    "Quotient",
    "Since",
    "Slope",
    "Spacing",
    "TileSet",
    "Total",
    "Window",
    "parts_of",
]


class Aggregate(msgspec.Struct, frozen=True, order=True):
    """One mergeable number over those of an entity's events that meet a condition: of a kind and a column.

    Numbers are integers, so sums are exact, and folding is commutative and associative to the last bit.
    """

    kind: AggregateKind
    column: str = ""
    where: Where = EVERY

    def __str__(self) -> str:
        column = f"({self.column})" if self.column else ""
        return f"{self.kind}{column}{' of ' + ' '.join(map(str, self.where)) if self.where else ''}"


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
    """A count or a sum, over a lifetime or a window; `empty` is its value where nothing was counted."""

    aggregate: Aggregate
    window: Window | None = None


class Extreme(msgspec.Struct, frozen=True, tag=True):
    """The least or greatest value; null over nothing."""

    aggregate: Aggregate


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


class Quotient(msgspec.Struct, frozen=True, tag=True):
    """One value over another; null where the lower is 0 or either is null."""

    upper: "Expression"
    lower: "Expression"


class Difference(msgspec.Struct, frozen=True, tag=True):
    """One value less another; null where either is null."""

    left: "Expression"
    right: "Expression"


class Asked(msgspec.Struct, frozen=True, tag=True):
    """A value of the request itself: `request_amount`."""

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
    | Quotient
    | Difference
    | Asked
    | CalendarPart
    | Borrowed
)


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
    """The tiles of one hop: additive aggregates per tile, for the last `span` tiles."""

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
    def layout(self) -> int:
        """Fingerprint (32 bits) of what the state keeps, stored in every state so that none is misread."""
        aggregates = [*self.slots, *(column for tile_set in self.tile_sets for column in tile_set.columns)]
        used = {aggregate.column for aggregate in aggregates}
        units = [(measure.name, measure.unit) for measure in self.schema.measures if measure.name in used]
        return zlib.crc32(msgspec.json.encode((self.slots, self.tile_sets, self.firsts, sorted(units))))

    def unit(self, aggregate: Aggregate) -> int:
        """Return the number of integer units in 1 of an aggregate's number: of its column, where it is in that unit."""
        return self.schema.measure(aggregate.column).unit if aggregate.column else 1


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

    def seen_by(self, entity: EntityPlan, distinct: Aggregate) -> EntityPlan:
        """Return the plan of the entity that sees the firsts which a distinct count of `entity` counts."""
        seer = self.schema.keyed_by({*entity.join_keys, distinct.column})
        if seer is None:
            raise KeyError(distinct.column)
        return self.of(seer.name)

    def of(self, entity: str) -> EntityPlan:
        """Return the plan of one entity. Raises KeyError where there is none."""
        return {plan.entity: plan for plan in self.entities}[entity]
