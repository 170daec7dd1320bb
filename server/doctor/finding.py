"""One thing that was looked at, how it is, and what to do."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import redis
from kafka.errors import KafkaError

from data.errors import EncoreError

__all__ = ["Finding", "Level", "fail", "looked", "ok", "told", "warn"]

Level = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """`about` names what was looked at; `advice` says what to do, and is empty where nothing is."""

    level: Level
    about: str
    found: str
    advice: str = ""


def ok(about: str, found: str) -> Finding:
    """It is as it should be."""
    return Finding("ok", about, found)


def warn(about: str, found: str, advice: str) -> Finding:
    """It works, and may not for long, or not as meant."""
    return Finding("warn", about, found, advice)


def fail(about: str, found: str, advice: str) -> Finding:
    """It does not work."""
    return Finding("fail", about, found, advice)


def told(about: str, message: str, level: Level = "fail", advice: str = "") -> Finding:
    """What a message of ours says: what is wrong, a semicolon, what to do; `advice` where it does not say that."""
    message = message.removeprefix(f"{about}: ")
    end = _semicolon(message)
    return Finding(level, about, message[:end], message[end + 2 :] or advice)


def _semicolon(message: str) -> int:
    """Return the place of the first semicolon outside of brackets, or the end."""
    depth = 0
    for place, letter in enumerate(message):
        depth += (letter == "(") - (letter == ")")
        if depth == 0 and message.startswith("; ", place):
            return place
    return len(message)


def looked(about: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield what a look finds; what ends it is a finding too."""
    try:
        yield from look()
    except (EncoreError, redis.RedisError, KafkaError, OSError) as error:
        yield told(about, str(error))
