"""A worker's work on one topic id: group membership, partitions, fold, log, dead letters, commits.

    poll ─▶ check ─▶ fold (states and fences in Redis) ─▶ every few seconds: log, dead letters, replicas, commit
              └─▶ dead letter

A topic that is deleted and recreated has another id, and its offsets start at 0: that is another session.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping

from data.errors import (
    EncoreError,
    FailedOverError,
    OutOfRangeError,
    OvertakenError,
    UnavailableError,
    UnsettledError,
    UnsupportedProtocolError,
)
from data.jitter import jitter
from data.log.sources import topic_source
from events.kafka.connection import Connection, Message, Progress, Topic
from events.kafka.patience import no_one, patiently
from events.stream.account import Account
from events.stream.editions.folds import Folds
from events.stream.footing import LOST_FOOTING, Footing
from events.stream.heartbeat import Membership
from events.stream.housekeeper import Housekeeper
from events.stream.intake import Accepted, Intake
from events.stream.log_buffer import LogBuffer
from events.stream.note import Note
from events.stream.parts import Parts
from events.stream.repairer import Repairer
from events.stream.start import Starter
from events.stream.timer import Timer
from events.trace import NO_TRACE, Batch

__all__ = ["Session"]

logger = logging.getLogger(__name__)

_POLL_S = 0.1
"""How long a poll waits for a first message."""

_LETTERS_S = 1.0
"""Time limit for one attempt to flush dead letters; a stop waits no longer for them."""

_COMMIT_S = 1.0
"""Time limit for one attempt to commit, so that a stop takes at most five seconds."""

_SOON_S = 0.2
"""Time limit for flushing dead letters while events wait to be folded."""

_KEEP_AGAIN_S = 0.5
"""Pause after a failed attempt to log, dead-letter and commit; folding continues meanwhile."""

_FIRST_FLUSH = 40
"""The first flush of new partitions is due after `flush_s` divided by this."""


class Session:
    """One worker's work on one topic id, within a `with` block: `turn` is called again and again.

    It holds nothing that must survive it: offsets that are not committed are delivered again, and fences and file names
    make each count once. `waits` is called with every error that is waited for.
    """

    def __init__(
        self,
        parts: Parts,
        connection: Connection,
        account: Account,
        *,
        waits: Callable[[Exception], None] = no_one,
    ) -> None:
        self._waits = waits
        self._topic = connection.topic
        self._name = connection.name
        self._note = Note.of(connection.topic.id, parts.owner)
        self._protocol = connection.protocol
        self._member = connection.member
        self._letters = connection.letters
        self._limits = parts.limits
        self._trace = parts.trace
        self._log = parts.log
        source = topic_source(connection.topic.id)
        self._replication = parts.replication
        self._account = account
        self._buffer = LogBuffer(parts.log, source, account.note_file)
        self._housekeeper = Housekeeper(parts.log, source, connection.read, parts.limits.tidy_s)
        self._folds = Folds(parts, connection.topic.id, waits)
        self._repairer = Repairer(parts, connection.topic, connection.read, lambda: self._folds.all)
        self._intake = Intake(parts, connection, account, self._folds, self._repairer, waits)
        self._starter = Starter(connection.name, self._note.topic, parts.log, source, account, self._housekeeper)
        self._next: dict[int, int] = {}
        """Per partition that is read, the next offset to read."""
        self._committed: dict[int, int | None] = {}
        """Per partition that is read, the committed offset."""
        self._waiting = frozenset[int]()
        """Partitions that are assigned and not begun yet."""
        self._check = Timer(parts.limits.check_s)
        self._retry = Timer(0)
        self._keep_again = Timer(0)
        self._flushed = Timer(0)
        """Time since the last flush."""
        self._begun = Timer(0)
        """Time since partitions were begun."""

    def __enter__(self) -> "Session":
        self._housekeeper.start()
        self._repairer.start()
        self._member.join(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Commit what is folded, leave the group, close connections."""
        try:
            self._keep()
            self._replication.confirm()
            self._commit()
        except Exception as error:  # noqa: BLE001 - what is not committed comes again
            logger.warning("stopped without a last commit (events are delivered again, and count once): %s", error)
        self._housekeeper.close()
        self._repairer.close()
        self._member.close()
        self._letters.close()

    def turn(self, stop: threading.Event) -> bool:
        """Poll and process messages, and flush and commit when due. Returns False where the topic's id has changed."""
        self._account.note_turn()
        self._log.suppression.look()
        self._account.note_suppression(self._log.suppression.revision)  # nothing is held that came before
        try:
            self._follow()
        except FailedOverError as error:
            self._fall_back(error, stop)
            return True
        if not self._footing.is_firm():
            self.idle()
            return True
        messages = self._poll(stop)
        if stop.is_set():
            return True  # these messages are read again
        # Checked after messages were received and before they are folded, so they are of the topic with this id.
        if (messages or self._waiting or self._check.is_due()) and not self._is_our_topic(stop):
            return stop.is_set()
        try:
            self._begin()
            if messages:
                self._take(messages, stop)
        except FailedOverError as error:
            self._fall_back(error, stop)
        except LOST_FOOTING as error:
            self._lose_footing(error)
        except OvertakenError as error:
            self._waits(error)
            self._retry = Timer(jitter(0.1, 0.5))
            self._fall_back(error, stop)
        if self._is_full:
            self.keep(stop)
        elif self._uncommitted and self._is_time_to_keep and self._keep_again.is_due():
            self._try_to_keep(stop)
        return True

    @property
    def _footing(self) -> Footing:
        return self._folds.live.footing

    def _follow(self) -> None:
        """Fold into the present editions."""
        if self._folds.look(self._next):
            self._begin_again(self.reading)
            self._folds.confirmed()
        self._folds.catch_up(self._next, self._buffer.flush)

    def keep(self, stop: threading.Event) -> None:
        """Write log and dead letters for all that is folded, retrying as long as needed; then try to commit."""
        if patiently(self._keep, stop, self._waits):
            self._try_to_keep(stop)

    def _try_to_keep(self, stop: threading.Event) -> None:
        """Write log and dead letters for all that is folded, and commit it where Redis' replicas have it.

        After a failure it is tried again soon; folding continues meanwhile, so that states stay fresh.
        """
        try:
            self._letters.flush(_SOON_S)
            self._replication.confirm()
            self._folds.confirmed()
            # Last, since every attempt makes a file.
            self._buffer.flush()
            self._commit()
        except FailedOverError as error:
            self._fall_back(error, stop)
        except LOST_FOOTING as error:
            self._lose_footing(error)
        except (UnavailableError, OSError) as error:
            logger.warning("not committed, so it is tried again: %s", error)
            self._account.note_uncommitted(error)
            self._keep_again = Timer(jitter(0.5, 1.5) * _KEEP_AGAIN_S)
        else:
            self._keep_again = Timer(0)
            self._flushed.restart()
            self._account.note_committed()

    def _fall_back(self, error: EncoreError, stop: threading.Event) -> None:
        """Read everything that is not committed again: Redis may have lost it, or another member has committed more."""
        logger.warning("reading again from the committed offsets: %s", error)
        self._begin_again(self.reading)
        self._folds.confirmed()
        patiently(self._replication.begin, stop, self._waits)

    def _lose_footing(self, error: EncoreError) -> None:
        """Drop what is held, which may not be in the states; it is read again from the committed offsets."""
        self._footing.lose(error)
        self._begin_again(self.reading)
        self._folds.confirmed()

    def idle(self) -> None:
        """Serve the group's decisions while nothing may be folded."""
        try:
            received = self._member.poll(_POLL_S, 1)
        except UnavailableError as error:
            logger.warning("waiting: %s", error)
            return
        # Messages that were received nevertheless are read again.
        self._begin_again({message.partition for message in received})

    @property
    def reading(self) -> frozenset[int]:
        """Partitions that are read."""
        return frozenset(self._next)

    @property
    def membership(self) -> Membership:
        """Kafka's id of this member, and the group protocol."""
        return Membership(self._member.member_id, self._protocol)

    @property
    def editions(self) -> tuple[str, str]:
        """The live edition of the states that is folded into, and the other one if it has the same events."""
        return self._folds.live.id, self._folds.follows(self.reading)

    @property
    def progress(self) -> dict[int, Progress]:
        """How far the partitions are folded."""
        read = self._member.progress()
        return {
            number: Progress(self._next.get(number, reached.position), reached.end) for number, reached in read.items()
        }

    # The group's decisions, received inside `poll`.

    def assigned(self, partitions: frozenset[int]) -> None:
        """Mark partitions to begin after the poll: where each begins takes requests to Kafka and a look at the log."""
        self._waiting |= partitions

    def revoked(self, partitions: frozenset[int]) -> None:
        """Log and commit these partitions before another member has them."""
        if partitions & self.reading:
            try:
                self._keep()
                self._replication.confirm()
                if offsets := self._uncommitted:
                    self._footing.require()
                    self._folds.mark(offsets)
                    self._member.commit_soon(offsets, self._note.text)
            except (EncoreError, OSError) as error:
                logger.warning("revoked without a commit (events are delivered again, and count once): %s", error)
        self._forget(partitions)

    def lost(self, partitions: frozenset[int]) -> None:
        """Drop these partitions; their next reader begins at the committed offsets."""
        self._forget(partitions)

    def _forget(self, partitions: frozenset[int]) -> None:
        self._waiting -= partitions
        self._buffer.forget(partitions)
        self._folds.forget(partitions)
        self._housekeeper.leave(partitions)
        for number in partitions:
            self._next.pop(number, None)
            self._committed.pop(number, None)

    def _begin_again(self, partitions: Collection[int]) -> None:
        """Read partitions again from the committed offsets; events that are folded already count once."""
        again = frozenset(partitions) & self.reading
        self._member.drop(again)
        self._forget(again)
        self._waiting |= again

    def _poll(self, stop: threading.Event) -> list[Message]:
        """Return the next messages; none where Kafka does not answer."""
        most = self._limits.batch_rows
        if self._flushed.passed_s > self._begun.passed_s:
            most = min(most, self._limits.first_rows)
        try:
            return self._member.poll(_POLL_S, most)
        except OutOfRangeError as error:
            logger.warning("starting partitions again: %s", error)
            self.keep(stop)
            self._begin_again(error.partitions)
        except UnsupportedProtocolError:
            raise
        except UnavailableError as error:
            logger.warning("waiting: %s", error)
            stop.wait(jitter(0.1, 0.5))
        return []

    def _is_our_topic(self, stop: threading.Event) -> bool:
        """Return whether the topic still has this session's id."""
        topics: list[Topic] = []
        if not patiently(lambda: topics.append(self._member.topic()), stop, self._waits):
            return False  # these messages are dropped uncommitted, so they are delivered again
        if topics[-1].id == self._topic.id:
            return True
        logger.warning("topic %s was recreated: its offsets start anew", self._name)
        # Folded events are logged; nothing is committed.
        patiently(self._buffer.flush, stop, self._waits)
        self._next.clear()
        return False

    def _begin(self) -> None:
        """Begin waiting partitions; those that cannot be begun keep waiting."""
        if not self._waiting or not self._retry.is_due():
            return
        starts = {}
        try:
            assigned = self._member.look(self._waiting)
            self._note.require_own(assigned)
            ways = [self._starter.way(partition) for partition in assigned]
            self._footing.begin(done=any(partition.committed for partition in assigned) or bool(self._log.sources()))
            for partition, (start, covered) in zip(assigned, ways, strict=True):
                number = partition.partition
                starts[number], logged, committed = self._starter.start(partition, start, covered, self._folds)
                self._buffer.begin(number, logged)
                self._committed[number] = committed
        except (FailedOverError, *LOST_FOOTING):
            raise
        except (UnavailableError, OSError) as error:
            logger.warning("partitions %s cannot begin yet: %s", sorted(self._waiting - starts.keys()), error)
            self._waits(error)
            self._retry = Timer(jitter(0.1, 0.5))
        self._member.begin(starts)
        for number, offset in starts.items():
            logger.info("%s partition %d: begins at %d", self._name, number, offset)
            self._next[number] = offset
        self._waiting -= starts.keys()
        if starts:
            self._begun.restart()

    def _take(self, messages: list[Message], stop: threading.Event) -> None:
        """Check and fold messages; on return they are in the states, or the worker stops."""
        began_ns = time.time_ns()
        accepted = self._intake.accept(messages)
        if self._fold_all(accepted, stop):  # else they are delivered again, and count once
            self._advance(accepted.ends)
            self._account.note_received(len(messages))
            if self._trace is not NO_TRACE:
                parents = [message.trace for message in messages if message.trace]
                self._trace.folded(Batch(self._name, began_ns, len(messages), len(accepted.facts), parents))

    def _fold_all(self, accepted: Accepted, stop: threading.Event) -> bool:
        """Fold events and buffer them for the log, committing earlier ones where needed; return whether all are."""
        start, size = 0, len(accepted.facts)
        while start < len(accepted.facts):
            chunk = accepted.facts[start : start + size]
            try:
                counts = self._intake.fold(chunk, self._committed, self._buffer.logged, stop)
            except UnsettledError as error:
                if error.place:
                    size = error.place
                elif not self._commit_before(accepted.before(start), stop):
                    return False
                continue
            if counts is None:
                return False
            for place, sourced in enumerate(chunk):
                if place not in counts.repeats:
                    self._buffer.add(sourced.partition, accepted.events[start + place])
            start, size = start + size, 2 * size
        return True

    def _commit_before(self, ends: Mapping[int, int], stop: threading.Event) -> bool:
        """Commit all before these offsets; return False where that fails, and all is read again."""
        self._advance(ends)
        if not self._uncommitted:
            raise OvertakenError(f"partitions {sorted(ends)}: states have offsets that another member has read")
        self._try_to_keep(stop)
        if self._uncommitted or not self.reading.issuperset(ends):
            self._begin_again(self.reading)
            return False
        return True

    def _advance(self, ends: Mapping[int, int]) -> None:
        """Record that all before these offsets is consumed."""
        for number, offset in ends.items():
            self._next[number] = offset
            self._buffer.advance(number, offset)
        self._folds.advance(ends)

    @property
    def _uncommitted(self) -> dict[int, int]:
        """Return the next offset of each partition that may be committed and is not."""
        return {number: offset for number, offset in self._next.items() if self._committed[number] != offset}

    @property
    def _is_full(self) -> bool:
        """Return whether to flush before anything more is gathered."""
        return len(self._buffer) + len(self._letters) >= self._limits.flush_rows

    @property
    def _is_time_to_keep(self) -> bool:
        """Return whether to flush: often at first, then less and less often.

        Otherwise a worker that dies soon after its start would leave everything to the next, and workers that die
        repeatedly would make no progress.
        """
        longest_s = self._limits.flush_s
        wait_s = max(longest_s / _FIRST_FLUSH, self._begun.passed_s - self._flushed.passed_s)
        return self._flushed.passed_s >= min(wait_s, longest_s)

    def _keep(self) -> None:
        self._letters.flush(_LETTERS_S)
        self._buffer.flush()

    def _commit(self) -> None:
        if offsets := self._uncommitted:
            self._footing.require()
            self._folds.mark(offsets)
            self._member.commit(offsets, self._note.text, _COMMIT_S)
            # The group may have revoked some meanwhile.
            self._committed |= {number: offset for number, offset in offsets.items() if number in self._next}
