"""Repair of states that cannot be read, on threads of their own beside a worker.

    fold        a state cannot be read ── recorded as set aside, the others go on
    repairer    its events, from the log and from Kafka beyond it ── rebuilt ── confirmed by replicas ── taken back

One worker's repairer works for all, one at a time, and no worker waits for it. Two at once would do the work twice and
no harm: states are compared and set. A state that tells repeats is waited for by the worker that needs it:

    fold        ── recorded as set aside, and reported to its own worker's
    unblocker   another revision ── its events from the log alone ── rebuilt ── taken back
    workers     read again what is not committed
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from data.errors import EncoreError, UnavailableError
from data.event import EventDecoder, Rejection
from data.jitter import jitter
from data.log.event_log import EventLog
from data.log.log import Log
from data.log.sources import topic_source
from data.schema import Schema
from events.kafka.connection import ReadOffsets, Topic
from events.stream.editions.edition_fold import EditionFold
from events.stream.parts import Parts
from features.facts import fact_maker
from features.state.fold import Sourced
from features.state.online.states import OnlineStates
from features.state.states import EntityKey, Stored

__all__ = ["Beyond", "Repairer"]

logger = logging.getLogger(__name__)

_EVERY_S = 30.0
"""How often it looks for states that were set aside without a report to it."""

_SOON_S = 1.0
"""It begins within so long, at a random moment: mostly one worker's does it all."""

_LONGEST_S = 600.0
"""Longest wait between two attempts where the log cannot help: it has a hole, or cannot be read. A file that was
compacted away meanwhile is such a fault too and soon over, so the first attempts are close together."""

_ALL = 2**62


class Repairer:
    """Repairs the states that are set aside, by the events of one topic.

    `editions` returns the editions to look after, the live one first.
    """

    def __init__(
        self, parts: Parts, topic: Topic, read: ReadOffsets, editions: Callable[[], Sequence[EditionFold]]
    ) -> None:
        self._parts = parts
        self._editions = editions
        self._topic = topic
        self._read = read
        self._blocking: Mapping[EntityKey, Stored] = {}
        self._repairing = _Loop("repairer", self._repair_all, _SOON_S)
        self._unblocking = _Loop("unblocker", self._unblock)

    def start(self) -> None:
        """Start both threads."""
        self._repairing.start()
        self._unblocking.start()

    def look_after(self, aside: Collection[EntityKey]) -> None:
        """Note which states were set aside just now, if any; no state blocks the worker."""
        self._blocking = {}
        if aside:
            self._repairing.wake()

    def unblock(self, blocking: Mapping[EntityKey, Stored]) -> None:
        """Repair these states, which the worker waits for, as it read them."""
        self._blocking = blocking
        self._unblocking.wake()

    def close(self) -> None:
        """End after the work in progress; where that is not awaited, nothing is left half done."""
        self._repairing.close()
        self._unblocking.close()

    def _repair_all(self) -> bool:
        live, *others = self._editions()
        done = [self._repair(live, is_live=True), *(self._repair(other, is_live=False) for other in others)]
        return all(done)

    def _repair(self, edition: EditionFold, *, is_live: bool) -> bool:
        """Rebuild what is set aside; where replicas may not have it, it stays aside and is rebuilt again.

        Returns False where another worker's does it.
        """
        states, log = edition.states, self._parts.log
        if not isinstance(states, OnlineStates) or not isinstance(log, EventLog):
            return True
        # What blocks the worker is being rebuilt already, where it can be.
        blocking = self._blocking if states.guarded else {}
        tokens = {key: token for key, token in states.aside.look().items() if key not in blocking}
        if not tokens:
            return True
        if not states.aside.take_turn():
            return False
        try:
            self._remake(edition, states, log, tokens, is_live=is_live)
        finally:
            states.aside.end_turn()
        return True

    def _remake(
        self,
        edition: EditionFold,
        states: OnlineStates,
        log: EventLog,
        tokens: Mapping[EntityKey, bytes],
        *,
        is_live: bool,
    ) -> None:
        from features.batch.repair import remake  # noqa: PLC0415 - it imports DuckDB, and mostly it need not

        parts = self._parts
        parts.repairs.begin()
        # Another edition than the live one may lack much that is in the log.
        folded = edition.marked() if is_live else {}
        beyond = Beyond(log, parts.plan.schema, self._topic, self._read, folded)
        remake(
            edition.plan,
            states,
            log,
            self._topic.id,
            keys=tokens,
            newer=beyond,
            others=states.unguarded() if is_live else None,
            memory=parts.limits.memory,
        )
        parts.repairs.confirm()
        states.aside.take_back(tokens)
        logger.warning("%d states that were set aside are made anew from log and topic", len(tokens))

    def _unblock(self) -> None:
        """Rebuild what the worker waits for, where it is unchanged.

        Replicas confirm it as they do what is folded onto it: before that, nothing is committed.
        """
        parts, blocking = self._parts, self._blocking
        edition = self._editions()[0]
        live = edition.states
        if not isinstance(live, OnlineStates) or not isinstance(parts.log, EventLog):
            return
        if not live.guarded:
            self._repairing.wake()  # nobody would notice another revision
            return
        states = live.unguarded()
        stored = {
            key: before
            for (key, before), now in zip(blocking.items(), states.read(list(blocking)), strict=True)
            if now == before
        }
        if not stored:
            return
        from features.batch.repair import remake_logged  # noqa: PLC0415 - it imports DuckDB, and mostly it need not

        tokens = states.aside.look()
        # Before the log is read: what was committed until now is in it, and what was not is read again.
        states.inventory.turn_over()
        memory = parts.limits.memory
        made = remake_logged(edition.plan, states, parts.log, self._topic.id, found=stored, memory=memory)
        states.aside.take_back({key: tokens[key] for key in made if key in tokens})
        if made:
            logger.warning("%d states that the worker waited for are made anew from the log", len(made))


