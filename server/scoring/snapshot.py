"""The entities of one question, at one time."""

from collections.abc import Sequence

import msgspec

from data.errors import AsOfError
from data.event import FUTURE_TOLERANCE_US
from data.units import DAY_US, from_micros
from features.state.states import EntityKey
from server.scoring.clock import LiveClock
from server.scoring.reader import Known, Reader

__all__ = ["Snapshot", "read_snapshot", "snapshot_of"]

_FARTHEST_US = 10 * 366 * DAY_US
"""The furthest that a question may lie ahead: more than ten years is a mistake in the date."""


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """Entities, the time that they answer about, and the time of their newest event (0: none).

    An entity whose newest event lies after `at_us` answers as of that event, and moves none of the others.
    """

    known: Sequence[Known]
    at_us: int
    last_event_us: int


def snapshot_of(known: Sequence[Known], as_of_us: int | None, now_us: int, row: int = 0) -> Snapshot:
    """Return the entities at the time asked about, else now.

    Raises the error that Redis answered instead of an entity's state, and `AsOfError` for a time that lies before the
    newest event by more than events may be ahead of the clock: callers' clocks may be behind it by so much as well.
    """
    newest = 0
    for entity in known:
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
    return Snapshot(known, at_us, newest)


async def read_snapshot(reader: Reader, clock: LiveClock, keys: Sequence[EntityKey], as_of_us: int | None) -> Snapshot:
    """Read these entities now; raises as `snapshot_of`, and UnavailableError without Redis."""
    now_us = await clock()
    return snapshot_of(list((await reader.read(keys)).values()), as_of_us, now_us)
