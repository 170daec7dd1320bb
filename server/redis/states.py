"""States read on the event loop, from one Redis or from the nodes of a Redis Cluster.

`features.state.online.states.OnlineStates` reads the same keys with blocking calls: for the worker, Feast, commands.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, Protocol

import hiredis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from data.addresses import Address
from data.default_shop import SHOP
from data.errors import RedisRefusalError, UnavailableError
from data.project import PROJECT
from data.schema import Schema
from features.state.online.aside import aside_name, aside_words
from features.state.online.keys import StateKeys
from features.state.online.states import STORED_FIELDS, newest_of, stored_of
from features.state.states import EntityKey, Stored
from server.redis.pipe import Credentials, RedisPipe, command

__all__ = ["AsyncStates", "LiveStates"]

_log = logging.getLogger(__name__)

_TRIES = 4
"""The most attempts to follow a cluster's redirections of a key."""


class AsyncStates(Protocol):
    """States that are read on the event loop. Every method may raise UnavailableError, after which a retry may work."""

    async def read(self, keys: Sequence[EntityKey]) -> list[Stored | RedisRefusalError]:
        """Return the stored state of each entity, in the order of `keys`; empty if there is none.

        A state that Redis refuses is replaced by its error.
        """

    async def newest_event(self) -> int | None:
        """Return the newest event time folded by any worker, µs; None before the first."""


