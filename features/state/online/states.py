"""States in Redis: one hash per entity under Feast's own key, read in one pipeline, written by compare-and-set.

`docs/online-format.md` specifies key, fields and bytes for other readers.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple, Self

import redis
from redis.backoff import NoBackoff
from redis.cluster import PipelineCommand
from redis.exceptions import AskError, MovedError, NoScriptError, RedisClusterException, ResponseError
from redis.retry import Retry

from data.default_shop import SHOP
from data.errors import RedisRefusalError, StateError
from data.project import PROJECT
from data.schema import Entity, Schema
from data.units import MICROS
from features.state.answers import ask, is_wrong_type
from features.state.aside import Aside
from features.state.fence import Fence
from features.state.inventory import Inventory
from features.state.states import EntityKey, Stored

__all__ = [
    "LAST_US",
    "STORED_FIELDS",
    "LateCluster",
    "OnlineStates",
    "StateKeys",
    "newest_of",
    "redis_key",
    "stored_of",
]

STORED_FIELDS = (b"s", b"t", b"u", b"f")
"""The hash fields that hold a state's bytes, to be joined, and the one of its fence."""

_PIECE = 64
"""Bytes of a piece: with default settings Redis keeps a hash compact, at two thirds of the memory, while no field is
longer. A state longer than three pieces is in `s` alone."""

_STRING = struct.pack("<I", 2)
"""Feast's ValueType.STRING."""

_ROUTES = 2
"""Attempts to find a cluster's keys: the second one after reading the cluster's topology again."""

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


class StateKeys:
    """The Redis keys of a project's states: Feast's entity key serialization, version 3, and the project's name."""

    def __init__(self, schema: Schema, project: str) -> None:
        self.project = project.encode()
        self._prefixes = {entity.name: _prefix(entity) for entity in schema.entities}
        self._ids = {entity.name: len(entity.join_keys) for entity in schema.entities}

    @property
    def entities(self) -> tuple[str, ...]:
        """Names of the entities."""
        return tuple(self._prefixes)

    @property
    def nobody(self) -> EntityKey:
        """An entity that no event can name: keys are printable, and ids are at most 256 characters."""
        name = self.entities[0]
        return EntityKey(name, ("\0" * 257,) * self._ids[name])

    def of(self, key: EntityKey) -> bytes:
        """Return the key of an entity."""
        return b"".join((self._prefixes[key.entity], *map(_text, key.ids), self.project))

    def pattern(self, entity: str) -> bytes:
        """Return a Redis glob pattern of all keys of an entity's kind, and some of projects whose names end alike."""
        return _escaped(self._prefixes[entity]) + b"*" + self.project

    def is_own(self, key: bytes, entity: str) -> bool:
        """Return whether a key of this kind is of this project, whose name is all that stands after the ids."""
        return self.parse(key, entity) is not None

    def parse(self, key: bytes, entity: str) -> EntityKey | None:
        """Return the entity of a key of this kind; None where it is of another project."""
        at, ids = len(self._prefixes[entity]), []
        for _ in range(self._ids[entity]):
            size = int.from_bytes(key[at + 4 : at + 8], "little")
            ids.append(key[at + 8 : at + 8 + size].decode(errors="replace"))
            at += 8 + size
        return EntityKey(entity, tuple(ids)) if key[at:] == self.project else None

    def naming(self, entity: str, place: int, value: str) -> bytes:
        """Return a Redis glob pattern of an entity's keys whose join key at a place has a value, and of some others."""
        parts = [b"*"] * self._ids[entity]
        parts[place] = _escaped(_text(value))
        return _escaped(self._prefixes[entity]) + b"".join(parts) + self.project


def redis_key(key: EntityKey, project: str = PROJECT) -> bytes:
    """Return the Redis key of an entity of the default shop."""
    return StateKeys(SHOP, project).of(key)


def _text(value: str) -> bytes:
    data = value.encode()
    size = len(data)
    return (_HEADS[size] if size < len(_HEADS) else _head(size)) + data


def _head(size: int) -> bytes:
    """Return the type and length prefix of a string of `size` bytes."""
    return _STRING + size.to_bytes(4, "little")


_HEADS = [_head(size) for size in range(64)]
"""Prefixes of common lengths, computed once, since keys are made for every event and every answer."""


def _prefix(entity: Entity) -> bytes:
    """Return the part of the serialized key that all entities of a kind share."""
    return struct.pack("<I", len(entity.join_keys)) + b"".join(map(_text, entity.join_keys))


