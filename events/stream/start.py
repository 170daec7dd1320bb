"""Where a worker begins in a partition, and what the event log lacks of what was done before."""

from collections.abc import Sequence
from typing import NamedTuple

from data.errors import UnavailableError
from events.kafka.connection import Assigned

__all__ = ["Start", "start_of"]

_NONE: tuple[range, ...] = ()


class Start(NamedTuple):
    """`offset` is the first to read. Offsets before it, each in one of these at most:

    - `replay`: Kafka holds them no more, the event log does, and they may not be folded: they are folded from there;
    - `lost`: Kafka's retention dropped them before anybody read them;
    - `refill`: done before, absent from the log, and still in Kafka: the log gets them again;
    - `holes`: done before, absent from the log and from Kafka.
    """

    offset: int
    replay: Sequence[range] = _NONE
    lost: Sequence[range] = _NONE
    refill: Sequence[range] = _NONE
    holes: Sequence[range] = _NONE


def start_of(partition: Assigned, note: str, covered: Sequence[range]) -> Start:
    """Where to begin in a partition, of whose offsets the event log covers some (ascending, apart from each other).

    What was committed counts where it bears this topic's `note`, or none: a group remembers offsets of a topic that
    was deleted and made again.

        kept by Kafka                            first ------------ end
        done before             ------ committed                             (nothing committed: from the first on)
        in the log              --------------------- covered
        so                             replay  lost  read
                                       [------)[----)[--------------->

    UnavailableError where Kafka holds less than was read from it: new messages would bear old offsets.
    """
    number, committed, committed_note, first, end = partition
    if committed_note not in ("", note):
        committed = None
    # Without our note somebody else has set it, and may have set it anywhere.
    if committed is not None and committed > end and committed_note == note:
        raise UnavailableError(
            f"Kafka: partition {number} ends at offset {end}, but was read up to {committed}: the broker lost messages "
            "and will give their offsets to new ones; make the topic anew, so that it has another id"
        )
    if committed is None:
        # Of what the log covers nobody can say whether it is folded; of the rest nothing was ever promised.
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
    """What is covered of start to stop."""
    cut = (range(max(one.start, start), min(one.stop, stop)) for one in covered)
    return [one for one in cut if one]


def _missing(covered: Sequence[range], start: int, stop: int) -> list[range]:
    """What is not covered of start to stop."""
    missing, at = [], start
    for one in _within(covered, start, stop):
        missing.append(range(at, one.start))
        at = one.stop
    missing.append(range(at, stop))
    return [one for one in missing if one]
