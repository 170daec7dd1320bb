"""Builds another edition of the states from the log beside the live one, and brings it to the end of the log."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import count
from typing import Protocol

from data.log.event_log import EventLog
from data.log.sources import newest_topic_id, topic_ids
from features.batch.backfill import Backfilled
from features.batch.materializer import MaterializeCounts, materialize
from features.plan.plan import EntityPlan
from features.state.editions.behind import ends_of, lacking
from features.state.editions.editions import Opened
from features.state.editions.kept import Kept
from features.state.editions.replay import replay
from features.state.fold import Fold

__all__ = ["Source", "build_edition", "catch_up"]

_REPORT_EVERY = 1_000
"""States between two reports of progress."""


class Source(Protocol):
    """Makes states of the log: an engine that reads all of it, or one that merges what it has stored."""

    def entities(self) -> dict[str, int]:
        """Return how many entities of each kind the log has."""

    def states(self, entity_plan: EntityPlan) -> Iterator[Backfilled]:
        """Yield the state of every entity of a kind."""


def build_edition(
    edition: Opened,
    log: EventLog,
    *,
    source: Callable[[], AbstractContextManager[Source]],
    progress: Callable[[int], None],
    write: Callable[[EntityPlan], MaterializeCounts] | None = None,
    kept: Kept | None = None,
) -> None:
    """Fold the log into the states of an edition that nobody reads or folds into yet; there may be leftovers of it.

    `source` opens what makes the states of the log as it is then. `write`, where it is given, folds and writes the
    states of a kind elsewhere instead. What is `kept` is copied from the live edition. Events that come into the log
    meanwhile may be in some states and not in others: fences tell, and they are folded once by the worker that
    continues from the edition's marks. `progress` is called with the number of states made so far.
    """
    edition.states.clear()
    inventory = edition.states.inventory
    inventory.vouch(dict.fromkeys((entity.entity for entity in edition.plan.entities), 0))
    ends = {topic: ends_of(log, topic) for topic in topic_ids(log.sources())}
    counts: dict[str, int] = {}
    if kept is not None:
        for topic, offsets in ends.items():
            marked = kept.marks.get(topic, {})
            ends[topic] = {partition: min(end, marked.get(partition, 0)) for partition, end in offsets.items()}
        counts = kept.copy_to(edition, progress)
    left = [entity for entity in edition.plan.entities if entity.entity not in counts]
    if write is not None:
        for entity in left:
            counts[entity.entity] = sum(write(entity))
            progress(sum(counts.values()))
        inventory.vouch(counts)  # a part that was done again was counted lower
    elif left:
        made = _counted(progress, sum(counts.values()))
        # Opened when the ends are known: what arrives later may be in the states, and is in no mark.
        with source() as engine:
            for entity in left:
                materialize(edition.states, made(engine.states(entity)), entity, log)
    for topic, offsets in ends.items():
        edition.marks.write(topic, offsets)


def catch_up(edition: Opened, log: EventLog) -> int:
    """Fold what an edition lacks of the log; return the number of offsets. Raises DataError as `lacking`."""
    topic, folded = newest_topic_id(log.sources()), 0
    fold = Fold(edition.plan, edition.states, topic, store=edition.states)
    for partition, offsets in lacking(edition, log).items():
        for batch in replay(
            fold,
            log,
            states=edition.states,
            schema=edition.plan.schema,
            topic=topic,
            partition=partition,
            offsets=offsets,
        ):
            edition.marks.write(topic, {partition: batch[-1].offset + 1})
        edition.marks.write(topic, {partition: offsets.stop})
        folded += len(offsets)
    return folded


def _counted(progress: Callable[[int], None], since: int) -> Callable[[Iterable[Backfilled]], Iterator[Backfilled]]:
    """Return a function that passes states on, and reports how many it has passed, with those `since` before it."""
    number = count(since + 1)

    def passed(states: Iterable[Backfilled]) -> Iterator[Backfilled]:
        for state in states:
            if (total := next(number)) % _REPORT_EVERY == 0:
                progress(total)
            yield state

    return passed
