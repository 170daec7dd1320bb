"""Questions about the default shop, and the keys of its users, products and pairs."""

from features.state.states import EntityKey
from server.scoring.question import Question

__all__ = ["ask", "pair_key", "product_key", "user_key"]


def ask(user: str, product: str, amount: float | None = None, as_of_us: int | None = None) -> Question:
    return Question({"user_id": user, "product_id": product}, (amount,), as_of_us)


def user_key(user_id: str) -> EntityKey:
    return EntityKey("user", (user_id,))


def product_key(product_id: str) -> EntityKey:
    return EntityKey("product", (product_id,))


def pair_key(user_id: str, product_id: str) -> EntityKey:
    return EntityKey("user_product", (product_id, user_id))
