"""Where a worker begins in a partition, and which consumed offsets the event log lacks."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

from data.errors import UnavailableError
from data.log.log import Log
from events.kafka.connection import Assigned
from events.stream.account import Account
from events.stream.editions.folds import Folds
from events.stream.housekeeper import Housekeeper
from events.stream.note import Note

__all__ = ["Begun", "Start", "Starter", "start_of"]

logger = logging.getLogger(__name__)

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
    parts = (range(max(span.start, start), min(span.stop, stop)) for span in covered)
    return [span for span in parts if span]


def _missing(covered: Sequence[range], start: int, stop: int) -> list[range]:
    """Return the parts of start to stop that are not covered."""
    missing, position = [], start
    for span in _within(covered, start, stop):
        missing.append(range(position, span.start))
        position = span.stop
    missing.append(range(position, stop))
    return [span for span in missing if span]


class Begun(NamedTuple):
    """A partition as it begins: the first `offset` to read, the end of what is `logged`, and what is `committed`."""

    offset: int
    logged: int
    committed: int | None


class Starter:
    """Begins the partitions of one topic, by its `name`, its id in hexadecimal and its `source` in the log."""

    def __init__(  # noqa: PLR0917 - all of one session
        self, name: str, topic: str, log: Log, source: str, account: Account, housekeeper: Housekeeper
    ) -> None:
        self._name = name
        self._topic = topic
        self._log = log
        self._source = source
        self._account = account
        self._housekeeper = housekeeper

    def way(self, partition: Assigned) -> tuple[Start, Sequence[range]]:
        """Return where a partition begins, and its offsets in the log; holes are filled whatever the states are."""
        covered = self._log.covered(self._source, partition.partition)
        start = start_of(partition, self._topic, covered)
        self._housekeeper.take(partition.partition, start.refill)
        return start, covered

    def start(self, partition: Assigned, start: Start, covered: Sequence[range], folds: Folds) -> Begun:
        """Begin a partition. Offsets that Kafka dropped are folded from the log, or counted as lost."""
        number, where = partition.partition, f"{self._name} partition {partition.partition}"
        for offsets in start.replay:
            logger.warning("%s: Kafka dropped %s; they are folded from the event log", where, _words(offsets))
            folds.replay(number, offsets)
        for offsets in start.lost:
            if partition.committed is not None or covered:
                self._account.note_lost(len(offsets))
                logger.error(
                    "%s: %s are lost: Kafka's retention dropped them before they were read; send them again where you "
                    "can, and give the topic a longer retention",
                    where,
                    _words(offsets),
                )
            self._log.mark_lost(self._source, number, offsets)
        unknown = self._log.unknown(self._source, number)
        for offsets in start.holes:
            # Unless they lie beside files of the old naming, where they may be dead letters.
            if not any(offsets.start in gap for gap in unknown):
                logger.error(
                    "%s: the event log lacks %s, and Kafka holds them no more; `encore log check` says what to do",
                    where,
                    _words(offsets),
                )
        folds.begin(number, start.offset)
        logged = next((span.stop for span in covered if start.offset in span), start.offset)
        # Without messages there is nothing to commit.
        committed = partition.committed if start.replay or start.lost else start.offset
        return Begun(start.offset, logged, committed)


def _words(offsets: range) -> str:
    return f"offsets {offsets.start} to {offsets.stop - 1}"
