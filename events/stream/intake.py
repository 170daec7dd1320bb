"""From messages to states: a message that is no event becomes a dead letter, and all others are folded."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from data.errors import UndecidedError
from data.event import Event, EventDecoder, Rejection
from data.log.event_table import PlacedEvent
from events.kafka.connection import Connection, Message
from events.kafka.patience import patiently
from events.stream.account import Account
from events.stream.editions.folds import Folds
from events.stream.parts import Parts
from events.stream.repairer import Repairer
from features.facts import fact_maker
from features.state.fold import FoldCounts, Settled, Sourced

__all__ = ["Accepted", "Intake"]


class Accepted(NamedTuple):
    """The events among some messages, as facts and for the log; by partition, the offset after the last message."""

    facts: list[Sourced]
    events: list[PlacedEvent]
    ends: dict[int, int]

    def before(self, place: int) -> dict[int, int]:
        """Return, by partition, the offset of the first event from `place` on; where there is none, the end."""
        return {**self.ends, **{sourced.partition: sourced.offset for sourced in reversed(self.facts[place:])}}


class Intake:
    """Takes the messages of one topic. `waits` is called with every error that is waited for."""

    def __init__(  # noqa: PLR0917 - the parts of one session
        self,
        parts: Parts,
        connection: Connection,
        account: Account,
        folds: Folds,
        repairer: Repairer,
        waits: Callable[[Exception], None],
    ) -> None:
        self._waits = waits
        self._letters = connection.letters
        self._schema = parts.plan.schema
        self._suppression = parts.log.suppression
        self._decode, self._fact = EventDecoder(self._schema), fact_maker(self._schema)
        self._folds = folds
        self._account = account
        self._repairer = repairer
        self._clock = parts.clock

    def accept(self, messages: Sequence[Message]) -> Accepted:
        """Check messages, and send those that are no events to the dead letters.

        Messages of people who were forgotten are dropped: only their number is kept, in the account.
        """
        now, suppresses = self._clock(), bool(self._suppression)
        accepted = Accepted([], [], {message.partition: message.offset + 1 for message in messages})
        for message in messages:
            event = message.event(self._decode, now)
            if suppresses and self._is_suppressed(message, event):
                self._account.note_suppressed()
            elif isinstance(event, Rejection):
                self._letters.send(message, event)
                self._account.note_letter(message, event)
            else:
                accepted.facts.append(Sourced(self._fact(event), message.partition, message.offset, message.at_us))
                accepted.events.append(PlacedEvent(message.offset, event, message.at_us))
        return accepted

    def _is_suppressed(self, message: Message, event: Event | Rejection) -> bool:
        """Return whether a message is of a person who was forgotten, also where it is no event."""
        if not isinstance(event, Rejection):
            return self._suppression.refuses_event(event, message.at_us)
        identities = [(self._schema.ordered_by, (message.key or b"").decode(errors="replace"))]
        try:
            fields: Any = msgspec.json.decode(message.value or b"")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            fields = None
        if isinstance(fields, dict):
            identities += [(key, str(fields[key])) for key in self._schema.keys if key in fields]
        return any(self._suppression.refuses(key, value, message.at_us) for key, value in identities)

    def fold(
        self,
        facts: Sequence[Sourced],
        committed: Mapping[int, int | None],
        logged: Mapping[int, int],
        stop: threading.Event,
    ) -> FoldCounts | None:
        """Fold events, waiting for what is unavailable; None where the worker stops before.

        Per partition, offsets before `committed` are not read again (None: all may be), and those before `logged` are
        in the log. Raises what `Fold.apply` does and waiting does not help.
        """
        settled = Settled({number: offset or 0 for number, offset in committed.items()}, logged)
        done: list[FoldCounts] = []
        return done[0] if patiently(lambda: done.append(self._fold_in(facts, settled)), stop, self._waits) else None

    def _fold_in(self, facts: Sequence[Sourced], settled: Settled) -> FoldCounts:
        newest_us = max(sourced.fact.timestamp_us for sourced in facts)
        live, began_s = self._folds.live, time.perf_counter()
        try:
            counts = self._folds.fold(facts, settled)
        except UndecidedError:
            self._account.note_aside(frozenset(live.fold.undecided))
            self._repairer.unblock(live.fold.undecided)
            raise
        live.states.note_event(newest_us)
        self._account.note_folded(facts, counts, newest_us, self._clock(), time.perf_counter() - began_s)
        self._repairer.look_after(counts.aside)
        return counts
