"""What a model needs of a question: the entities to read, and the function from their states to its inputs."""

from collections.abc import Sequence
from typing import Protocol

from features.plan.plan import Plan
from features.state.values import EntityValues, RequestValues, Value, picker
from server.scoring.question import keys_of

__all__ = ["Inputs", "Valued"]


class Valued(Protocol):
    """An entity that answers with some of its features at a time, µs."""

    def values(self, at_us: int, of: EntityValues) -> tuple[Value, ...]:
        """Return those features."""


class Inputs:
    """Computes features of a question by name, in the order of the names, and nothing that these do not need.

    An entity that one column names is read in any case, since every answer says whether it was seen before.
    """

    def __init__(self, plan: Plan, names: Sequence[str]) -> None:
        borrowed = RequestValues(plan, names=names).borrowed
        asked = plan.schema.asked
        values = {entity.name: EntityValues(plan.of(entity.name), (*names, *borrowed)) for entity in asked}
        alone = [entity for entity in asked if len(entity.join_keys) == 1] or asked
        read = [entity for entity in asked if values[entity.name].names or entity in alone]
        self._values = tuple(values[entity.name] for entity in read)
        self.plan = plan.hash
        self.entities = tuple(entity.name for entity in read)
        """Names of the entities of `keys_of`, in their order."""
        self.keys_of = keys_of(read, plan.schema)
        """Returns the entities of what a question names."""
        self.named_alone = tuple(place for place, entity in enumerate(read) if entity in alone)
        """Places of those that one column names; where one of these was never seen, the question starts cold."""
        self.entity_names = tuple(name for of in self._values for name in of.names)
        """Names of the entities' features, in their order."""
        places = {name: place for place, name in enumerate(self.entity_names)}
        self._request = RequestValues(plan, places, names=names)
        computed = (*self.entity_names, *self._request.names)
        self._pick = tuple if tuple(names) == computed else picker([computed.index(name) for name in names])

    def of_entities(self, known: Sequence[Valued], at_us: int) -> tuple[Value, ...]:
        """Return the entities' features at a time, µs, by `entity_names`; `known` are the entities of `keys_of`."""
        values: tuple[Value, ...] = ()
        for entity, of in zip(known, self._values, strict=True):
            values += entity.values(at_us, of)
        return values

    def of_question(self, values: tuple[Value, ...], measures: Sequence[float | None], at_us: int) -> tuple[Value, ...]:
        """Return all features in the order of the names, of the entities' features and the question's measures."""
        return self._pick(values + self._request.get(values, measures, at_us))
