"""Reads entities: their states in one round trip, each decoded once, its features computed once per time."""

import logging
from collections.abc import Callable, Iterable
from time import perf_counter

from data.errors import LayoutError, RedisRefusalError
from features.plan.plan import Plan
from features.state.algebra import DAMAGE
from features.state.online.answers import is_wrong_type
from features.state.online.keys import redis_key
from features.state.online.states import LAST_US
from features.state.states import NOTHING, EntityKey, Stored
from features.state.values import EntityValues, Held, Value
from server.redis.states import AsyncStates
from server.scoring.telemetry import Telemetry

__all__ = ["ReadEntity", "Reader"]

_log = logging.getLogger(__name__)

_VALUES = frozenset({int, float, type(None)})

_CACHED_BYTES = 6 << 20
"""The most that the states in the cache take in Redis, with `_EACH_BYTES` for each; decoded they take up to eight times
as much."""

_EACH_BYTES = 400
"""What an entry takes whatever its state: a state of an eighth of a kilobyte takes three, decoded and with values."""


class Reader:
    """Reads states. A damaged state is counted, logged with its key, and treated as an entity without events.

    Decoded states are cached until they change, or others need their place: `most_bytes` is how much all of them may
    take encoded, with a share for each (the newest is always kept). `aside` is called with the key of an unreadable
    state.
    """

    def __init__(
        self,
        plan: Plan,
        states: AsyncStates,
        telemetry: Telemetry,
        *,
        most_bytes: int = _CACHED_BYTES,
        aside: Callable[[EntityKey], None] = lambda _: None,
    ) -> None:
        self._states = states
        self._aside = aside
        self._telemetry = telemetry
        self._values = {entity.entity: EntityValues(entity) for entity in plan.entities}
        self._most_bytes = most_bytes
        self._cached_bytes = 0
        self._cache: dict[EntityKey, ReadEntity] = {}

    async def read(self, keys: Iterable[EntityKey]) -> "dict[EntityKey, ReadEntity]":
        """Return the entities, read in one round trip. Raises UnavailableError without Redis."""
        unique = list(dict.fromkeys(keys))
        began = perf_counter()
        stored = await self._states.read(unique)
        self._telemetry.redis_seconds.observe(perf_counter() - began)
        return {key: self._entity(key, data) for key, data in zip(unique, stored, strict=True)}

    def _entity(self, key: EntityKey, stored: Stored | RedisRefusalError) -> "ReadEntity":
        """Return the entity of a stored state, decoded unless the same bytes are in the cache."""
        cached = self._cache.get(key)
        if isinstance(stored, RedisRefusalError):
            if is_wrong_type(stored):  # a key of another type
                self._aside(key)
            return ReadEntity(self, self._values[key.entity], key, NOTHING, stored)
        data, fence = stored
        if cached is not None and cached.data == data:
            cached.fence = fence  # an event that changes no value of the state still moves its fence
            return cached
        entity = ReadEntity(self, self._values[key.entity], key, stored)
        if entity.seen:
            self._keep(key, entity)
        return entity

    def _keep(self, key: EntityKey, entity: "ReadEntity") -> None:
        self._drop(key)
        self._cached_bytes += _EACH_BYTES + len(entity.data)
        while self._cache and self._cached_bytes > self._most_bytes:
            self._drop(next(iter(self._cache)))
        self._cache[key] = entity

    def _drop(self, key: EntityKey) -> None:
        dropped = self._cache.pop(key, None)
        if dropped is not None:
            self._cached_bytes -= _EACH_BYTES + len(dropped.data)

    def note_damage(self, key: EntityKey, error: Exception) -> None:
        """Count, log and record an unreadable state."""
        self._drop(key)
        if not isinstance(error, LayoutError):  # otherwise all states are of other definitions, and none is damaged
            self._aside(key)
        self._telemetry.note_damaged_state()
        _log.error("%s; Redis key %r counts as an entity without events", error or type(error).__name__, redis_key(key))


class ReadEntity:
    """An entity as it was read.

    `data` are its bytes and `fence` those of its fence (empty if it has no readable events); `seen` is whether it has
    events, `last_event` the time of its newest event, µs (0: none), and `refusal` the error that Redis answered instead
    of its state.
    """

    __slots__ = (
        "_all_features",
        "_cached_at",
        "_cached_values",
        "_checked",
        "_reader",
        "_state",
        "_tile_cache",
        "data",
        "fence",
        "key",
        "last_event",
        "refusal",
    )

    def __init__(
        self,
        reader: Reader,
        entity_values: EntityValues,
        key: EntityKey,
        stored: Stored,
        refusal: RedisRefusalError | None = None,
    ) -> None:
        data, fence = stored
        self.key = key
        self.data = data
        self.fence = b""
        self.refusal = refusal
        self._reader = reader
        self._all_features = entity_values
        self._state = None
        self._checked: EntityValues | None = None
        self._cached_at: tuple[EntityValues, int] | None = None
        self._tile_cache = Held()
        self._cached_values: tuple[Value, ...] = ()
        self.last_event = 0
        if data:
            try:
                state = entity_values.algebra.decode(data)
                last = entity_values.algebra.last_event(state)
                if last is None or not 0 <= last < LAST_US:
                    raise ValueError(f"a state whose newest event is of {last}")
                self._state, self.last_event, self.fence = state, last, fence
            except DAMAGE as error:
                reader.note_damage(key, error)

    @property
    def seen(self) -> bool:
        """Whether the entity has events."""
        return self._state is not None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features."""
        return self._all_features.names

    def values(self, at_us: int, of: EntityValues | None = None) -> tuple[Value, ...]:
        """Return the features at a time, µs: all in the plan's order, or those that `of` computes.

        Questions about the same time share one computation.
        """
        of = of or self._all_features
        if self._cached_at != (of, at_us):
            self._cached_values = self._compute(of, at_us)
            self._cached_at = of, at_us
        return self._cached_values

    def _compute(self, of: EntityValues, at_us: int) -> tuple[Value, ...]:
        try:
            values = of.get(self._state, at_us, self._tile_cache)
            if self._checked is not of:  # once: the types of values depend on the state, not on the time
                if not _VALUES.issuperset(map(type, values)):
                    raise TypeError("a value that is no number")
                self._checked = of
        except DAMAGE as error:
            if self._state is None:
                raise
            self._reader.note_damage(self.key, error)
            self._state, self.last_event, self.fence = None, 0, b""
            return of.get(None, at_us)
        return values
