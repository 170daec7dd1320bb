"""A question: what it names of the keys and labels that a schema asks for, and the entities that these are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from data.schema import Entity, Schema
from features.state.states import EntityKey

__all__ = ["Named", "Question", "is_of_products", "keys_of"]

Named = Mapping[str, str | None]
"""Keys and labels by name, in the schema's order; a label may be absent."""


class Question(NamedTuple):
    """What is to be scored.

    `measures` are those that the schema asks for, in its order, None where one is not given; `as_of_us` is UTC
    microseconds, None is now.
    """

    named: Named
    measures: Sequence[float | None]
    as_of_us: int | None = None

    @property
    def about(self) -> str:
        """Whom it is about: the first that the schema asks for."""
        return next(iter(self.named.values())) or ""


def is_of_products(schema: Schema) -> bool:
    """Return whether questions name a user and a product, as the package's own do: ranking and some pages need that."""
    return schema.asked_keys == ("user_id", "product_id")


def keys_of(entities: Sequence[Entity], schema: Schema) -> Callable[[Named], tuple[EntityKey, ...]]:
    """Return the function from what is named to the keys of entities that a schema asks about, in their order.

    A label that is absent is the empty text, of which no event makes an entity. The function is compiled from source,
    as features' values are: it runs for every question.
    """

    def value(column: str) -> str:
        return f"named[{column!r}]" + (" or ''" if column in schema.labels else "")

    keys = (
        f"EntityKey({entity.name!r}, ({''.join(f'{value(key)}, ' for key in entity.join_keys)}))" for entity in entities
    )
    source = f"lambda named: ({''.join(f'{key}, ' for key in keys)})"
    found = eval(source, {"EntityKey": EntityKey})  # noqa: S307 - of names that a schema has checked
    return cast("Callable[[Any], tuple[EntityKey, ...]]", found)
