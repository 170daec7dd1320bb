"""A question: its values of the keys and labels that a schema asks for, and the entities that they identify."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from data.schema import Entity, Schema
from features.state.states import EntityKey

__all__ = ["Named", "Question", "is_of_products", "keys_of"]

Named = Mapping[str, str | None]
"""Values of keys and labels by name, in the schema's order; a label may be absent."""


class Question(NamedTuple):
    """A question to score.

    `measures` are those that the schema asks for, in its order, None for a missing one; `as_of_us` is in UTC
    microseconds, None for now.
    """

    named: Named
    measures: Sequence[float | None]
    as_of_us: int | None = None

    @property
    def about(self) -> str:
        """The value of the first key that the schema asks for, such as the user."""
        return next(iter(self.named.values())) or ""


def is_of_products(schema: Schema) -> bool:
    """Return whether questions name a user and a product, which ranking and some pages need."""
    return schema.asked_keys == ("user_id", "product_id")


def keys_of(entities: Sequence[Entity], schema: Schema) -> Callable[[Named], tuple[EntityKey, ...]]:
    """Return the function from a question's keys and labels to the entity keys of `entities`, in their order.

    An absent label becomes the empty text, for which no entity exists. The function is compiled from source, like the
    features' values, because it runs for every question.
    """

    def value(column: str) -> str:
        return f"named[{column!r}]" + (" or ''" if column in schema.labels else "")

    keys = (
        f"EntityKey({entity.name!r}, ({''.join(f'{value(key)}, ' for key in entity.join_keys)}))" for entity in entities
    )
    source = f"lambda named: ({''.join(f'{key}, ' for key in keys)})"
    function = eval(source, {"EntityKey": EntityKey})  # noqa: S307 - of names that a schema has checked
    return cast("Callable[[Any], tuple[EntityKey, ...]]", function)
