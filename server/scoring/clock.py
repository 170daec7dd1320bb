"""The clock of the API: wall-clock time, or the newest event's time when old data is explored."""

from collections.abc import Callable, Coroutine
from typing import Any, Literal

from data.clock import Clock, wall_clock
from features.state.states import States
from server.redis.states import AsyncStates

__all__ = ["LiveClock", "choose_clock", "choose_live_clock", "told_by"]

LiveClock = Callable[[], Coroutine[Any, Any, int]]
"""An asynchronous clock, µs; it may have to read Redis."""


def told_by(clock: Clock) -> LiveClock:
    """Return an asynchronous clock over a clock that never blocks."""

    async def now() -> int:
        return clock()

    return now


def choose_clock(kind: Literal["wall", "events"], states: States) -> Clock:
    """Return the clock of the setting `ENCORE_CLOCK`. Before the first event, `events` is wall-clock time.

    The clock `events` reads Redis, and raises `UnavailableError` without it.
    """
    return wall_clock if kind == "wall" else lambda: _or_wall(states.newest_event())


def choose_live_clock(kind: Literal["wall", "events"], states: AsyncStates) -> LiveClock:
    """Return the same clock for the event loop."""
    if kind == "wall":
        return told_by(wall_clock)

    async def event_clock() -> int:
        return _or_wall(await states.newest_event())

    return event_clock


def _or_wall(newest: int | None) -> int:
    return wall_clock() if newest is None else newest
