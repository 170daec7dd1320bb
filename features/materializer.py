"""Writing states from the log into Redis beside a stream that goes on: nothing lost, nothing counted twice."""

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from features.backfill import Backfilled
from features.fence import Fence
from features.online import OnlineStates

__all__ = ["MaterializeCounts", "materialize"]

_BATCH = 2_000
_MOST_TRIES = 10


class MaterializeCounts(NamedTuple):
    """States written; states left as they were, since the stream is ahead of the log there (log again, then rerun)."""

    written: int
    ahead: int


def materialize(
    states: OnlineStates, rebuilt: Iterable[Backfilled], known_topics: frozenset[bytes]
) -> MaterializeCounts:
    """Write each rebuilt state, unless Redis holds events of its entity that the log does not hold yet.

    A stored state may be replaced where it is of a topic that the log knows, and holds no offset past the rebuilt
    one's: the rebuilt one then has all that it has. `known_topics` are the ids of the topics in the log.
    """
    counts = MaterializeCounts(0, 0)
    items = iter(rebuilt)
    while batch := list(islice(items, _BATCH)):
        written, ahead = _write(states, batch, known_topics)
        counts = MaterializeCounts(counts.written + written, counts.ahead + ahead)
        states.note_event(max(one.last_event_us for one in batch))
    return counts


def _write(states: OnlineStates, batch: list[Backfilled], known_topics: frozenset[bytes]) -> tuple[int, int]:
    written = ahead = 0
    waiting = {one.key: (one.state, one.fence) for one in batch}
    for _ in range(_MOST_TRIES):
        writes = {}
        for key, stored in zip(waiting, states.read(list(waiting)), strict=True):
            state, fence = waiting[key]
            before = Fence.decode_or_new(stored.fence)
            if _is_ahead(before, fence, known_topics):
                ahead += 1
            else:
                # Another generation: a worker that read the old state must not write over this one.
                writes[key] = (stored, state, Fence(fence.topic, dict(fence.offsets), before.generation + 1))
        lost = set(states.compare_and_set(writes))
        written += len(writes) - len(lost)
        waiting = {key: waiting[key] for key in lost}
        if not waiting:
            break
    return written, ahead + len(waiting)


def _is_ahead(stored: Fence, rebuilt: Fence, known_topics: frozenset[bytes]) -> bool:
    if not stored.topic or not stored.offsets:
        return False
    if stored.topic != rebuilt.topic:
        return stored.topic not in known_topics
    return stored.ahead_of(rebuilt)
