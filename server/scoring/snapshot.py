"""The entities of one question at one time."""

from collections.abc import Sequence

import msgspec

from data.errors import AsOfError
from data.event import FUTURE_TOLERANCE_US
from data.units import DAY_US, from_micros
from features.state.states import EntityKey
from server.scoring.clock import LiveClock
from server.scoring.reader import ReadEntity, Reader

__all__ = ["Snapshot", "read_snapshot", "snapshot_of"]

_FARTHEST_US = 10 * 366 * DAY_US
"""The furthest into the future that a question may ask, µs: more than ten years is taken for a mistake."""


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """Entities, the time as of which they answer, and the time of their newest event, µs (0: none).

    An entity whose newest event is later than `at_us` answers as of that event, without affecting the others.
    """

    entities: Sequence[ReadEntity]
    at_us: int
    last_event_us: int


def snapshot_of(entities: Sequence[ReadEntity], as_of_us: int | None, now_us: int, row: int = 0) -> Snapshot:
    """Return the entities as of `as_of_us`, by default now.

    Raises the error that Redis answered instead of an entity's state, and `AsOfError` for a time more than
    `FUTURE_TOLERANCE_US` before the newest event: callers' clocks may lag by as much as events may be ahead.
    """
    newest = 0
    for entity in entities:
        if entity.refusal is not None:
            raise entity.refusal
        newest = max(newest, entity.last_event)
    at_us = now_us if as_of_us is None else as_of_us
    if as_of_us is not None:
        if not 0 <= at_us <= now_us + _FARTHEST_US:
            raise AsOfError("before 1970, or more than ten years ahead", row)
        if at_us + FUTURE_TOLERANCE_US < newest:
            raise AsOfError(
                f"an event of {from_micros(newest).isoformat()} is folded in already, and a state cannot answer about "
                "a time more than 5 minutes before it; ask about a later time, or use Feast's get_historical_features",
                row,
            )
    return Snapshot(entities, at_us, newest)


async def read_snapshot(reader: Reader, clock: LiveClock, keys: Sequence[EntityKey], as_of_us: int | None) -> Snapshot:
    """Read these entities now. Raises as `snapshot_of` does, and UnavailableError without Redis."""
    now_us = await clock()
    return snapshot_of(list((await reader.read(keys)).values()), as_of_us, now_us)
