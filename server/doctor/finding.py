"""The result of one check: its subject, its state, and what to do."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import redis
from kafka.errors import KafkaError

from data.errors import EncoreError

__all__ = ["Finding", "Level", "fail", "looked", "ok", "told", "warn"]

Level = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """A check's result: `about` names its subject, `found` its state; `advice` says what to do, empty if nothing."""

    level: Level
    about: str
    found: str
    advice: str = ""


def ok(about: str, found: str) -> Finding:
    """Return a finding that all is well."""
    return Finding("ok", about, found)


def warn(about: str, found: str, advice: str) -> Finding:
    """Return a finding of something that works, but perhaps not for long, or not as intended."""
    return Finding("warn", about, found, advice)


def fail(about: str, found: str, advice: str) -> Finding:
    """Return a finding of something that does not work."""
    return Finding("fail", about, found, advice)


def told(about: str, message: str, level: Level = "fail", advice: str = "") -> Finding:
    """Return a finding from an Encore message: problem, semicolon, advice; `advice` is used if it has none."""
    message = message.removeprefix(f"{about}: ")
    end = _semicolon(message)
    return Finding(level, about, message[:end], message[end + 2 :] or advice)


def _semicolon(message: str) -> int:
    """Return the index of the first semicolon outside of brackets, or the length."""
    depth = 0
    for index, letter in enumerate(message):
        depth += (letter == "(") - (letter == ")")
        if depth == 0 and message.startswith("; ", index):
            return index
    return len(message)


def looked(about: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield the findings of a check; an error that ends it is a finding too."""
    try:
        yield from look()
    except (EncoreError, redis.RedisError, KafkaError, OSError) as error:
        yield told(about, str(error))
