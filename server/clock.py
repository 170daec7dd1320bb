"""Which clock says "now": the wall's, or the newest event's when old data is explored."""

from typing import Literal

from data.clock import Clock, wall_clock
from features.online import OnlineStates

__all__ = ["choose_clock"]


def choose_clock(kind: Literal["wall", "events"], states: OnlineStates) -> Clock:
    """The clock that the setting `ENCORE_CLOCK` names. Before the first event, `events` is the wall's time.

    Asking the clock `events` asks Redis, and raises `UnavailableError` when it is gone.
    """
    if kind == "wall":
        return wall_clock

    def event_clock() -> int:
        newest = states.newest_event()
        return wall_clock() if newest is None else newest

    return event_clock