class LiveStates:
    """Reads states and runs single-key commands. A cluster is recognized by its redirections (MOVED, ASK)."""

    def __init__(
        self,
        seeds: Sequence[Address],
        credentials: Credentials = Credentials(),  # noqa: B008 - it is frozen
        *,
        timeout_s: float = 1.0,
        project: str = PROJECT,
        schema: Schema = SHOP,
    ) -> None:
        self._seeds = list(seeds)
        self._credentials = credentials
        self._timeout_s = timeout_s
        self._keys = StateKeys(schema, project)
        self._newest = f"{project}:newest_event".encode()
        self._aside = aside_name(project).encode()
        self._tasks = set[asyncio.Task[None]]()
        self._pipes: dict[Address, RedisPipe] = {}
        self._single = self._pipe(self._seeds[0])
        self._slots: list[Address] | None = None

    async def read(self, keys: Sequence[EntityKey]) -> list[Stored | RedisRefusalError]:
        """Return the bytes of each state and of its fence, in one round trip; empty if there is none.

        A key that Redis refuses is replaced by its error. Raises UnavailableError when Redis cannot be reached or is
        too slow.
        """
        redis_keys = [self._keys.of(key) for key in keys]
        answers = await self._run(redis_keys, [_state_of(key) for key in redis_keys])
        return [
            stored_of(*answer) if type(answer) is list else _refusal(answer, key)
            for answer, key in zip(answers, redis_keys, strict=True)
        ]

    async def newest_event(self) -> int | None:
        """Return the newest event time folded by any worker, µs; None before the first."""
        [score] = await self._run([self._newest], [command("ZSCORE", self._newest, "event")])
        if isinstance(score, hiredis.ReplyError) and not str(score).startswith("WRONGTYPE"):
            raise _refusal(score, self._newest)
        return newest_of(score)

    async def run(self, key: bytes, *words: bytes | str | int) -> Any:
        """Return the answer to one command on one key."""
        [answer] = await self._run([key], [command(*words)])
        if isinstance(answer, hiredis.ReplyError):
            raise _refusal(answer, key)
        return answer

    def set_aside(self, key: EntityKey) -> None:
        """Record an unreadable state in the background, for a worker to rebuild it."""
        task = asyncio.get_running_loop().create_task(self._name_aside(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _name_aside(self, key: EntityKey) -> None:
        with suppress(UnavailableError):  # it is recorded again at the next question about it
            await self.run(self._aside, "HSET", self._aside, *aside_words(key))

    def close(self) -> None:
        """Close all connections."""
        for pipe in self._pipes.values():
            pipe.close()

    async def _run(self, keys: Sequence[bytes], commands: Sequence[bytes]) -> list[Any]:
        if self._slots is None:
            answers = await self._single.call(b"".join(commands), len(commands))
        else:
            answers = await self._spread(keys, commands)
        for _ in range(_TRIES):
            moved = [place for place, answer in enumerate(answers) if _redirects(answer, "MOVED")]
            to_ask = [place for place, answer in enumerate(answers) if _redirects(answer, "ASK")]
            if moved:
                await self._learn(self._target(answers[moved[0]]))
                replies = await self._spread([keys[place] for place in moved], [commands[place] for place in moved])
            elif to_ask:
                replies = [await self._ask(answers[place], commands[place]) for place in to_ask]
            else:
                break
            for place, answer in zip(moved or to_ask, replies, strict=True):
                answers[place] = answer
        return answers

    async def _spread(self, keys: Sequence[bytes], commands: Sequence[bytes]) -> list[Any]:
        """Send commands to the nodes that hold their keys, concurrently."""
        slots = self._slots or []
        places: dict[Address, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(slots[key_slot(key)], []).append(place)
        calls = [
            self._pipe(address).call(b"".join(commands[place] for place in node_places), len(node_places))
            for address, node_places in places.items()
        ]
        try:
            replies = await asyncio.gather(*calls)
        except UnavailableError:
            # A node is gone. Another may have its slots; any remaining node knows which.
            self._slots = None
            self._seeds.append(self._seeds.pop(0))
            self._single = self._pipe(self._seeds[0])
            raise
        answers: list[Any] = [None] * len(keys)
        for place, answer in zip(chain.from_iterable(places.values()), chain.from_iterable(replies), strict=True):
            answers[place] = answer
        return answers

    async def _ask(self, redirection: Any, sent: bytes) -> Any:
        """Follow an ASK redirection for one command: the slot is being moved to another node."""
        return (await self._pipe(self._target(redirection)).call(command("ASKING") + sent, 2))[1]

    def _target(self, redirection: Any) -> Address:
        """Parse a redirection: `MOVED slot host:port`, or `ASK slot host:port`.

        Redis writes an IPv6 address without brackets, and omits the host if it is that of the answering node.
        """
        host, _, port = str(redirection).split()[2].rpartition(":")
        return Address(host or self._single.address.host, int(port))

    async def _learn(self, address: Address) -> None:
        """Read the mapping of slots to nodes."""
        [ranges] = await self._pipe(address).call(command("CLUSTER", "SLOTS"), 1)
        if isinstance(ranges, hiredis.ReplyError):
            raise RedisRefusalError(f"Redis {address} does not tell its cluster's slots: {ranges}")
        slots = [address] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, primary, *_ in ranges:
            node = Address(primary[0].decode() or address.host, int(primary[1]))
            slots[first : last + 1] = [node] * (last + 1 - first)
        if slots != self._slots:
            _log.info("Redis Cluster: %d nodes", len(set(slots)))
        self._slots = slots
        self._seeds = list(dict.fromkeys([*self._seeds, *slots]))

    def _pipe(self, address: Address) -> RedisPipe:
        if address not in self._pipes:
            self._pipes[address] = RedisPipe(address, self._credentials, self._timeout_s)
        return self._pipes[address]


_FIELDS = b"".join(b"$%d\r\n%b\r\n" % (len(field), field) for field in STORED_FIELDS)
_STATE_OF = b"*%d\r\n$5\r\nHMGET\r\n" % (2 + len(STORED_FIELDS))


def _state_of(key: bytes) -> bytes:
    """Return the command that reads a state and its fence; all but the key is packed beforehand."""
    return b"%b$%d\r\n%b\r\n%b" % (_STATE_OF, len(key), key, _FIELDS)


def _redirects(answer: Any, kind: str) -> bool:
    return isinstance(answer, hiredis.ReplyError) and str(answer).startswith(f"{kind} ")


def _refusal(answer: Any, key: bytes) -> RedisRefusalError:
    _log.error("Redis: %s (key %r)", answer, key)
    return RedisRefusalError(f"Redis refused a command: {answer}")
