"""Waiting for something to become true, since a test never sleeps for a guessed time."""

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["poll_until"]

T = TypeVar("T")


def poll_until(condition: Callable[[], T], deadline_s: float = 60.0, *, every_s: float = 0.02) -> T:
    """The first true value of `condition()`; AssertionError, naming the last value, after `deadline_s` seconds."""
    deadline = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {deadline_s:g} s; the last value was {value!r}")
        time.sleep(every_s)
