"""What is stored of entities, and what a store of states promises.

`features.state.redis` keeps this promise in Redis, `features.state.memory` in this process;
`tests/contracts/test_states_contract.py` holds both to it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from features.state.fence import Fence

__all__ = ["NOTHING", "EntityKey", "States", "Stored"]


class EntityKey(msgspec.Struct, frozen=True, gc=False):
    """One entity: its kind by name, and the values of its join keys in the order of `Entity.join_keys`."""

    entity: str
    ids: tuple[str, ...]


class Stored(NamedTuple):
    """The stored bytes of an entity's state and fence (both empty where there are none)."""

    state: bytes
    fence: bytes


NOTHING = Stored(b"", b"")
"""What is stored of an entity that nobody has seen."""


class States(Protocol):
    """A store of states. It may be shared between threads. Every method may raise UnavailableError; call again."""

    def read(self, keys: Sequence[EntityKey]) -> list[Stored]:
        """What is stored of each, in the order of `keys`."""

    def compare_and_set(self, writes: Mapping[EntityKey, tuple[Stored, bytes, Fence]]) -> list[EntityKey]:
        """Write states, each only where its fence is still the one that was read; the keys where it was not.

        `writes`: per key what was read, the new state's bytes and the new fence. State and fence of an entity are
        written together; different entities are not.
        """

    def note_event(self, timestamp_us: int) -> None:
        """Remember the newest event time folded by anyone; an older one changes nothing."""

    def newest_event(self) -> int | None:
        """The newest event time folded by anyone, µs; None before the first."""

    def counts(self) -> dict[str, int]:
        """How many states there are of each entity."""

    def fences(self, entity: str) -> Iterator[Fence]:
        """The fence of every state of an entity, in no order."""

    def clear(self) -> int:
        """Delete every state, and forget the newest event time; how many states there were."""
