"""States read on the event loop from a store that need not be waited for: the twin of `LiveStates`, for tests."""

from collections.abc import Sequence

from data.errors import RedisRefusalError
from features.state.states import EntityKey, States

__all__ = ["MemoryLiveStates"]


class MemoryLiveStates:
    """Keeps what `server.redis.states.AsyncStates` promises, over a store in this process."""

    def __init__(self, states: States) -> None:
        self._states = states

    async def read(self, keys: Sequence[EntityKey]) -> list[bytes | RedisRefusalError]:
        """The bytes of each state; empty where there is none."""
        return [stored.state for stored in self._states.read(keys)]

    async def newest_event(self) -> int | None:
        """The newest event time folded by anyone, µs; None before the first."""
        return self._states.newest_event()
