"""What a shop declares of its events: types, keys, labels, measures, the ordering key, and the entities they describe.

    SHOP = Schema(
        types=(EventType("ride", "rides"),),
        keys=("rider_id", "station_id"),
        labels=("tariff",),
        measures=(Measure("fare", decimals=2), Measure("minutes", default=0)),
        ordered_by="rider_id",
        entities=(Entity("rider", ("rider_id",), "a rider"), Entity("tariff", ("tariff",), "a tariff")),
        asks=("rider_id", "station_id", "minutes"),
    )

A schema is a value: events, the columns of the log, facts, states, batch, oracle and Feast's views are derived from it.
"""

import keyword
import re
from collections.abc import Iterable
from datetime import timedelta

import msgspec

from data.errors import SchemaError

__all__ = ["ALWAYS", "Entity", "EventType", "Measure", "Schema", "is_name"]

ALWAYS = ("event_id", "event_type", "timestamp", "session_id", "metadata")
"""The columns that every event has, whatever is declared."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")

_RESERVED = re.compile(
    r"schema_version|source|partition|offset|arrived|event_timestamp|request_.*|state|row|probe|tile|spot|before|time|id"
    r"|label|later|segment|dice|candidates|as_of"
    r"|seen_.*|arrived_us|(newest|time|start|end|beyond|wanted)(_us)?|c\d+|(input|total|anchor|deviation|slot|tiles|first|fence)_.*|_.*"
)
"""Names that columns beside an event's have, in the log and where features are computed."""

_ANSWERED = frozenset(
    {
        *(
            "confidence",
            "prediction",
            "score",
            "threshold",
            "model",
            "role",
            "target",
            "shadow",
            "origin",
            "features",
            "receipt",
        ),
        *(
            "features_used",
            "cold_start",
            "explanation",
            "explain",
            "top_k",
            "model_version",
            "model_role",
            "prediction_id",
            "risk_level",
        ),
        *("recommended_intervention", "estimated_margin_impact", "impact_basis", "hypothetical", "actual_confidence"),
    }
)
"""Names that an answer, or a request beside its question, has."""

_MOST_DECIMALS = 9

_MOST_WITHIN = timedelta(days=366)

_MOST_UNITS = 10**21
"""The largest measure in its integer unit: engines sum squares of such numbers exactly."""


class EventType(msgspec.Struct, frozen=True):
    """A type of events; `plural` is the noun for several of them in descriptions."""

    name: str
    plural: str = ""


class Measure(msgspec.Struct, frozen=True):
    """A number that events carry, from `least` to `most`, rounded to `decimals`; without decimals it is an integer.

    `default` is its value in an event that does not name it; None: every event must.
    """

    name: str
    decimals: int = 0
    # An integer stays one in JSON and back, so that the hash of a plan does.
    least: int | float = 0
    most: int | float = 2**31 - 1
    default: int | float | None = None

    @property
    def unit(self) -> int:
        """The number of integer units in 1: states hold integers only, so sums are exact."""
        return int(10**self.decimals)

    @property
    def is_whole(self) -> bool:
        """Whether it is an integer."""
        return not self.decimals

    @property
    def in_request(self) -> str:
        """The column of the requests that holds it, where a question has it."""
        return f"request_{self.name}"


class Entity(msgspec.Struct, frozen=True):
    """What features describe: a name, and the columns (keys or labels) that say which one, which are kept sorted.

    `frame` is the name of its dataframe in the Featuretools entity set.
    """

    name: str
    join_keys: tuple[str, ...]
    description: str = ""
    frame: str = ""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "join_keys", tuple(sorted(self.join_keys)))
        msgspec.structs.force_setattr(self, "frame", self.frame or f"{self.name}s")
        msgspec.structs.force_setattr(self, "description", self.description or self.name.replace("_", " "))

    @property
    def view(self) -> str:
        """Name of the Feast feature view."""
        return f"{self.name}_features"

    @property
    def index(self) -> str:
        """The column that identifies it in the Featuretools entity set."""
        return self.join_keys[0] if len(self.join_keys) == 1 else f"{self.name}_id"


