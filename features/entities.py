"""The entities of the default project, by name."""

from data.default_shop import SHOP
from data.schema import Entity

__all__ = ["CATEGORY", "ENTITIES", "PRODUCT", "REQUEST_VIEW", "USER", "USER_CATEGORY", "USER_PRODUCT", "Entity"]

USER = SHOP.entity("user")
PRODUCT = SHOP.entity("product")
USER_PRODUCT = SHOP.entity("user_product")
CATEGORY = SHOP.entity("category")
USER_CATEGORY = SHOP.entity("user_category")

ENTITIES = SHOP.entities

REQUEST_VIEW = "request_features"
"""Name of the Feast view of what is known only when a question is asked."""
