"""Reads entities: their states in one round trip, each decoded once, its features computed once a time."""

import logging
from collections.abc import Callable, Iterable
from time import perf_counter

from data.errors import LayoutError, RedisRefusalError
from features.plan.plan import Plan
from features.state.algebra import DAMAGE
from features.state.answers import is_wrong_type
from features.state.redis import LAST_US, redis_key
from features.state.states import NOTHING, EntityKey, Stored
from features.state.values import EntityValues, Held, Value
from server.redis.states import AsyncStates
from server.scoring.telemetry import Telemetry

__all__ = ["Known", "Reader"]

_log = logging.getLogger(__name__)

_VALUES = frozenset({int, float, type(None)})


class Reader:
    """Reads states. A damaged one is counted, logged with its key, and treated as an entity without events.

    `most_kept` states are kept decoded, in case they are read again before they change. `aside` is called with the key
    of a state that cannot be read.
    """

    def __init__(
        self,
        plan: Plan,
        states: AsyncStates,
        telemetry: Telemetry,
        *,
        most_kept: int = 5_000,
        aside: Callable[[EntityKey], None] = lambda _: None,
    ) -> None:
        self._states = states
        self._aside = aside
        self._telemetry = telemetry
        self._values = {entity.entity: EntityValues(entity) for entity in plan.entities}
        self._most_kept = most_kept
        self._kept: dict[EntityKey, Known] = {}

    async def read(self, keys: Iterable[EntityKey]) -> "dict[EntityKey, Known]":
        """Return the entities, read in one round trip. Raises UnavailableError without Redis."""
        unique = list(dict.fromkeys(keys))
        began = perf_counter()
        stored = await self._states.read(unique)
        self._telemetry.redis_seconds.observe(perf_counter() - began)
        return {key: self._known(key, data) for key, data in zip(unique, stored, strict=True)}

    def _known(self, key: EntityKey, stored: Stored | RedisRefusalError) -> "Known":
        """Return the entity of what is stored: decoded now, unless the very same bytes were decoded before."""
        kept = self._kept.get(key)
        if isinstance(stored, RedisRefusalError):
            if is_wrong_type(stored):  # a key of another type
                self._aside(key)
            return Known(self, self._values[key.entity], key, NOTHING, stored)
        data, fence = stored
        if kept is not None and kept.data == data:
            kept.fence = fence  # an event that changes no number of the state moves its fence
            return kept
        known = Known(self, self._values[key.entity], key, stored)
        if known.seen:
            if len(self._kept) >= self._most_kept and kept is None:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = known
        return known

    def note_damage(self, key: EntityKey, error: Exception) -> None:
        """Count, log and name a state that cannot be read."""
        self._kept.pop(key, None)
        if not isinstance(error, LayoutError):  # then all are of other definitions, and none is damaged
            self._aside(key)
        self._telemetry.note_damaged_state()
        _log.error("%s; Redis key %r counts as an entity without events", error or type(error).__name__, redis_key(key))


class Known:
    """One entity as it was read.

    `data` are its bytes and `fence` those of its fence (empty where it has no events that can be read); `seen` is
    whether it has events, `last_event` the time of its newest event, µs (0: none), and `refusal` the error that Redis
    answered instead of its state.
    """

    __slots__ = (
        "_everything",
        "_found",
        "_found_at",
        "_held",
        "_reader",
        "_sound",
        "_state",
        "data",
        "fence",
        "key",
        "last_event",
        "refusal",
    )

    def __init__(
        self,
        reader: Reader,
        of: EntityValues,
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
        self._everything = of
        self._state = None
        self._sound: EntityValues | None = None
        self._found_at: tuple[EntityValues, int] | None = None
        self._held = Held()
        self._found: tuple[Value, ...] = ()
        self.last_event = 0
        if data:
            try:
                state = of.algebra.decode(data)
                last = of.algebra.last_event(state)
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
        return self._everything.names

    def values(self, at_us: int, of: EntityValues | None = None) -> tuple[Value, ...]:
        """Return all features at a time, µs, in the plan's order, or those `of` which is asked.

        Questions about one time share one computation.
        """
        of = of or self._everything
        if self._found_at != (of, at_us):
            self._found = self._compute(of, at_us)
            self._found_at = of, at_us
        return self._found

    def _compute(self, of: EntityValues, at_us: int) -> tuple[Value, ...]:
        try:
            values = of.get(self._state, at_us, self._held)
            if self._sound is not of:  # checked once: the types of values depend on the state, not on the time
                if not _VALUES.issuperset(map(type, values)):
                    raise TypeError("a value that is no number")
                self._sound = of
        except DAMAGE as error:
            if self._state is None:
                raise
            self._reader.note_damage(self.key, error)
            self._state, self.last_event, self.fence = None, 0, b""
            return of.get(None, at_us)
        return values
