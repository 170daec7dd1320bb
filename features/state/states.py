"""The stores of states: what is stored of an entity, and the protocol of a store.

`features.state.online.states` implements it in Redis, `features.state.memory` in this process;
`tests/contracts/test_states_contract.py` tests both.
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
"""What is stored of an unknown entity."""


class States(Protocol):
    """A store of states. Thread-safe. Every method may raise UnavailableError; call it again."""

    def read(self, keys: Sequence[EntityKey]) -> list[Stored]:
        """Return the stored state and fence of each key, in the order of `keys`."""

    def compare_and_set(self, writes: Mapping[EntityKey, tuple[Stored, bytes, Fence]]) -> list[EntityKey]:
        """Write states whose stored fence is still the one that was read; return the keys of the others.

        `writes` holds, per key, what was read, the new state's bytes and the new fence. State and fence of an entity
        are written together; different entities are not.
        """

    def note_event(self, timestamp_us: int) -> None:
        """Record the newest event time folded by any worker, µs; an older one changes nothing."""

    def newest_event(self) -> int | None:
        """Return the newest event time folded by any worker, µs; None before the first."""

    def counts(self) -> dict[str, int]:
        """Return the number of states of each entity, by name."""

    def fences(self, entity: str) -> Iterator[Fence]:
        """Yield the fence of every state of an entity, in no order."""

    def clear(self) -> int:
        """Delete every state and the newest event time; return the number of states."""
