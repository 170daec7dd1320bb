"""In-memory twin of `LiveStates`: states read on the event loop from a store in this process, for tests."""

from collections.abc import Sequence

from data.errors import RedisRefusalError
from features.state.states import EntityKey, States, Stored

__all__ = ["MemoryLiveStates"]


class MemoryLiveStates:
    """Implements `server.redis.states.AsyncStates` over a store in this process."""

    def __init__(self, states: States) -> None:
        self._states = states

    async def read(self, keys: Sequence[EntityKey]) -> list[Stored | RedisRefusalError]:
        """Return the stored state of each entity; empty if there is none."""
        return [*self._states.read(keys)]

    async def newest_event(self) -> int | None:
        """Return the newest event time folded by any worker, µs; None before the first."""
        return self._states.newest_event()
