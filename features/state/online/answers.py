"""What Redis' errors mean: it is away, it refuses for now, or one key is not ours.

What Redis as a whole refuses is waited for, like a lost connection: no memory (OOM), a disk that is full (MISCONF), a
failover (READONLY, MASTERDOWN, CLUSTERDOWN, TRYAGAIN), a start (LOADING), a user without rights yet (NOAUTH, NOPERM).
It is repaired elsewhere, and nothing tells whether that will be in a second or in an hour.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import redis
from redis.exceptions import AuthenticationError, ClusterDownError, RedisClusterException, ResponseError

from data.errors import RedisRefusalError, UnavailableError

__all__ = ["ask", "is_wrong_type", "read_fields", "read_info", "read_value", "take_turn", "write_fields"]

T = TypeVar("T")

_AWAY = "check REDIS_HOST and REDIS_PORT, or start it with `encore infra`"

_CLOSED = (
    "it closed the connection; look at its log: without a password it may refuse other machines (protected mode), "
    "which one in REDIS_PASSWORD and in its own `requirepass` mends"
)


_ANOTHER_TYPE = b"\xff"

_FOR_EVER = -1
"""Redis' time to live of a key that does not expire."""


def ask(command: Callable[[], T]) -> T:
    """Return the answer to a command; UnavailableError where Redis is away, RedisRefusalError where it refuses."""
    try:
        return command()
    except redis.TimeoutError as error:
        raise UnavailableError(f"Redis did not answer in time: {error}; `encore doctor` looks at it") from error
    except AuthenticationError as error:
        raise RedisRefusalError(f"Redis: {error}; check REDIS_USERNAME and REDIS_PASSWORD") from error
    except (redis.ConnectionError, ClusterDownError, RedisClusterException) as error:
        # What it said before it closed is lost to redis-py, which was writing.
        closed = isinstance(error.__context__, BrokenPipeError | ConnectionResetError)
        raise UnavailableError(f"Redis: {str(error).rstrip('.')}; {_CLOSED if closed else _AWAY}") from error
    except ResponseError as error:
        code = getattr(error, "status_code", None)  # which redis-py removes from the text where it knows it
        raise RedisRefusalError(f"Redis refuses: {f'{code} ' if code else ''}{error}") from error


def read_value(client: Any, name: str) -> bytes | None:
    """Return the value of a key of ours, None where there is none. Raises what `ask` does.

    A key of another type in its place yields bytes that nothing decodes: there is a value, which says nothing.
    """
    try:
        value: bytes | None = ask(lambda: client.get(name))
    except RedisRefusalError as error:
        if not is_wrong_type(error):
            raise
        return _ANOTHER_TYPE
    return value


def read_fields(client: Any, name: str) -> dict[bytes, bytes]:
    """Return the fields of a hash of ours; none where a key of another type is in its place. Raises what `ask` does."""
    try:
        fields: dict[bytes, bytes] = ask(lambda: client.hgetall(name))
    except RedisRefusalError as error:
        if not is_wrong_type(error):
            raise
        return {}
    return fields


def take_turn(client: Any, name: str, word: str | bytes, lasts_s: float) -> bool:
    """Take a turn that one process has at a time; return whether it was free. Raises what `ask` does.

    A turn ends after a while: a key without an end was not written by `take_turn`, and is deleted first.
    """
    take = partial(client.set, name, word, nx=True, px=int(lasts_s * 1_000))
    if ask(take):
        return True
    if ask(lambda: client.pttl(name)) == _FOR_EVER:
        ask(lambda: client.unlink(name))
    return bool(ask(take))


def write_fields(client: Any, name: str, fields: Mapping[Any, Any]) -> None:
    """Write fields of a hash of ours; a key of another type in its place is deleted first. Raises what `ask` does."""
    try:
        ask(lambda: client.hset(name, mapping=fields))
    except RedisRefusalError as error:
        if not is_wrong_type(error):
            raise
        ask(lambda: client.unlink(name))
        ask(lambda: client.hset(name, mapping=fields))


def read_info(client: Any, section: str) -> list[dict[str, Any]]:
    """Return a section of Redis' report on itself, of each primary of a cluster. Raises what `ask` does."""
    answer: dict[str, Any] = ask(lambda: client.info(section))
    return list(answer.values()) if answer and all(isinstance(value, dict) for value in answer.values()) else [answer]


def is_wrong_type(error: Exception) -> bool:
    """Return whether Redis refuses because a key holds another type. Its code may follow a script's own words."""
    return isinstance(error, ResponseError | RedisRefusalError) and "WRONGTYPE" in str(error)
