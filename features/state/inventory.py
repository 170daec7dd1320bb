"""What a store should hold, written in the store itself: where it forgets, the inventory goes with the rest.

    encore:inventory    user 2000   product 400   user_product 46258   evicted 0

Of each entity how many states there are, at least. A field says that the entity's states are here, so a worker folds
only while all are: onto an empty store it would give an entity that is known one of its newest events alone. Whoever
finds fewer keys than the sum, or that Redis has evicted some since, knows that states are missing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from data.errors import ForgottenError, RedisRefusalError
from features.state.answers import ask, is_wrong_type

__all__ = ["Inventory", "Stock"]

_EVICTED = "evicted"
"""The field of how many keys Redis had evicted when the states were counted."""

_KEEPS = "noeviction"

_ADD = """
if redis.call('TYPE', KEYS[1])['ok'] ~= 'hash' then return 0 end
for at = 1, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[1], ARGV[at]) == 1 then redis.call('HINCRBY', KEYS[1], ARGV[at], ARGV[at + 1]) end
end
return 1
"""


class Stock(NamedTuple):
    """A look at a store: what it should hold and what it says of itself. None: it does not tell.

    `expected` states by entity (those that the inventory lists); `keys` that there are; keys `evicted` since the states
    were counted; the `policy` by which it drops keys where memory is `limited`.
    """

    entities: Sequence[str]
    expected: Mapping[str, int]
    keys: int | None
    evicted: int | None
    policy: str | None
    limited: bool

    @property
    def forgotten(self) -> tuple[str, ...]:
        """Entities whose states nothing vouches for."""
        return tuple(entity for entity in self.entities if entity not in self.expected)

    @property
    def doubtful(self) -> tuple[str, ...]:
        """Entities some of whose states are missing, as far as one can tell."""
        short = self.keys is not None and self.keys < sum(self.expected.values())
        return tuple(self.entities) if short or self.evicted else self.forgotten

    def problems(self) -> list[str]:
        """What is wrong, and what to do, in words."""
        found = []
        if self.forgotten:
            found.append(str(ForgottenError(self.forgotten)))
        elif self.evicted:
            found.append(
                f"Redis has evicted {self.evicted:,} keys (maxmemory-policy {self.policy}), and known entities are "
                f"strangers; set the policy to {_KEEPS}, give it more memory, and run `encore rebuild`"
            )
        elif self.doubtful:
            found.append(
                f"Redis holds {self.keys:,} keys, and {sum(self.expected.values()):,} states were written: the others "
                "were deleted, and their entities are strangers; run `encore rebuild`"
            )
        if self.limited and self.policy not in {_KEEPS, None}:
            found.append(
                f"Redis drops keys when its memory is full (maxmemory-policy {self.policy}): set it to {_KEEPS}, for "
                "what is dropped is counted from nothing"
            )
        return found


class Inventory:
    """The inventory of one project's states. Methods raise what `features.state.answers.ask` does."""

    def __init__(self, client: Any, project: str, entities: Sequence[str]) -> None:
        self._client = client
        self._entities = tuple(entities)
        self._name = f"{project}:inventory"
        self._materialized = f"{project}:materialized"
        self.key = self._name.encode()
        self.look_up = ("HMGET", self._name, *self._entities)
        """The command whose answer `require` takes."""

    def require(self, answer: Any) -> None:
        """Raise ForgottenError where an entity's states are not here, by the answer to `look_up`."""
        counts = answer if isinstance(answer, list) else [None] * len(self._entities)
        if None in counts:
            raise ForgottenError([name for name, count in zip(self._entities, counts, strict=True) if count is None])

    def begin(self, *, done: bool) -> None:
        """Begin the inventory of an empty store.

        Raises ForgottenError where something was folded before (`done`) and is not here. A store that was materialized
        before there were inventories is taken as it is.
        """
        found = self._read()
        missing = [entity for entity in self._entities if entity not in found]
        if not missing:
            return
        if done and (found or not ask(lambda: self._client.exists(self._materialized))):
            raise ForgottenError(missing)
        self.vouch(dict.fromkeys(missing, 0))

    def vouch(self, counts: Mapping[str, int]) -> None:
        """The states of these entities are here, so many of each."""
        told = {**counts, _EVICTED: self._evicted() or 0}
        try:
            ask(lambda: self._client.hset(self._name, mapping=told))
        except RedisRefusalError as error:
            if not is_wrong_type(error):
                raise
            ask(lambda: self._client.unlink(self._name))
            ask(lambda: self._client.hset(self._name, mapping=told))

    def vouch_more(self, entity: str, created: int) -> None:
        """The states of this entity are here, `created` of them since they were counted."""
        ask(lambda: self._client.hincrby(self._name, entity, created))

    def add(self, counts: Mapping[str, int]) -> None:
        """So many states more are here, of entities that are in the inventory."""
        words = [word for item in counts.items() for word in item]
        ask(lambda: self._client.eval(_ADD, 1, self._name, *words))

    def clear(self) -> None:
        """Nothing is here."""
        ask(lambda: self._client.unlink(self._name))

    def look(self) -> Stock:
        """How the store is against its inventory."""
        found = self._read()
        expected = {entity: found[entity] for entity in self._entities if entity in found}
        memory, evicted = self._info("memory"), self._evicted()
        return Stock(
            self._entities,
            expected,
            keys=self._size(),
            evicted=None if evicted is None else max(0, evicted - found.get(_EVICTED, 0)),
            policy=str(memory["maxmemory_policy"]) if "maxmemory_policy" in memory else None,
            limited=bool(memory.get("maxmemory", 0)),
        )

    def _read(self) -> dict[str, int]:
        try:
            found: dict[bytes, bytes] = ask(lambda: self._client.hgetall(self._name))
        except RedisRefusalError as error:
            if not is_wrong_type(error):
                raise
            return {}
        return {name.decode(errors="replace"): int(count) for name, count in found.items() if count.isdigit()}

    def _size(self) -> int | None:
        try:
            return int(ask(self._client.dbsize))
        except RedisRefusalError:
            return None

    def _evicted(self) -> int | None:
        stats = self._info("stats")
        return int(stats["evicted_keys"]) if "evicted_keys" in stats else None

    def _info(self, section: str) -> dict[str, Any]:
        """What all nodes say of themselves, numbers added up; nothing where they may not be asked."""
        try:
            found: dict[str, Any] = ask(lambda: self._client.info(section))
        except RedisRefusalError:
            return {}
        nodes = list(found.values()) if found and all(isinstance(value, dict) for value in found.values()) else [found]
        total: dict[str, Any] = {}
        for node in nodes:
            for name, value in node.items():
                total[name] = (
                    total[name] + value if isinstance(total.get(name), int) and isinstance(value, int) else value
                )
        return total
