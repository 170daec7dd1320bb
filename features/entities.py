"""The entities that features describe: the user, the product, and the pair of the two."""

from typing import NamedTuple

__all__ = ["ENTITIES", "PRODUCT", "REQUEST_VIEW", "USER", "USER_PRODUCT", "Entity", "entity_named"]


class Entity(NamedTuple):
    """An entity: `frame` is its dataframe in the Featuretools entity set; `join_keys` are event columns, sorted."""

    name: str
    frame: str
    join_keys: tuple[str, ...]
    description: str

    @property
    def view(self) -> str:
        """Name of the Feast feature view."""
        return f"{self.name}_features"


USER = Entity("user", "users", ("user_id",), "a shopper")
PRODUCT = Entity("product", "products", ("product_id",), "a product on sale")
USER_PRODUCT = Entity("user_product", "user_products", ("product_id", "user_id"), "a shopper and a product together")

ENTITIES = (USER, PRODUCT, USER_PRODUCT)

REQUEST_VIEW = "request_features"
"""Name of the Feast view of what is known only when a question is asked."""


def entity_named(name: str) -> Entity:
    """Return the entity of that name. Raises KeyError where there is none."""
    return {entity.name: entity for entity in ENTITIES}[name]
