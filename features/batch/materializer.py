"""Write states from the log into Redis beside a running stream: nothing is lost, lowered or counted twice."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from data.errors import DataError
from data.log.log import Log
from data.log.sources import newest_topic_id, topic_ids, topic_source
from data.schema import Entity, Schema
from features.batch.backfill import Backfilled
from features.plan.plan import EntityPlan
from features.state.algebra import DAMAGE, Algebra
from features.state.fence import Fence
from features.state.online.states import OnlineStates
from features.state.states import EntityKey, States

__all__ = ["MaterializeCounts", "materialize", "require_partitions"]

_BATCH = 2_000
_MOST_TRIES = 10


class MaterializeCounts(NamedTuple):
    """States written, and states left because the stream is ahead of the log (rerun once the log has caught up)."""

    written: int
    ahead: int


def materialize(
    states: States,
    rebuilt: Iterable[Backfilled],
    plan: EntityPlan,
    log: Log,
) -> MaterializeCounts:
    """Write each state rebuilt from `log`, unless Redis holds events of its entity that the log lacks.

    A stored state of a topic in the log is replaced where it holds no offset past the rebuilt state's. A state that is
    ahead is left as it is: the stream logs what is missing within seconds.

    Raises DataError where a stored state has counted more than the log holds (that state is not written; states written
    before it lower nothing); and, after all are written, where states were left whose partitions are absent from the
    log.
    """
    return _Materializer(states, plan, log).run(rebuilt)


def require_partitions(states: States, log: Log) -> None:
    """Raise DataError where a state holds offsets of partitions that are absent from the log.

    For use before they are replaced by what the log holds.
    """
    topic = newest_topic_id(log.sources())
    foreign: dict[int, int] = {}
    if topic:
        for entity in _touched_by_all(log.schema):
            for fence in states.fences(entity.name):
                if fence.topic == topic:
                    _note(foreign, fence.offsets)
    _refuse_foreign(log, topic, foreign)


def _touched_by_all(schema: Schema) -> Sequence[Entity]:
    """Return entities of which every event touches at least one: if possible a single one, with the fewest states."""
    of_keys = [entity for entity in schema.entities if set(entity.join_keys) <= set(schema.keys)]
    of_keys.sort(key=lambda entity: (len(entity.join_keys), schema.ordered_by in entity.join_keys))
    return of_keys[:1] or schema.entities


class _Materializer:
    def __init__(self, states: States, plan: EntityPlan, log: Log) -> None:
        self._states = states
        self._log = log
        self._entity = plan.entity
        self._algebra = Algebra(plan)
        self._known_topics = topic_ids(log.sources())
        self._left: dict[int, int] = {}  # greatest offset of each partition, over the states that were left
        self._topic = b""
        self._created = 0

    def run(self, rebuilt: Iterable[Backfilled]) -> MaterializeCounts:
        counts = MaterializeCounts(0, 0)
        items = iter(rebuilt)
        while batch := list(islice(items, _BATCH)):
            written, ahead = self._write(batch)
            counts = MaterializeCounts(counts.written + written, counts.ahead + ahead)
            self._states.note_event(max(item.last_event_us for item in batch))
        if isinstance(self._states, OnlineStates):
            self._states.inventory.vouch_more(self._entity, self._created)
        _refuse_foreign(self._log, self._topic, self._left)
        return counts

    def _write(self, batch: list[Backfilled]) -> tuple[int, int]:
        written = ahead = created = 0
        waiting = {item.key: item for item in batch}
        for _ in range(_MOST_TRIES):
            writes = {}
            for key, stored in zip(waiting, self._states.read(list(waiting)), strict=True):
                _, state, fence, _ = waiting[key]
                before = Fence.decode_or_new(stored.fence)
                if self._is_ahead(before, fence):
                    ahead += 1
                    continue
                if before.topic in {b"", fence.topic} and stored.state:
                    self._refuse_lowering(key, stored.state, state)
                # A new generation, so that a worker that read the old state cannot overwrite this one.
                writes[key] = (stored, state, Fence(fence.topic, dict(fence.offsets), before.generation + 1))
            lost = set(self._states.compare_and_set(writes))
            written += len(writes) - len(lost)
            created += sum(1 for key, (stored, _, _) in writes.items() if not stored.state and key not in lost)
            waiting = {key: waiting[key] for key in lost}
            if not waiting:
                break
        self._created += created
        return written, ahead + len(waiting)

    def _is_ahead(self, stored: Fence, rebuilt: Fence) -> bool:
        if not stored.topic or not stored.offsets:
            return False
        if stored.topic != rebuilt.topic:
            return stored.topic not in self._known_topics
        if not stored.ahead_of(rebuilt):
            return False
        self._topic = stored.topic
        _note(self._left, stored.offsets)
        return True

    def _refuse_lowering(self, key: EntityKey, stored: bytes, rebuilt: bytes) -> None:
        if stored == rebuilt:
            return
        lowered = None
        with suppress(*DAMAGE):  # another layout, or damaged: it is replaced
            lowered = self._algebra.beyond(self._algebra.decode(stored), self._algebra.decode(rebuilt))
        if lowered is not None:
            aggregate, ours, theirs = lowered
            raise DataError(
                f"{key.entity} {' '.join(key.ids)}: {aggregate} is {ours} in Redis, and {theirs} by the event log "
                f"{self._log}, which lacks events that were counted; no state was lowered. Give this home the "
                "whole log (its files from a copy, or from the home that streamed them), or run `encore rebuild`, "
                "which forgets all states and folds what this log holds"
            )


def _note(greatest: dict[int, int], offsets: dict[int, int]) -> None:
    for partition, offset in offsets.items():
        greatest[partition] = max(offset, greatest.get(partition, -1))


def _refuse_foreign(log: Log, topic: bytes, offsets: dict[int, int]) -> None:
    """Raise DataError where states hold offsets of a partition that is absent from the log."""
    foreign = sorted(offsets.keys() - log.ends(topic_source(topic)).keys()) if offsets else []
    if foreign:
        listed = ", ".join(f"partition {partition} (up to offset {offsets[partition]})" for partition in foreign)
        raise DataError(
            f"states in Redis hold events of {topic_source(topic)}, {listed}, of which the event log {log} has "
            "nothing: a worker of another home has consumed them, or the files are gone. They were left as they "
            "are. Give the homes one log, or run this in that home; a worker that has only just begun here writes its "
            "first file within seconds: run again then"
        )
