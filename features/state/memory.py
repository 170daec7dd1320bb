"""States in memory: the twin of those in Redis, for tests of definitions and our own tests."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from data.default_shop import SHOP
from data.schema import Schema
from features.state.fence import Fence
from features.state.states import NOTHING, EntityKey, Stored

__all__ = ["MemoryStates"]


class MemoryStates:
    """Implements `features.state.states.States` with a dictionary that is lost with this object."""

    def __init__(self, schema: Schema = SHOP) -> None:
        self._entities = tuple(entity.name for entity in schema.entities)
        self._stored: dict[EntityKey, Stored] = {}
        self._newest_us: int | None = None
        self._lock = threading.Lock()

    def read(self, keys: Sequence[EntityKey]) -> list[Stored]:
        """Return the stored state and fence of each key, in the order of `keys`."""
        with self._lock:
            return [self._stored.get(key, NOTHING) for key in keys]

    def compare_and_set(self, writes: Mapping[EntityKey, tuple[Stored, bytes, Fence]]) -> list[EntityKey]:
        """Write states whose stored fence is still the one that was read; return the keys of the others."""
        lost = []
        with self._lock:
            for key, (before, state, fence) in writes.items():
                if self._stored.get(key, NOTHING).fence == before.fence:
                    self._stored[key] = Stored(state, fence.encode())
                else:
                    lost.append(key)
        return lost

    def note_event(self, timestamp_us: int) -> None:
        """Record the newest event time folded by any worker, µs; an older one changes nothing."""
        with self._lock:
            if self._newest_us is None or timestamp_us > self._newest_us:
                self._newest_us = timestamp_us

    def newest_event(self) -> int | None:
        """Return the newest event time folded by any worker, µs; None before the first."""
        return self._newest_us

    def counts(self) -> dict[str, int]:
        """Return the number of states of each entity, by name."""
        with self._lock:
            counted = Counter(key.entity for key in self._stored)
        return {entity: counted[entity] for entity in self._entities}

    def fences(self, entity: str) -> Iterator[Fence]:
        """Yield the fence of every state of an entity, in no order."""
        with self._lock:
            stored = [state.fence for key, state in self._stored.items() if key.entity == entity]
        return map(Fence.decode, stored)

    def clear(self) -> int:
        """Delete every state and the newest event time; return the number of states."""
        with self._lock:
            count = len(self._stored)
            self._stored.clear()
            self._newest_us = None
        return count
