"""Reading what is known of entities: one round trip for any number of them, each decoded once."""

import logging
from collections.abc import Iterable

from data.errors import StateError
from data.event import from_micros
from features.entities import PRODUCT, USER, USER_PRODUCT
from features.online import EntityKey, OnlineStates, redis_key
from features.plan import Plan
from features.state import State
from features.values import EntityValues, Value
from server.activity import Activity

__all__ = ["Known", "Reader", "pair_key", "product_key", "user_key"]

_log = logging.getLogger(__name__)

_DAMAGE = (StateError, ArithmeticError, LookupError, TypeError, ValueError)
"""What reading can raise where bytes only look like a state: wrong types, or numbers that cannot be of one entity."""

_VALUES = frozenset({int, float, type(None)})


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
    """Reads states. One that is damaged counts as never seen: it is counted, logged with its key, and nothing stops."""

    def __init__(self, plan: Plan, states: OnlineStates, activity: Activity) -> None:
        self._states = states
        self._activity = activity
        self._values = {entity.entity: EntityValues(entity) for entity in plan.entities}

    def read(self, keys: Iterable[EntityKey]) -> "Known":
        """What is known of the entities, in one round trip; UnavailableError when Redis is gone."""
        unique = list(dict.fromkeys(keys))
        stored = self._states.read(unique)
        return Known(self, {key: self.decode(key, found.state) for key, found in zip(unique, stored, strict=True)})

    def decode(self, key: EntityKey, data: bytes) -> State | None:
        """The state in the bytes; None where there are none, or they are damaged."""
        if not data:
            return None
        try:
            state = self._values[key.entity].algebra.decode(data)
            from_micros(self.last_event(key, state))
        except _DAMAGE as error:
            self._note_damage(key, error)
            return None
        return state

    def last_event(self, key: EntityKey, state: State) -> int:
        """Time of the newest event in a state, µs: every state that is written has one."""
        last = self._values[key.entity].algebra.last_event(state)
        if last is None:
            raise ValueError("a state without an event")
        return last

    def values(self, key: EntityKey, state: State | None, at_us: int) -> dict[str, Value] | None:
        """The entity's features by name at a time, in the plan's order; None where the state is damaged."""
        of = self._values[key.entity]
        try:
            values = of.get(state, at_us)
            if not _VALUES.issuperset(map(type, values)):
                raise TypeError("a value that is no number")
        except _DAMAGE as error:
            if state is None:
                raise
            self._note_damage(key, error)
            return None
        return dict(zip(of.names, values, strict=True))

    def _note_damage(self, key: EntityKey, error: Exception) -> None:
        self._activity.note_damaged_state()
        _log.error("%s; Redis key %r is served as never seen", error or type(error).__name__, redis_key(key))


class Known:
    """What was read of some entities at one moment. A feature is computed once however many questions share it."""

    def __init__(self, reader: Reader, states: dict[EntityKey, State | None]) -> None:
        self._reader = reader
        self._states = states
        self._values: dict[tuple[EntityKey, int], dict[str, Value]] = {}

    def seen(self, key: EntityKey) -> bool:
        """Whether anything has happened to the entity."""
        return self._states[key] is not None

    def last_event(self, key: EntityKey) -> int | None:
        """Time of the newest event folded into the entity, µs; None where there is none."""
        state = self._states[key]
        return None if state is None else self._reader.last_event(key, state)

    def values(self, key: EntityKey, at_us: int) -> dict[str, Value]:
        """The entity's features by name at a time, in the plan's order. The caller leaves them as they are."""
        values = self._values.get((key, at_us))
        if values is None:
            values = self._reader.values(key, self._states[key], at_us)
            if values is None:
                self._states[key] = None
                return self.values(key, at_us)
            self._values[key, at_us] = values
        return values