class _Command(NamedTuple):
    """A Redis command, and the one key that it touches."""

    key: bytes
    words: tuple[Any, ...]


class OnlineStates:
    """The states in one Redis (or Valkey, or Redis Cluster). Every operation touches one key.

    A method raises UnavailableError where Redis is away or refuses (RedisRefusalError): it may be tried again. A key of
    another type is a damaged state, not an error. `guarded` states are read only while the store's inventory is there
    (`features.state.inventory`), as folding needs it, which must not fold onto nothing (ForgottenError).
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
        commands = [_Command(stored, ("HMGET", stored, *STORED_FIELDS)) for stored in self._keys_of(keys)]
        if self.guarded:
            commands += [_Command(*look) for look in self.inventory.look_ups()]
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
            _Command(stored, ("EVALSHA", _SCRIPT, 1, stored, before.fence, fence.encode(), *_pieces(state), *life))
            if before is not _FOREIGN
            else _Command(stored, ("EVAL", _REPLACE_FOREIGN, 1, stored, fence.encode(), *_pieces(state), *life))
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
            _Command(self._newest.encode(), ("ZREMRANGEBYSCORE", self._newest, f"({LAST_US}", "+inf")),
            _Command(self._newest.encode(), ("ZADD", self._newest, "GT", timestamp_us, "event")),
        ]
        if isinstance(self._run(commands)[1], ResponseError):
            self._run([_Command(self._newest.encode(), ("UNLINK", self._newest)), commands[1]])

    def newest_event(self) -> int | None:
        """Return the newest event time folded by any worker, µs; None before the first, or where it is no such time."""
        (score,) = self._run([_Command(self._newest.encode(), ("ZSCORE", self._newest, "event"))])
        return newest_of(score)

    def counts(self) -> dict[str, int]:
        """Return the number of states of each entity, by name."""
        return {entity: sum(1 for _ in self.redis_keys(entity)) for entity in self._keys.entities}

    def fences(self, entity: str) -> Iterator[Fence]:
        """Yield the fence of every state of an entity that has a readable one, in no order."""
        for batch in self._batches(entity):
            for fence in self._run([_Command(key, ("HGET", key, "f")) for key in batch]):
                if fence and type(fence) is bytes:
                    with suppress(StateError):
                        yield Fence.decode(fence)

    def clear(self) -> int:
        """Delete every state of the project; return their number."""
        self.inventory.clear()  # first: a process that dies in between leaves a store that reports itself as not whole
        count = 0
        for entity in self._keys.entities:
            count += sum(map(self._unlink, self._batches(entity)))
        ask(lambda: self._client.unlink(self._newest))
        self.aside.clear()
        return count

    def try_all(self) -> None:
        """Try every command that states need, on unused keys. Raises RedisRefusalError where Redis refuses one."""
        key = self._keys.nobody
        try:
            # First whether it may be taken away again.
            ask(lambda: self._client.unlink(self._keys.of(key)))
            [before] = self.read([key])
            generation = Fence.decode_or_new(before.fence).generation + 1
            self.compare_and_set({key: (before, b"", Fence(generation=generation))})
            ask(lambda: self._client.unlink(self._keys.of(key)))
            trial = f"{self.project}:trial"
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
                if self._run([_Command(key, ("EXISTS", key))]) == [1]:
                    yield alone
            elif column in entity.join_keys:
                place = entity.join_keys.index(column)
                for key in self._scan(self._keys.naming(entity.name, place, value)):
                    named = self._keys.parse(key, entity.name)
                    if named is not None and named.ids[place] == value:
                        yield named

    def remove(self, keys: Sequence[EntityKey]) -> int:
        """Delete the states of these entities, and return how many there were. Marks in `aside` stay."""
        done = self._run([_Command(key, ("UNLINK", key)) for key in self._keys_of(keys)])
        changes: dict[str, int] = {}
        for key, deleted in zip(keys, done, strict=True):
            changes[key.entity] = changes.get(key.entity, 0) - int(deleted)
        if changes:
            self.inventory.add(changes)
        return -sum(changes.values())

    def _keys_of(self, keys: Iterable[EntityKey]) -> Iterator[bytes]:
        return map(self._keys.of, keys)

    def _unlink(self, keys: Sequence[bytes]) -> int:
        return sum(self._run([_Command(key, ("UNLINK", key)) for key in keys]))

    def _batches(self, entity: str) -> Iterator[list[bytes]]:
        """Yield all keys of an entity, some at a time."""
        keys = self.redis_keys(entity)
        while batch := list(islice(keys, 1000)):
            yield batch

    def redis_keys(self, entity: str) -> Iterator[bytes]:
        """Return the Redis key of every state of an entity, in no order."""
        return (key for key in self._scan(self._keys.pattern(entity)) if self._keys.is_own(key, entity))

    def _scan(self, pattern: bytes) -> Iterator[bytes]:
        keys: Iterator[bytes] = self._client.scan_iter(match=pattern, count=1000)
        while (key := ask(lambda: next(keys, None))) is not None:
            yield key

    def _run(self, commands: Sequence[_Command]) -> list[Any]:
        """Run commands in one round trip and return their answers.

        An error about the type of a key is an answer; any other is raised.
        """
        return ask(lambda: _answers(self._client, commands)) if commands else []


def newest_of(score: Any) -> int | None:
    """Return a time in µs by its score in a sorted set; None where there is none, or it is no time of an event."""
    try:
        newest = float(score)
    except (TypeError, ValueError):  # none, or a key of another type
        return None
    return int(newest) if 0 <= newest < LAST_US else None


def _answers(client: Any, commands: Sequence[_Command]) -> list[Any]:
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


class LateCluster:
    """A client of a Redis Cluster that connects when first used, as a client of a single Redis does.

    redis-py's own connects in its constructor, and fails for good where no node answers then.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._client: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._client is None:
            try:
                self._client = redis.RedisCluster(**self._options)
            except RedisClusterException as error:
                raise redis.ConnectionError(f"no node of the cluster answers ({error})") from error
        return getattr(self._client, name)

    def info(self, section: str) -> dict[str, dict[str, Any]]:
        """Return what each primary says of itself, by node; redis-py's own asks any one of them."""
        answer = self.__getattr__("info")(section, target_nodes=redis.RedisCluster.PRIMARIES)
        return answer if all(isinstance(section_fields, dict) for section_fields in answer.values()) else {"": answer}

    def nodes_of(self, slots: Sequence[int]) -> list[object]:
        """Return which primary has each of these slots, as far as is known; without a round trip."""
        slots_cache = self.nodes_manager.slots_cache
        return [slots_cache[slot][0].name if slots_cache.get(slot) else None for slot in slots]

    def run(self, commands: "Sequence[_Command]") -> list[Any]:
        """Run commands in one round trip to all nodes concerned; an error that Redis answers is a value among them.

        redis-py's own pipeline asks the cluster, command by command, which keys a script touches, and resends moved
        commands one by one: seconds for what takes milliseconds.
        """
        answers: list[Any] = [None] * len(commands)
        waiting = list(range(len(commands)))
        for attempt in range(_ROUTES):
            pipeline = self.pipeline(transaction=False)
            pipeline.set_retry(Retry(NoBackoff(), 0))
            stack = [
                PipelineCommand(commands[at].words, {"target_nodes": self.get_node_from_key(commands[at].key)}, at)
                for at in waiting
            ]
            try:
                results = pipeline.send_cluster_commands(stack, raise_on_error=False, allow_redirections=False)
            except redis.ConnectionError:  # nothing was sent
                if attempt == _ROUTES - 1:
                    raise
                self.nodes_manager.initialize()
                continue
            for at, answer in zip(waiting, results, strict=True):
                answers[at] = answer
            waiting = [at for at in waiting if isinstance(answers[at], MovedError | redis.ConnectionError)]
            if not waiting:
                break
            # A dead connection, or a new primary. Repeating is safe: compare-and-set does not write twice.
            self.nodes_manager.initialize()
        for at, answer in enumerate(answers):
            if isinstance(answer, AskError) and not isinstance(answer, MovedError):
                answers[at] = self.execute_command(*commands[at].words)  # its slot is being moved
            elif isinstance(answer, MovedError):
                raise redis.ConnectionError(f"the nodes do not agree where a key is ({answer})")
            elif isinstance(answer, Exception) and not isinstance(answer, ResponseError):
                raise answer
        return answers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections, if any were made."""
        if self._client is not None:
            self._client.close()


def _pieces(state: bytes) -> tuple[bytes, bytes, bytes]:
    if len(state) > 3 * _PIECE:
        return state, b"", b""
    return state[:_PIECE], state[_PIECE : 2 * _PIECE], state[2 * _PIECE :]


def _escaped(text: bytes) -> bytes:
    """Escape bytes for literal use in a Redis glob pattern."""
    return b"".join(b"\\" + bytes([b]) if b in b"*?[]\\" else bytes([b]) for b in text)
