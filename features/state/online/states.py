"""States in Redis: one hash per entity under Feast's own key, read in one pipeline, written by compare-and-set.

`docs/online-format.md` specifies key, fields and bytes for other readers.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import redis
from redis.exceptions import NoScriptError, ResponseError

from data.default_shop import SHOP
from data.errors import RedisRefusalError, StateError
from data.project import PROJECT
from data.schema import Schema
from data.units import MICROS
from features.state.fence import Fence
from features.state.online.answers import ask, is_wrong_type
from features.state.online.aside import Aside
from features.state.online.cluster import Command, LateCluster
from features.state.online.inventory import Inventory
from features.state.online.keys import StateKeys
from features.state.states import EntityKey, Stored

__all__ = ["LAST_US", "STORED_FIELDS", "OnlineStates", "newest_of", "stored_of"]

STORED_FIELDS = (b"s", b"t", b"u", b"f")
"""The hash fields that hold a state's bytes, to be joined, and the one of its fence."""

_PIECE = 64
"""Bytes of a piece: with default settings Redis keeps a hash compact, at two thirds of the memory, while no field is
longer. A state longer than three pieces is in `s` alone."""

_STEP = 200
"""Keys that Redis looks at, or deletes, in one go: for some 0.3 ms it answers nobody else."""

_COMPARE_AND_SET = """
local now = redis.call('HGET', KEYS[1], 'f')
if (now or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 's', ARGV[3], 't', ARGV[4], 'u', ARGV[5], 'f', ARGV[2])
if ARGV[6] then redis.call('PEXPIRE', KEYS[1], ARGV[6]) end
return 1
"""

_SCRIPT = hashlib.sha1(_COMPARE_AND_SET.encode()).hexdigest()  # noqa: S324 - Redis names scripts so

_REPLACE_FOREIGN = """
if redis.call('TYPE', KEYS[1])['ok'] == 'hash' then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 's', ARGV[2], 't', ARGV[3], 'u', ARGV[4], 'f', ARGV[1])
if ARGV[5] then redis.call('PEXPIRE', KEYS[1], ARGV[5]) end
return 1
"""
"""Replaces a key of another type, which nobody folds into, unless a hash has been put in its place meanwhile."""

LAST_US = 253_402_300_800 * MICROS
"""The end of the year 9999, past which there is no date, and so no event."""

_FOREIGN = Stored(b"a key of another type", b"")
"""Stands for a key that is no hash: bytes that are no state, so that a reader finds it damaged."""


def stored_of(s: bytes | None, t: bytes | None, u: bytes | None, f: bytes | None) -> Stored:
    """Return what is stored by its fields; empty where there is no such key. A writer leaves all four fields."""
    state = (s or b"") + t + (u or b"") if t else s or b""
    if not state and not s is t is u is f is None and (s is None or not f):
        state = b"a state that lost its bytes"
    return Stored(state, f or b"")


