"""Facts: the part of an event that a fold needs, as a tuple, and which entities a fact touches."""

from collections import namedtuple
from collections.abc import Callable, Sequence
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from data.event import Event
from data.schema import Entity, Measure, Schema
from data.units import to_micros

__all__ = ["EVENT_ID", "TIMESTAMP", "Fact", "Sourced", "Touch", "fact_class", "fact_maker", "touches"]

_ALWAYS = ("event_type", "timestamp_us", "event_id")

TIMESTAMP = _ALWAYS.index("timestamp_us")
EVENT_ID = _ALWAYS.index("event_id")


class Fact(tuple[Any, ...]):
    """An event's type, its time in µs and its id; then keys, labels and measures as its schema declares them.

    A label that the event does not have is None, measures are in their integer units. `fact_class` makes the class of a
    schema's facts, a named tuple.
    """

    if TYPE_CHECKING:
        event_type: str
        timestamp_us: int
        event_id: str
        _fields: tuple[str, ...]

        def __new__(cls, *values: Any, **fields: Any) -> "Fact": ...  # noqa: D102
        def __getattr__(self, name: str) -> Any: ...


class Sourced(NamedTuple):
    """A fact, its partition and offset in the topic, and when it arrived there, µs; None: at its own time."""

    fact: Fact
    partition: int
    offset: int
    arrived_us: int | None = None


@cache
def fact_class(schema: Schema) -> type[Fact]:
    """Return the class of a schema's facts: labels are None and measures their defaults where they are not given."""
    required = [measure.name for measure in schema.measures if measure.default is None]
    others = [measure for measure in schema.measures if measure.default is not None]
    defaults = [*(None for _ in schema.labels), *(round((measure.default or 0) * measure.unit) for measure in others)]
    fields = [*_ALWAYS, *schema.keys, *required, *schema.labels, *(measure.name for measure in others)]
    return cast("type[Fact]", namedtuple("Fact", fields, defaults=defaults))


@cache
def fact_maker(schema: Schema) -> Callable[[Event], Fact]:
    """Return the function that makes facts of a schema's events.

    It is compiled from source, since it runs for every event; the source holds only names that the schema has checked.
    """
    made = fact_class(schema)
    measures = {measure.name: measure for measure in schema.measures}
    parts = []
    for name in made._fields[len(_ALWAYS) :]:
        if name in measures:
            parts.append(_in_units(measures[name]))
        else:
            parts.append(f"event.{name} or None" if name in schema.labels else f"event.{name}")
    always = "event.event_type, to_micros(event.timestamp), event.event_id"
    source = f"lambda event: new(Fact, ({always}, {''.join(f'{part}, ' for part in parts)}))"
    names = {"new": tuple.__new__, "Fact": made, "to_micros": to_micros}
    return cast("Callable[[Event], Fact]", eval(source, names))  # noqa: S307 - of what a schema holds, as said above


def _in_units(measure: Measure) -> str:
    value = f"event.{measure.name}"
    return value if measure.is_whole else f"round({value} * {measure.unit})"


class Touch(NamedTuple):
    """How a fact names an entity: `pick` returns the values of its join keys, a tuple.

    `partly`: some key is a label, which may be None; the fact touches no such entity then. `is_shared`: no key of it
    orders events, so those of several partitions touch the same entity.
    """

    entity: Entity
    pick: Callable[[Fact], tuple[Any, ...]]
    partly: bool
    is_shared: bool

    def of(self, fact: Fact) -> tuple[str, ...] | None:
        """Return the values of the entity's join keys; None where the fact touches none."""
        ids = self.pick(fact)
        return None if self.partly and None in ids else ids


def touches(schema: Schema) -> list[Touch]:
    """Return how a schema's facts name its entities: those of most keys first, of as many keys the shared ones last."""
    fields, ordered_by = fact_class(schema)._fields, schema.ordered_by
    entities = sorted(schema.entities, key=lambda entity: (-len(entity.join_keys), ordered_by not in entity.join_keys))
    return [
        Touch(
            entity,
            _picker([fields.index(key) for key in entity.join_keys]),
            not set(schema.labels).isdisjoint(entity.join_keys),
            ordered_by not in entity.join_keys,
        )
        for entity in entities
    ]


def _picker(places: Sequence[int]) -> Callable[[Any], tuple[Any, ...]]:
    if len(places) > 1:
        return itemgetter(*places)
    place = places[0]
    return lambda fact: (fact[place],)
