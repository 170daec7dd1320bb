"""What a store should hold, recorded in the store itself: where it forgets, the inventory is lost with the rest.

    encore:inventory    user 2000   product 400   user_product 46258   evicted 0   revision 5f0c...   spread_512 1
    encore:here:{17}    1           on every primary of a cluster at least one such key
    encore:lives        visit 2592000000    how long after its last event a state leaves, ms; others stay

For each entity, how many states there are, at least. A field says that the entity's states are here, so a worker folds
only while all are: on an empty store it would give a known entity one of its newest events alone. Fewer keys than the
sum, or keys that Redis has evicted since, show that states are missing.

The states are of a revision, which ends when some are rebuilt from the log alone. Those lack what a worker has folded
and not logged, so a worker that slept through it begins again where the log ends (`RemadeError`).
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import count
from typing import Any, NamedTuple

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from data.errors import ForgottenError, RedisRefusalError, RemadeError
from features.state.online.answers import ask, read_fields, read_info, write_fields

__all__ = ["Inventory", "Stock"]

_EVICTED = "evicted"
"""The field of the number of keys that Redis had evicted when the states were counted."""

_REVISION = "revision"
"""The field that names the revision; absent before the first."""

_SPREAD = "spread_512"
"""The field that records that a cluster's nodes have their markers; named after their number, since more were added."""

_MARKERS = 512
"""Markers, evenly over a cluster's slots: a primary of 63 slots in a row has one, as has nearly every one of a few
hundred slots anywhere. They move as its slots do."""

_KEEPS = "noeviction"

_ADD = """
if redis.call('TYPE', KEYS[1])['ok'] ~= 'hash' then return 0 end
for at = 1, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[1], ARGV[at]) == 1 then redis.call('HINCRBY', KEYS[1], ARGV[at], ARGV[at + 1]) end
end
return 1
"""


class Stock(NamedTuple):
    """A look at a store: what it should hold and what it reports. None: unknown.

    `expected` states by entity (those that the inventory lists); `keys` that there are; keys `evicted` since the states
    were counted; the `policy` by which it drops keys where memory is `limited`. States of `passing` entities leave by
    themselves.
    """

    entities: Sequence[str]
    expected: Mapping[str, int]
    keys: int | None
    evicted: int | None
    policy: str | None
    limited: bool
    passing: frozenset[str] = frozenset()

    @property
    def lasting(self) -> int:
        """How many states should be here at any time."""
        return sum(count for entity, count in self.expected.items() if entity not in self.passing)

    @property
    def forgotten(self) -> tuple[str, ...]:
        """Entities that are missing from the inventory."""
        return tuple(entity for entity in self.entities if entity not in self.expected)

    @property
    def doubtful(self) -> tuple[str, ...]:
        """Entities some of whose states are missing, as far as one can tell."""
        short = self.keys is not None and self.keys < self.lasting
        return tuple(self.entities) if short or self.evicted else self.forgotten

    def problems(self) -> list[str]:
        """Return what is wrong, and what to do, in words."""
        problems = []
        if self.forgotten:
            problems.append(str(ForgottenError(self.forgotten)))
        elif self.evicted:
            problems.append(
                f"Redis has evicted {self.evicted:,} keys (maxmemory-policy {self.policy}), and known entities are "
                f"strangers; set the policy to {_KEEPS}, give it more memory, and run `encore rebuild`"
            )
        elif self.doubtful:
            problems.append(
                f"Redis holds {self.keys:,} keys, and {self.lasting:,} states were written: the others "
                "were deleted, and their entities are strangers; run `encore rebuild`"
            )
        if self.limited and self.policy not in {_KEEPS, None}:
            problems.append(
                f"Redis drops keys when its memory is full (maxmemory-policy {self.policy}): set it to {_KEEPS}, for "
                "what is dropped is counted from nothing"
            )
        return problems


NodesOf = Callable[[Sequence[int]], Sequence[object]]
"""Returns the node that has each of these slots."""