class Schema(msgspec.Struct, frozen=True):
    """What a shop's events are.

    `keys` are columns of 1 to 128 printable characters that every event has; `labels` are texts that it may have;
    `ordered_by` is the key of messages, which orders a partition. `asks`: the keys and labels that a question names,
    and the measures that it may have, which are the columns `request_...` of the requests. `duplicates_within`: an
    event whose id arrived so long before, with the same ordering key, was sent twice and counts once; the state of the
    entity of that key alone remembers ids. 0: every event counts.

    Raises SchemaError where it contradicts itself.
    """

    types: tuple[EventType, ...]
    keys: tuple[str, ...]
    ordered_by: str
    entities: tuple[Entity, ...]
    labels: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = ()
    asks: tuple[str, ...] = ()
    duplicates_within: timedelta = timedelta(hours=24)

    def __post_init__(self) -> None:
        for fault in _faults(self):
            raise SchemaError(fault)

    @property
    def duplicates_within_s(self) -> int:
        """The window of de-duplication, s; 0 where every event counts."""
        return self.duplicates_within // timedelta(seconds=1)

    @property
    def type_names(self) -> tuple[str, ...]:
        """Names of the event types."""
        return tuple(event_type.name for event_type in self.types)

    @property
    def columns(self) -> tuple[str, ...]:
        """The declared columns: keys, labels, measures."""
        return (*self.keys, *self.labels, *(measure.name for measure in self.measures))

    @property
    def asked_keys(self) -> tuple[str, ...]:
        """The keys and labels that a question names; the first names its subject."""
        return tuple(name for name in self.asks if name in (*self.keys, *self.labels))

    @property
    def asked_measures(self) -> tuple[Measure, ...]:
        """The measures that a question may have."""
        return tuple(self.measure(name) for name in self.asks if name not in (*self.keys, *self.labels))

    @property
    def request_columns(self) -> tuple[str, ...]:
        """The columns of the requests that hold these measures, in their order."""
        return tuple(measure.in_request for measure in self.asked_measures)

    @property
    def asked(self) -> tuple[Entity, ...]:
        """The entities that a question names: those whose keys it has."""
        return tuple(entity for entity in self.entities if set(entity.join_keys) <= set(self.asks))

    def measure(self, name: str) -> Measure:
        """Return the measure of that name. Raises KeyError where there is none."""
        return {measure.name: measure for measure in self.measures}[name]

    def entity(self, name: str) -> Entity:
        """Return the entity of that name. Raises KeyError where there is none."""
        return {entity.name: entity for entity in self.entities}[name]

    def keyed_by(self, columns: Iterable[str]) -> Entity | None:
        """Return the entity that just these columns identify; None where none is declared."""
        wanted = tuple(sorted(columns))
        return next((entity for entity in self.entities if entity.join_keys == wanted), None)


def is_name(text: str) -> bool:
    """Return whether a column or an entity may be called so."""
    return bool(_NAME.fullmatch(text)) and not keyword.iskeyword(text) and not _RESERVED.fullmatch(text)


def _faults(schema: Schema) -> Iterable[str]:
    """Yield what contradicts itself, each with a way out."""
    columns = (*ALWAYS, *schema.columns)
    yield from _names("column", schema.columns)
    for name in sorted({name for name in columns if columns.count(name) > 1}):
        yield f"column `{name}` is declared twice; give one of them another name"
    if not schema.types:
        yield "no event type is declared; declare at least one"
    for name in schema.type_names:
        if not (1 <= len(name) <= 64 and name.isprintable()):
            yield f"event type {name!r:.80} is not 1 to 64 printable characters"
        if schema.type_names.count(name) > 1:
            yield f"event type `{name}` is declared twice"
    if schema.ordered_by not in schema.keys:
        yield (
            f"ordered_by `{schema.ordered_by}` is no key ({', '.join(schema.keys) or 'none is declared'}); events are "
            "ordered by a key that each of them has"
        )
    for measure in schema.measures:
        yield from _measure_faults(measure)
    yield from _entity_faults(schema)
    yield from _duplicate_faults(schema)
    for name in schema.asks:
        if name not in schema.columns:
            yield f"asks `{name}`, which is no key, label or measure; declare it, or leave it out"
        if name in _ANSWERED:
            yield f"asks `{name}`, as an answer calls something else; rename it"
    if schema.asks and not schema.asked:
        yield f"asks {', '.join(schema.asks)}, of which no entity is; ask for the keys of one"


