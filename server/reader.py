"""Reading what is known of entities: one round trip for any number of them, each decoded once."""

import logging
from collections.abc import Iterable

from data.errors import StateError
from features.entities import PRODUCT, USER, USER_PRODUCT
from features.online import EntityKey, OnlineStates, redis_key
from features.plan import Plan
from features.state import State
from features.values import EntityValues, Value
from server.activity import Activity

__all__ = ["Reader", "pair_key", "product_key", "user_key"]

_log = logging.getLogger(__name__)


def user_key(user_id: str) -> EntityKey:
    """The key of a user."""
    return EntityKey(USER.name, (user_id,))


def product_key(product_id: str) -> EntityKey:
    """The key of a product."""
    return EntityKey(PRODUCT.name, (product_id,))


def pair_key(user_id: str, product_id: str) -> EntityKey:
    """The key of a user and a product together."""
    return EntityKey(USER_PRODUCT.name, (product_id, user_id))


class Reader:
    """Reads states and computes their features. A state that is damaged counts as one never seen."""

    def __init__(self, plan: Plan, states: OnlineStates, activity: Activity) -> None:
        self._states = states
        self._activity = activity
        self._values = {entity.entity: EntityValues(entity) for entity in plan.entities}

    def read(self, keys: Iterable[EntityKey]) -> dict[EntityKey, State | None]:
        """What is known of each entity, None of one never seen; UnavailableError when Redis is gone."""
        unique = list(dict.fromkeys(keys))
        stored = self._states.read(unique)
        return {key: self._decode(key, found.state) for key, found in zip(unique, stored, strict=True)}

    def names(self, key: EntityKey) -> tuple[str, ...]:
        """Names of the entity's features, in the plan's order."""
        return self._values[key.entity].names

    def values(self, key: EntityKey, state: State | None, at_us: int) -> list[Value]:
        """The entity's features at a time, in the plan's order."""
        return self._values[key.entity].get(state, at_us)

    def last_event(self, key: EntityKey, state: State | None) -> int | None:
        """Time of the newest event folded into the entity, µs; None where there is none."""
        return None if state is None else self._values[key.entity].algebra.last_event(state)

    def _decode(self, key: EntityKey, data: bytes) -> State | None:
        if not data:
            return None
        try:
            return self._values[key.entity].algebra.decode(data)
        except StateError as error:
            self._activity.note_damaged_state()
            _log.error("%s; Redis key %r is served as never seen", error, redis_key(key))
            return None
