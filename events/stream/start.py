"""Where a worker begins in a partition, and what lies between that and what was done before."""

from typing import NamedTuple

from data.errors import UnavailableError
from events.kafka.consumer import Assigned

__all__ = ["Start", "start_of"]


class Start(NamedTuple):
    """`offset` is the first to read. `replay` are offsets that Kafka holds no more and the event log may: they are
    folded from there. `lost` are those that nobody holds."""

    offset: int
    replay: range
    lost: range


def start_of(partition: Assigned, note: str, logged: int | None) -> Start:
    """Where to begin in a partition, of which the event log holds offsets up to `logged` (None: none).

    What was committed counts where it bears this topic's `note`, or none: a group remembers offsets of a topic that
    was deleted and made again.

        kept by Kafka                            first ------------ end
        done before             ------ committed                             (nothing committed: from the first on)
        in the log              --------- logged
        so                             replay  lost  read
                                       [------)[----)[--------------->

    UnavailableError where Kafka holds less than was read from it: new messages would bear old offsets.
    """
    number, committed, committed_note, first, end = partition
    if committed_note not in ("", note):
        committed = None
    # A broker that forgets notes (Tansu does) is not believed about the end either: Tansu tells one within a batch.
    if committed is not None and committed > end and committed_note == note:
        raise UnavailableError(
            f"Kafka: partition {number} ends at offset {end}, but was read up to {committed}: the broker lost messages "
            "and will give their offsets to new ones; make the topic anew, so that it has another id"
        )
    if committed is not None and committed >= first:
        return Start(committed, range(0), range(0))
    held = -1 if logged is None else logged
    if committed is None:
        # Nothing was ever promised of what lies before the first message ever seen.
        lost = range(held + 1, first) if logged is not None else range(0)
        return Start(first, range(0), lost)
    return Start(first, range(committed, min(held + 1, first)), range(max(committed, held + 1), first))
