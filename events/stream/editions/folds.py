"""The editions that a worker folds into: the live one, and beside it another while a rollout goes on.

    live     ──────────────── fold ─ fold ─ fold ────── fold ─┐ switched: they change places
    other    (made from the log) └─ from the log ─┴──── fold ─┘
                                    what is between

A worker follows the other edition partition by partition: what was folded before it came is read from the log, and from
there on each batch is folded into both. How far an edition is folded is marked beside it before offsets are committed.
So the next owner of a partition, or a worker that resumes after a long sleep, knows what is missing and where it is.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence

from data.errors import (
    EncoreError,
    FailedOverError,
    ForgottenError,
    RemadeError,
    UnavailableError,
    UndecidedError,
    UnsettledError,
)
from events.stream.editions.edition_fold import EditionFold
from events.stream.parts import Parts
from events.stream.timer import Timer
from features.plan.plan import Plan
from features.state.editions.standing import Edition, Standing
from features.state.fold import FoldCounts, Settled, Sourced
from features.state.states import States

__all__ = ["Folds"]

logger = logging.getLogger(__name__)

_SLICE = 20_000
"""Offsets that are folded from the log before the live edition has its turn again."""

_AGAIN_S = 1.0
"""How soon an edition that could not be followed is tried again."""


class Folds:
    """The editions of one worker for one topic. `waits` is called with every error that is waited for."""

    def __init__(self, parts: Parts, topic: bytes, waits: Callable[[Exception], None]) -> None:
        self._parts = parts
        self._topic = topic
        self._waits = waits
        self._editions = parts.editions
        self._encoded = b""
        marks = self._editions.marks(Edition(parts.edition)) if self._editions else None
        self.live = self._fold(parts.edition, parts.plan, parts.states, marks)
        self.other: EditionFold | None = None
        self._together = frozenset[int]()
        """Partitions of which both editions have the same events."""
        self._has_failed = False
        self._again = Timer(0)

    @property
    def all(self) -> list[EditionFold]:
        """Return all editions that are folded into, the live one first."""
        return [fold for fold in (self.live, self.other) if fold is not None]

    def follows(self, reading: Collection[int]) -> str:
        """Return the id of the other edition, if it has all that the live one has of these partitions; else empty."""
        return self.other.id if self.other is not None and self._together.issuperset(reading) else ""

    def look(self, read: Mapping[int, int]) -> bool:
        """Note which editions there are now; `read` is the next offset of each partition that is read.

        Returns True where all that is not committed is to be read again, into a live edition that is another one.
        """
        if self._editions is None:
            return False
        try:
            encoded = self._editions.stored()
            if not encoded:  # a store that was emptied says nothing, and is waited for elsewhere
                return False
            if encoded == self._encoded and not (self._has_failed and self._again.is_due()):
                return False
            again = self._take(Standing.decode(encoded), read)
        except (UnavailableError, OSError):
            return False  # folding waits for it, and says so
        except EncoreError as error:
            logger.error("editions of states: %s", error)
            self._waits(error)
            self._encoded = encoded  # until it changes
            return False
        self._encoded, self._has_failed = encoded, False
        return again

    def _take(self, standing: Standing, read: Mapping[int, int]) -> bool:
        again, before = False, self.live
        if standing.live.id != before.id:
            if self.other is not None and self.follows(read) == standing.live.id:
                self.live, self.other = self.other, before
                before.ends = dict(read)
                logger.info("the edition %s of the states is live", self.live.id or "0")
            else:
                self.live, self.other, again = self._open(standing.live), None, True
        followed = standing.followed
        if followed is None or (self.other is not None and self.other.id != followed.id):
            self.other, self._together = None, frozenset()
        if followed is not None and self.other is None:
            self.other = self._open(followed)
            self._together = frozenset()
            logger.info("follows the edition %s of the states", followed.id or "0")
        return again

    def replay(self, partition: int, offsets: range) -> int:
        """Fold events of the log into the live edition; return how many there were."""
        return self.live.replay(partition, offsets, watch=self._watch)

    def begin(self, partition: int, offset: int) -> None:
        """Fold into the live edition what was committed before `offset` by a worker that did not fold into it."""
        marked = self.live.marked().get(partition, offset) if self._editions else offset
        for covered in self._parts.log.covered(self.live.source, partition) if marked < offset else ():
            lacking = range(max(marked, covered.start), min(offset, covered.stop))
            if lacking and self.replay(partition, lacking):
                logger.warning("partition %d: offsets from %d on are folded from the event log", partition, marked)

    def forget(self, partitions: Collection[int]) -> None:
        """Forget these partitions, which are not read any more, or from other offsets."""
        self._together -= frozenset(partitions)
        if self.other is not None:
            for partition in partitions:
                self.other.ends.pop(partition, None)

    def catch_up(self, read: Mapping[int, int], flush: Callable[[], None]) -> None:
        """Fold into the other edition what it lacks of what was read; `flush` writes that to the log."""
        other = self.other
        if other is None or self._together.issuperset(read):
            return
        try:
            for partition in read.keys() - other.ends.keys():
                other.ends[partition] = other.marked().get(partition, 0)
            behind = {number: end for number, end in read.items() if other.ends[number] < end}
            if behind:
                flush()
            left = _SLICE
            for partition, end in behind.items():
                start = other.ends[partition]
                stop = min(end, start + left)
                if stop > start:
                    other.require_logged(partition, stop)
                    other.replay(partition, range(start, stop), watch=self._watch)
                    other.ends[partition] = stop
                    other.mark({partition: stop})
                left -= stop - start
            self._together = frozenset(number for number, end in read.items() if other.ends[number] >= end)
        except FailedOverError:
            raise
        except (EncoreError, OSError) as error:
            self._unfollow(error)

    def fold(self, events: Sequence[Sourced], settled: Settled) -> FoldCounts:
        """Fold events into the live edition, and the other where it has all that was before. Raises as `Fold.apply`."""
        counts = self.live.fold.apply(events, watch=self._watch, settled=settled)
        other = self.other
        if other is not None and self._together:
            try:
                other.follow(events, counts, self._together, settled, watch=self._watch)
            except (FailedOverError, UnsettledError):
                raise
            except (ForgottenError, RemadeError, UndecidedError) as error:
                self._unfollow(error)  # the live edition does not wait for this one
            except UnavailableError:
                raise  # it is waited for, and both are folded again
            except EncoreError as error:
                self._unfollow(error)
            else:
                for sourced in events:
                    if sourced.partition in self._together:
                        other.ends[sourced.partition] = max(sourced.offset + 1, other.ends[sourced.partition])
        return counts

    def advance(self, ends: Mapping[int, int]) -> None:
        """Note that all before these offsets is consumed: folded, a dead letter, or a repeat."""
        if self.other is not None:
            for partition in self._together & ends.keys():
                self.other.ends[partition] = max(ends[partition], self.other.ends[partition])

    def mark(self, ends: Mapping[int, int]) -> None:
        """Note how far the editions are folded, before these offsets are committed."""
        if self._editions is not None:
            self.live.mark(ends)
            if self.other is not None:
                other_ends = self.other.ends
                self.other.mark({number: other_ends[number] for number in ends if number in other_ends})

    def confirmed(self) -> None:
        """Note that replicas have all that was folded, or that it is folded again (`Fold.forget`)."""
        self.live.fold.forget()
        if self.other is not None:
            self.other.fold.forget()

    @property
    def _watch(self) -> bool:
        return self._parts.replication.is_needed

    def _unfollow(self, error: Exception) -> None:
        """Continue with the live edition alone: what the other one lacks is folded from the log when possible."""
        logger.warning("the edition %s of the states is not followed now: %s", self.other and self.other.id, error)
        self.other, self._together = None, frozenset()
        self._has_failed, self._again = True, Timer(_AGAIN_S)

    def _open(self, edition: Edition) -> EditionFold:
        assert self._editions is not None  # noqa: S101 - only they name editions
        opened = self._editions.open(edition, guarded=True)
        return self._fold(opened.id, opened.plan, opened.states, opened.marks)

    def _fold(self, edition: str, plan: Plan, states: States, marks: object) -> EditionFold:
        return EditionFold(
            edition,
            plan,
            states,
            marks,  # type: ignore[arg-type]
            topic=self._topic,
            log=self._parts.log,
            waits=self._waits,
        )