class _Loop:
    """Work on a thread of its own: within `soon_s` of a wake-up, every half minute, and again where it fails.

    `work` returns False where another worker does it, and is tried again soon.
    """

    def __init__(self, name: str, work: Callable[[], bool | None], soon_s: float = 0) -> None:
        self._work = work
        self._soon_s = soon_s
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def close(self) -> None:
        self._stop.set()
        self._wake.set()

    def _run(self) -> None:
        wait_s, failing_s = _EVERY_S, 1.0
        while not self._stop.is_set():
            self._wake.wait(wait_s)
            self._wake.clear()
            if self._stop.is_set() or self._stop.wait(jitter(0, self._soon_s)):
                return
            try:
                wait_s = 1.0 if self._work() is False else _EVERY_S
                failing_s = 1.0
            except UnavailableError as error:
                logger.warning("states that are set aside wait: %s", error)
                wait_s = 1.0
            except (EncoreError, OSError) as error:
                logger.error("states that are set aside cannot be made anew: %s", error)
                # Being woken again changes nothing about the log.
                if self._stop.wait(failing_s):
                    return
                wait_s, failing_s = 0, min(2 * failing_s, _LONGEST_S)


class Beyond:
    """The topic's events beyond the log, as of now; called again, those that have arrived since.

    It begins earlier where a partition is `folded` less far than it is logged.
    """

    def __init__(
        self, log: Log, schema: Schema, topic: Topic, read: ReadOffsets, folded: Mapping[int, int] | None = None
    ) -> None:
        self._read = read
        self._suppression = log.suppression
        self._decode, self._fact = EventDecoder(schema), fact_maker(schema)
        source = topic_source(topic.id)
        covered = {number: log.covered(source, number) for number in range(topic.partitions)}
        ends = {number: ranges[-1].stop if ranges else 0 for number, ranges in covered.items()}
        self._next = {number: min(end, (folded or {}).get(number, end)) for number, end in ends.items()}

    def __call__(self) -> list[Sourced]:
        """Return them, in offset order per partition; all of them, or none where Kafka is away."""
        ends = dict(self._next)
        events = [sourced for number in ends for sourced in self._since(number, ends)]
        self._next = ends
        return events

    def _since(self, partition: int, ends: dict[int, int]) -> Iterator[Sourced]:
        for messages in self._read(partition, range(ends[partition], _ALL)):
            for message in messages:
                # Judged at the message's own time, as where the log is filled from the topic.
                event = message.event(self._decode, message.at_us or 0)
                if not isinstance(event, Rejection) and not self._suppression.refuses_event(event, message.at_us):
                    yield Sourced(self._fact(event), partition, message.offset, message.at_us)
            ends[partition] = messages[-1].offset + 1
