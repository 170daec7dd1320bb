"""A store of states between whose reading and writing something else happens."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from features.state.fence import Fence
from features.state.states import EntityKey, States, Stored

__all__ = ["StatesBetween", "Writes", "put_back"]

Writes = Mapping[EntityKey, tuple[Stored, bytes, Fence]]


class StatesBetween:
    """Another store, but that `read` and `write` are called with what is to be read or written before it is. What they
    raise is raised."""

    def __init__(
        self,
        states: States,
        *,
        read: Callable[[Sequence[EntityKey]], None] = lambda _: None,
        write: Callable[[Writes], None] = lambda _: None,
    ) -> None:
        self._states = states
        self._before_read = read
        self._before_write = write

    def read(self, keys: Sequence[EntityKey]) -> list[Stored]:
        self._before_read(keys)
        return self._states.read(keys)

    def compare_and_set(self, writes: Writes) -> list[EntityKey]:
        self._before_write(writes)
        return self._states.compare_and_set(writes)

    def note_event(self, timestamp_us: int) -> None:
        self._states.note_event(timestamp_us)

    def newest_event(self) -> int | None:
        return self._states.newest_event()

    def counts(self) -> dict[str, int]:
        return self._states.counts()

    def fences(self, entity: str) -> Iterator[Fence]:
        return self._states.fences(entity)

    def clear(self) -> int:
        return self._states.clear()


def put_back(states: States, stored: Mapping[EntityKey, Stored], topic: bytes) -> None:
    """Let states be what they were, as a failover does; one that was not there holds nothing."""
    now = states.read(list(stored))
    writes = {
        key: (current, old.state, Fence.decode(old.fence) if old.fence else Fence(topic))
        for (key, old), current in zip(stored.items(), now, strict=True)
    }
    assert states.compare_and_set(writes) == []