class Inventory:
    """The inventory of one project's states. Methods raise what `features.state.online.answers.ask` does.

    `nodes_of` is a cluster's. An inventory remembers the revision that it has seen first, until `forget_revision`.
    """

    def __init__(self, client: Any, project: str, entities: Sequence[str], nodes_of: NodesOf | None = None) -> None:
        self._client = client
        self._entities = tuple(entities)
        self._name = f"{project}:inventory"
        self._lives = f"{project}:lives"
        self._materialized = f"{project}:materialized"
        self._nodes_of = nodes_of
        self._markers = {slot: f"{project}:here:{{{tag}}}" for slot, tag in _tags().items()} if nodes_of else {}
        self._seen: tuple[bytes | None] | None = None
        self._living: dict[str, int] | None = None
        self._look_up = (self._name.encode(), ("HMGET", self._name, *self._entities, _REVISION, _SPREAD))

    def look_ups(self) -> list[tuple[bytes, tuple[Any, ...]]]:
        """Return the commands whose answers `require` takes, each with its key: one to every primary, and one."""
        looks = [self._look_up]
        if self._nodes_of is not None:
            nodes_of, slots = self._nodes_of, list(self._markers)
            nodes = dict(zip(ask(lambda: nodes_of(slots)), self._markers.values(), strict=True))
            looks += [(marker.encode(), ("EXISTS", marker)) for marker in nodes.values()]
        return looks

    def require(self, answers: Sequence[Any]) -> None:
        """Raise ForgottenError where states are not here, RemadeError where they are of another revision than before.

        By the answers to `look_ups`.
        """
        fields, *markers = answers
        *counts, revision, spread = fields if isinstance(fields, list) else [None] * (len(self._entities) + 2)
        if None in counts:
            raise ForgottenError([name for name, count in zip(self._entities, counts, strict=True) if count is None])
        if spread is not None and not all(markers):
            raise ForgottenError(self._entities)
        if self._seen is None:
            self._seen = (revision,)
        elif self._seen != (revision,):
            raise RemadeError("Redis: all states were made anew since this worker last read them")

    def require_revision(self) -> None:
        """Raise RemadeError where states are of another revision than before, ForgottenError where there are none."""
        fields = ask(lambda: self._client.execute_command(*self._look_up[1]))
        self.require([fields])

    def forget_revision(self) -> None:
        """Accept any revision from now on: nothing is held that was folded into another one."""
        self._seen = None

    def turn_over(self) -> None:
        """Begin another revision, before the log is read of which its states are made."""
        write_fields(self._client, self._name, {_REVISION: uuid.uuid4().hex})

    def begin(self, *, done: bool) -> None:
        """Begin the inventory of an empty store.

        Raises ForgottenError where something was folded before (`done`) and is not here. A store that was materialized
        before there were inventories is taken as it is, and so is a cluster of before there were markers.
        """
        counts = self._read()
        missing = [entity for entity in self._entities if entity not in counts]
        if not missing:
            self._begin_markers(counts)
            return
        if done and (counts or not ask(lambda: self._client.exists(self._materialized))):
            raise ForgottenError(missing)
        self.vouch(dict.fromkeys(missing, 0))

    def vouch(self, counts: Mapping[str, int]) -> None:
        """Record that the states of these entities are here, so many of each."""
        for marker in self._markers.values():
            ask(lambda marker=marker: self._client.set(marker, 1))  # type: ignore[misc]
        spread = {_SPREAD: 1} if self._markers else {}
        write_fields(self._client, self._name, {**counts, _EVICTED: self._evicted() or 0, **spread})

    def vouch_more(self, entity: str, created: int) -> None:
        """Record that the states of this entity are here, `created` of them since they were counted."""
        ask(lambda: self._client.hincrby(self._name, entity, created))

    def add(self, counts: Mapping[str, int]) -> None:
        """Record that so many more states are here, of entities that are in the inventory."""
        words = [word for item in counts.items() for word in item]
        ask(lambda: self._client.eval(_ADD, 1, self._name, *words))

    def lives(self) -> dict[str, int]:
        """Return how long after their last event states leave the store, ms, by entity; the others stay.

        It is read once: a process that starts, or opens another edition, sees later changes.
        """
        if self._living is None:
            fields = read_fields(self._client, self._lives)
            self._living = {name.decode(errors="replace"): int(ms) for name, ms in fields.items() if ms.isdigit()}
        return self._living

    def let_live(self, lives_ms: Mapping[str, int]) -> None:
        """Let states leave so long after their last event, from the next one on."""
        self._living = None
        if lives_ms != self.lives():
            ask(lambda: self._client.unlink(self._lives))
            if lives_ms:
                write_fields(self._client, self._lives, lives_ms)
            self._living = dict(lives_ms)

    def clear(self) -> None:
        """Record that nothing is here."""
        for key in (self._name, *self._markers.values()):
            ask(lambda key=key: self._client.unlink(key))  # type: ignore[misc]

    def look(self) -> Stock:
        """Compare the store with its inventory."""
        counts = self._read()
        is_whole = _SPREAD not in counts or self._has_markers()
        expected = {entity: counts[entity] for entity in self._entities if entity in counts and is_whole}
        memory, evicted = self._info("memory"), self._evicted()
        return Stock(
            self._entities,
            expected,
            keys=self._size(),
            evicted=None if evicted is None else max(0, evicted - counts.get(_EVICTED, 0)),
            policy=str(memory["maxmemory_policy"]) if "maxmemory_policy" in memory else None,
            limited=bool(memory.get("maxmemory", 0)),
            passing=frozenset(self.lives()),
        )

    def _begin_markers(self, counts: Mapping[str, int]) -> None:
        if _SPREAD in counts and not self._has_markers():
            raise ForgottenError(self._entities)
        if self._markers and _SPREAD not in counts:
            self.vouch({})

    def _has_markers(self) -> bool:
        """Return whether every primary has its marker."""
        _, *markers = self.look_ups()
        return all(ask(lambda words=words: self._client.execute_command(*words)) for _, words in markers)  # type: ignore[misc]

    def _read(self) -> dict[str, int]:
        fields = read_fields(self._client, self._name)
        return {name.decode(errors="replace"): int(count) for name, count in fields.items() if count.isdigit()}

    def _size(self) -> int | None:
        try:
            return int(ask(self._client.dbsize))
        except RedisRefusalError:
            return None

    def _evicted(self) -> int | None:
        stats = self._info("stats")
        return int(stats["evicted_keys"]) if "evicted_keys" in stats else None

    def _info(self, section: str) -> dict[str, Any]:
        """Return what all nodes report, numbers added up; nothing where they may not be asked."""
        try:
            nodes = read_info(self._client, section)
        except RedisRefusalError:
            return {}
        # One node that drops states is enough: what keeps them comes first.
        nodes.sort(key=lambda node: node.get("maxmemory_policy") != "noeviction")
        total: dict[str, Any] = {}
        for node in nodes:
            for name, value in node.items():
                total[name] = (
                    total[name] + value if isinstance(total.get(name), int) and isinstance(value, int) else value
                )
        return total


@cache
def _tags() -> dict[int, int]:
    """Return hash tags by their slots, one in each of as many equal parts of a cluster's slots as there are markers."""
    tags: dict[int, tuple[int, int]] = {}
    for tag in count():
        slot = key_slot(str(tag).encode())
        tags.setdefault(slot * _MARKERS // REDIS_CLUSTER_HASH_SLOTS, (slot, tag))
        if len(tags) == _MARKERS:
            break
    return dict(tags.values())
