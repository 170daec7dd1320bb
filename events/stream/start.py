"""Where a worker begins in a partition, and which consumed offsets the event log lacks."""

from collections.abc import Sequence
from typing import NamedTuple

from data.errors import UnavailableError
from events.kafka.connection import Assigned
from events.stream.note import Note

__all__ = ["Start", "start_of"]

_NONE: tuple[range, ...] = ()


class Start(NamedTuple):
    """`offset` is the first to read; offsets before it are in at most one of the others.

    - `replay`: gone from Kafka, present in the event log, and possibly not folded: they are folded from the log;
    - `lost`: deleted by Kafka's retention before anybody read them;
    - `refill`: consumed before, absent from the log, and still in Kafka: the log gets them again;
    - `holes`: consumed before, absent from the log and from Kafka.
    """

    offset: int
    replay: Sequence[range] = _NONE
    lost: Sequence[range] = _NONE
    refill: Sequence[range] = _NONE
    holes: Sequence[range] = _NONE


def start_of(partition: Assigned, topic: str, covered: Sequence[range]) -> Start:
    """Decide where to begin in a partition; `covered` are its offsets in the event log (ascending, disjoint).

    A committed offset counts where its note names this `topic`, or none: a group remembers offsets of a topic that was
    deleted and made again.

        kept by Kafka                            first ------------ end
        consumed before         ------ committed                             (nothing committed: from the first on)
        in the log              --------------------- covered
        so                             replay  lost  read
                                       [------)[----)[--------------->

    Raises UnavailableError where Kafka holds less than was read from it: new messages would get old offsets.
    """
    number, committed, text, first, end = partition
    noted = Note.read(text).topic
    if noted not in {"", topic}:
        committed = None
    # An offset without our note was set by another program, possibly past the end.
    if committed is not None and committed > end and noted == topic:
        raise UnavailableError(
            f"Kafka: partition {number} ends at offset {end}, but was read up to {committed}: the broker lost messages "
            "and will give their offsets to new ones; make the topic anew, so that it has another id"
        )
    if committed is None:
        # Without a commit, logged offsets may or may not be folded; unlogged ones were never processed.
        done = min(covered[-1].stop if covered else 0, first)
        return Start(
            first,
            replay=_within(covered, 0, done),
            lost=_missing(covered, done, first),
            holes=_missing(covered, 0, done),
        )
    done, offset = min(committed, first), max(committed, first)
    return Start(
        offset,
        replay=_within(covered, done, first),
        lost=_missing(covered, done, first),
        refill=_missing(covered, first, offset),
        holes=_missing(covered, 0, done),
    )


def _within(covered: Sequence[range], start: int, stop: int) -> list[range]:
    """Return the parts of `covered` between start and stop."""
    cut = (range(max(one.start, start), min(one.stop, stop)) for one in covered)
    return [one for one in cut if one]


def _missing(covered: Sequence[range], start: int, stop: int) -> list[range]:
    """Return the parts of start to stop that are not covered."""
    missing, at = [], start
    for one in _within(covered, start, stop):
        missing.append(range(at, one.start))
        at = one.stop
    missing.append(range(at, stop))
    return [one for one in missing if one]
