"""States in this process: the twin of those in Redis, for tests of definitions, and for tests of ours."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from features.entities import ENTITIES
from features.state.fence import Fence
from features.state.states import NOTHING, EntityKey, Stored

__all__ = ["MemoryStates"]


class MemoryStates:
    """Keeps what `features.state.states.States` promises in a dictionary that is lost with this object."""

    def __init__(self) -> None:
        self._stored: dict[EntityKey, Stored] = {}
        self._newest_us: int | None = None
        self._lock = threading.Lock()

    def read(self, keys: Sequence[EntityKey]) -> list[Stored]:
        """What is stored of each, in the order of `keys`."""
        with self._lock:
            return [self._stored.get(key, NOTHING) for key in keys]

    def compare_and_set(self, writes: Mapping[EntityKey, tuple[Stored, bytes, Fence]]) -> list[EntityKey]:
        """Write states, each only where its fence is still the one that was read; the keys where it was not."""
        lost = []
        with self._lock:
            for key, (before, state, fence) in writes.items():
                if self._stored.get(key, NOTHING).fence == before.fence:
                    self._stored[key] = Stored(state, fence.encode())
                else:
                    lost.append(key)
        return lost

    def note_event(self, timestamp_us: int) -> None:
        """Remember the newest event time folded by anyone; an older one changes nothing."""
        with self._lock:
            if self._newest_us is None or timestamp_us > self._newest_us:
                self._newest_us = timestamp_us

    def newest_event(self) -> int | None:
        """The newest event time folded by anyone, µs; None before the first."""
        return self._newest_us

    def counts(self) -> dict[str, int]:
        """How many states there are of each entity."""
        with self._lock:
            counted = Counter(key.entity for key in self._stored)
        return {entity.name: counted[entity.name] for entity in ENTITIES}

    def fences(self, entity: str) -> Iterator[Fence]:
        """The fence of every state of an entity, in no order."""
        with self._lock:
            stored = [one.fence for key, one in self._stored.items() if key.entity == entity]
        return map(Fence.decode, stored)

    def clear(self) -> int:
        """Delete every state, and forget the newest event time; how many states there were."""
        with self._lock:
            count = len(self._stored)
            self._stored.clear()
            self._newest_us = None
        return count