def _duplicate_faults(schema: Schema) -> Iterable[str]:
    within, most = schema.duplicates_within, _MOST_WITHIN
    if within % timedelta(seconds=1) or not timedelta() <= within <= most:
        yield (
            f"duplicates_within is {within}; give whole seconds, up to {most.days} days, or timedelta(0), with which "
            "every event counts"
        )
    elif within and schema.keyed_by({schema.ordered_by}) is None:
        yield (
            f"duplicates_within needs an entity of the ordering key `{schema.ordered_by}` alone, whose states remember "
            f'ids; declare Entity("...", ("{schema.ordered_by}",)), or duplicates_within=timedelta(0)'
        )


def _names(what: str, names: Iterable[str]) -> Iterable[str]:
    for name in names:
        if not _NAME.fullmatch(name) or keyword.iskeyword(name):
            yield f"{what} {name!r:.80} is no name: use up to 48 of a-z, 0-9 and _, beginning with a letter"
        if _RESERVED.fullmatch(name):
            yield f"{what} `{name}` has a name that Encore uses itself; give it another"


def _measure_faults(measure: Measure) -> Iterable[str]:
    name = f"measure `{measure.name}`"
    if not 0 <= measure.decimals <= _MOST_DECIMALS:
        yield f"{name} has {measure.decimals} decimals; 0 to {_MOST_DECIMALS} are kept exactly"
        return
    if not measure.least <= measure.most:
        yield f"{name} is at least {measure.least} and at most {measure.most}, so it is nothing"
    for bound in ("least", "most", "default"):
        value = getattr(measure, bound)
        if value is not None and value != round(value, measure.decimals):
            yield f"{name} has {measure.decimals} decimals, and its `{bound}` {value} has more; give it more decimals"
    if max(abs(measure.least), abs(measure.most)) * measure.unit > _MOST_UNITS:
        yield (
            f"{name} goes up to {max(abs(measure.least), abs(measure.most)):g} with {measure.decimals} decimals: "
            f"sums stay exact up to {_MOST_UNITS // measure.unit:g}; lower its bounds or its decimals"
        )
    if measure.default is not None and not measure.least <= measure.default <= measure.most:
        yield f"{name} is {measure.default} by default, which is not from {measure.least} to {measure.most}"


def _entity_faults(schema: Schema) -> Iterable[str]:
    if not schema.entities:
        yield "no entity is declared; declare at least one"
    yield from _names("entity", (entity.name for entity in schema.entities))
    owner_of: dict[str, str] = {"events": "the events", "requests": "the requests", "request_features": "the request"}
    by_keys: dict[tuple[str, ...], str] = {}
    for entity in schema.entities:
        name = f"entity `{entity.name}`"
        for key in entity.join_keys:
            if key not in (*schema.keys, *schema.labels):
                valid_keys = ", ".join((*schema.keys, *schema.labels))
                yield f"{name} has the key `{key}`, which is no key or label of the events ({valid_keys})"
        if not entity.join_keys or len(set(entity.join_keys)) < len(entity.join_keys):
            yield f"{name} has no keys, or one of them twice"
        if entity.join_keys in by_keys:
            yield f"{name} has the same keys as `{by_keys[entity.join_keys]}`; keep one of them"
        by_keys[entity.join_keys] = entity.name
        for taken in (entity.name, entity.frame, entity.view):
            if taken in owner_of:
                yield f"{name} is called as {owner_of[taken]} are (`{taken}`); rename it"
        for taken in {entity.name, entity.frame, entity.view}:
            owner_of[taken] = name
        if len(entity.join_keys) > 1 and entity.index in schema.columns:
            yield f"{name} needs the name `{entity.index}`, which a column has; rename one of them"
