"""A model's inputs: which entities to read for a question, and how to compute the inputs from their states."""

from collections.abc import Sequence
from typing import Protocol

from features.plan.plan import Plan
from features.state.values import EntityValues, RequestValues, Value, picker
from server.scoring.question import keys_of

__all__ = ["Inputs", "Valued"]


class Valued(Protocol):
    """An entity that returns some of its features at a time, µs."""

    def values(self, at_us: int, of: EntityValues) -> tuple[Value, ...]:
        """Return the features that `of` computes."""


class Inputs:
    """Computes features of a question, in the order of `names`, and nothing that these do not need.

    An entity with a single join key is always read, since every answer says whether it was seen before.
    """

    def __init__(self, plan: Plan, names: Sequence[str]) -> None:
        borrowed = RequestValues(plan, names=names).borrowed
        entities = plan.schema.asked
        values = {entity.name: EntityValues(plan.of(entity.name), (*names, *borrowed)) for entity in entities}
        alone = [entity for entity in entities if len(entity.join_keys) == 1] or entities
        read = [entity for entity in entities if values[entity.name].names or entity in alone]
        self._values = tuple(values[entity.name] for entity in read)
        self.plan = plan.hash
        self.entities = tuple(entity.name for entity in read)
        """Names of the entities of `keys_of`, in their order."""
        self.keys_of = keys_of(read, plan.schema)
        """Returns the entity keys of a question's keys and labels."""
        self.named_alone = tuple(place for place, entity in enumerate(read) if entity in alone)
        """Positions of the entities with a single join key; if one was never seen, the answer is a cold start."""
        self.entity_names = tuple(name for entity_values in self._values for name in entity_values.names)
        """Names of the entities' features, in their order."""
        places = {name: place for place, name in enumerate(self.entity_names)}
        self._request = RequestValues(plan, places, names=names)
        computed = (*self.entity_names, *self._request.names)
        self._pick = tuple if tuple(names) == computed else picker([computed.index(name) for name in names])

    def of_entities(self, entities: Sequence[Valued], at_us: int) -> tuple[Value, ...]:
        """Return the entities' features at a time, µs, by `entity_names`; `entities` are those of `keys_of`."""
        values: tuple[Value, ...] = ()
        for entity, entity_values in zip(entities, self._values, strict=True):
            values += entity.values(at_us, entity_values)
        return values

    def of_question(self, values: tuple[Value, ...], measures: Sequence[float | None], at_us: int) -> tuple[Value, ...]:
        """Return all features in the order of the names, from the entities' features and the question's measures."""
        return self._pick(values + self._request.get(values, measures, at_us))