class OnlineStates:
    """The states in one Redis (or Valkey, or Redis Cluster). Every operation touches one key.

    A method raises UnavailableError where Redis is away or refuses (RedisRefusalError): it may be tried again. A key of
    another type is a damaged state, not an error. `guarded` states are read only while the store's inventory is there
    (`features.state.online.inventory`), as folding needs it, which must not fold onto nothing (ForgottenError).
    """

    def __init__(
        self, client: "redis.Redis", project: str = PROJECT, schema: Schema = SHOP, *, guarded: bool = False
    ) -> None:
        self._client: Any = client
        self.project = project
        self._schema = schema
        self._keys = StateKeys(schema, project)
        self._newest = f"{project}:newest_event"
        self.guarded = guarded
        self.aside = Aside(client, project, schema)
        nodes_of = client.nodes_of if isinstance(client, LateCluster) else None
        self.inventory = Inventory(client, project, self._keys.entities, nodes_of)

    def unguarded(self) -> "OnlineStates":
        """Return these states, read whatever the inventory says: for rebuilding them, which folds onto none."""
        return OnlineStates(self._client, self.project, self._schema)

    @property
    def entities(self) -> tuple[str, ...]:
        """Names of the entities whose states these are."""
        return self._keys.entities

    def read(self, keys: Sequence[EntityKey]) -> list[Stored]:
        """Read the stored state and fence of each key, in one round trip."""
        if not keys:
            return []
        commands = [Command(stored, ("HMGET", stored, *STORED_FIELDS)) for stored in self._keys_of(keys)]
        if self.guarded:
            commands += [Command(*look) for look in self.inventory.look_ups()]
        answers = self._run(commands)
        if self.guarded:
            self.inventory.require(answers[len(keys) :])
            del answers[len(keys) :]
        return [stored_of(*answer) if type(answer) is list else _FOREIGN for answer in answers]

    def compare_and_set(self, writes: Mapping[EntityKey, tuple[Stored, bytes, Fence]]) -> list[EntityKey]:
        """Write states whose stored fence is still the one that was read; return the keys of the others.

        `writes` holds, per key, what was read, the new state's bytes and the new fence.
        """
        if not writes:
            return []
        lives = self.inventory.lives()
        commands = [
            Command(stored, ("EVALSHA", _SCRIPT, 1, stored, before.fence, fence.encode(), *_pieces(state), *life))
            if before is not _FOREIGN
            else Command(stored, ("EVAL", _REPLACE_FOREIGN, 1, stored, fence.encode(), *_pieces(state), *life))
            for stored, (key, (before, state, fence)) in zip(self._keys_of(writes), writes.items(), strict=True)
            for life in ((lives[key.entity],) if key.entity in lives else (),)
        ]
        done = self._run(commands)
        if any(isinstance(answer, NoScriptError) for answer in done):
            # A node that is new or was restarted lacks the script. Writes that other nodes did meanwhile count as
            # conflicts, and are read again.
            ask(lambda: self._client.script_load(_COMPARE_AND_SET))
            done = self._run(commands)
        return [key for key, written in zip(writes, done, strict=True) if written != 1]

    def note_event(self, timestamp_us: int) -> None:
        """Record the newest event time folded by any worker, µs; an older one changes nothing."""
        commands = [
            Command(self._newest.encode(), ("ZREMRANGEBYSCORE", self._newest, f"({LAST_US}", "+inf")),
            Command(self._newest.encode(), ("ZADD", self._newest, "GT", timestamp_us, "event")),
        ]
        if isinstance(self._run(commands)[1], ResponseError):
            self._run([Command(self._newest.encode(), ("UNLINK", self._newest)), commands[1]])

    def newest_event(self) -> int | None:
        """Return the newest event time folded by any worker, µs; None before the first, or where it is no such time."""
        (score,) = self._run([Command(self._newest.encode(), ("ZSCORE", self._newest, "event"))])
        return newest_of(score)

    def counts(self) -> dict[str, int]:
        """Return the number of states of each entity, by name."""
        counts = dict.fromkeys(self._keys.entities, 0)
        for _, named in self._states(self._keys.pattern()):
            counts[named.entity] += 1
        return counts

    def fences(self, entity: str) -> Iterator[Fence]:
        """Yield the fence of every state of an entity that has a readable one, in no order."""
        for batch in _batches(self.redis_keys(entity)):
            for fence in self._run([Command(key, ("HGET", key, "f")) for key in batch]):
                if fence and type(fence) is bytes:
                    with suppress(StateError):
                        yield Fence.decode(fence)

    def clear(self) -> int:
        """Delete every state of the project; return their number."""
        self.inventory.clear()  # first: a process that dies in between leaves a store that reports itself as not whole
        count = sum(map(self._unlink, _batches(key for key, _ in self._states(self._keys.pattern()))))
        ask(lambda: self._client.unlink(self._newest))
        self.aside.clear()
        return count

    @property
    def copies(self) -> bool:
        """Whether Redis can copy states: the nodes of a cluster copy nothing to each other."""
        return not isinstance(self._client, LateCluster)

    def copy(self, entity: str, into: "OnlineStates") -> Iterator[int]:
        """Copy the states of an entity's kind, as they are, to another project in the same Redis that has none of them.

        Yields how many were copied, some at a time.
        """
        states = self._states(self._keys.pattern(entity))
        while batch := list(islice(states, _STEP)):
            copied = self._run([Command(key, ("COPY", key, into.redis_key(named))) for key, named in batch])
            yield sum(map(int, copied))

    def redis_key(self, key: EntityKey) -> bytes:
        """Return the Redis key of an entity's state."""
        return self._keys.of(key)

    def try_all(self) -> None:
        """Try every command that states need, on unused keys. Raises RedisRefusalError where Redis refuses one."""
        key = self._keys.nobody
        try:
            # First whether it may be taken away again.
            ask(lambda: self._client.unlink(self._keys.of(key)))
            [before] = self.read([key])
            generation = Fence.decode_or_new(before.fence).generation + 1
            self.compare_and_set({key: (before, b"", Fence(generation=generation))})
            trial = f"{self.project}:trial"
            if self.copies:
                ask(lambda: self._client.copy(self._keys.of(key), trial, replace=True))
                ask(lambda: self._client.unlink(trial))
            ask(lambda: self._client.unlink(self._keys.of(key)))
            ask(lambda: self._client.zadd(trial, {"event": 0}, gt=True))
            self.newest_event()
            ask(lambda: self._client.unlink(trial))
            ask(lambda: self._client.scan(match=trial, count=1))  # one step: a whole scan looks at every key there is
        except RedisRefusalError as error:
            raise RedisRefusalError(f"Redis refuses what states need ({error}); nothing was changed") from error

    def naming(self, column: str, value: str) -> Iterator[EntityKey]:
        """Yield all entities that have a state and this value of a join key, in no order."""
        for entity in self._schema.entities:
            if entity.join_keys == (column,):
                alone = EntityKey(entity.name, (value,))
                key = self._keys.of(alone)
                if self._run([Command(key, ("EXISTS", key))]) == [1]:
                    yield alone
            elif column in entity.join_keys:
                place = entity.join_keys.index(column)
                for _, named in self._states(self._keys.naming(entity.name, place, value)):
                    if named.ids[place] == value:
                        yield named

    def remove(self, keys: Sequence[EntityKey]) -> int:
        """Delete the states of these entities, and return how many there were. Marks in `aside` stay."""
        done = self._run([Command(key, ("UNLINK", key)) for key in self._keys_of(keys)])
        changes: dict[str, int] = {}
        for key, deleted in zip(keys, done, strict=True):
            changes[key.entity] = changes.get(key.entity, 0) - int(deleted)
        if changes:
            self.inventory.add(changes)
        return -sum(changes.values())

    def _keys_of(self, keys: Iterable[EntityKey]) -> Iterator[bytes]:
        return map(self._keys.of, keys)

    def _unlink(self, keys: Sequence[bytes]) -> int:
        return sum(self._run([Command(key, ("UNLINK", key)) for key in keys]))

    def redis_keys(self, entity: str) -> Iterator[bytes]:
        """Return the Redis key of every state of an entity, in no order."""
        return (key for key, _ in self._states(self._keys.pattern(entity)))

    def _states(self, pattern: bytes) -> Iterator[tuple[bytes, EntityKey]]:
        """Yield the Redis key and the entity of every state of a pattern, in one pass over all keys of the store."""
        keys: Iterator[bytes] = self._client.scan_iter(match=pattern, count=_STEP)
        while (key := ask(lambda: next(keys, None))) is not None:
            named = self._keys.parse(key)
            if named is not None:
                yield key, named

    def _run(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip and return their answers.

        An error about the type of a key is an answer; any other is raised.
        """
        return ask(lambda: _answers(self._client, commands)) if commands else []


def _batches(keys: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(islice(keys, _STEP)):
        yield batch


def newest_of(score: Any) -> int | None:
    """Return a time in µs by its score in a sorted set; None where there is none, or it is no time of an event."""
    try:
        newest = float(score)
    except (TypeError, ValueError):  # none, or a key of another type
        return None
    return int(newest) if 0 <= newest < LAST_US else None


def _answers(client: Any, commands: Sequence[Command]) -> list[Any]:
    if isinstance(client, LateCluster):
        answers = client.run(commands)
    else:
        pipeline = client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command.words)
        answers = pipeline.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception) and not isinstance(answer, NoScriptError) and not is_wrong_type(answer):
            raise answer
    return answers


def _pieces(state: bytes) -> tuple[bytes, bytes, bytes]:
    if len(state) > 3 * _PIECE:
        return state, b"", b""
    return state[:_PIECE], state[_PIECE : 2 * _PIECE], state[2 * _PIECE :]
