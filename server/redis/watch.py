"""Whether the stream makes progress and the store is complete, for `/health`, `encore status` and the console."""

from collections.abc import Sequence
from typing import NamedTuple

import redis

from data.errors import EncoreError, StateError
from data.log.log import Log
from data.log.sources import is_topic
from data.schema import Schema
from events.stream.heartbeat import Heartbeats, WorkerStatus
from events.stream.liveness import stream_problems
from features.state.editions.editions import Editions
from features.state.editions.standing import Edition
from features.state.online.states import OnlineStates
from features.state.states import EntityKey

__all__ = ["Look", "Watch"]


_MOST_ASIDE = 1_000
"""The most unreadable states that are listed."""


class Look(NamedTuple):
    """State of stream and store.

    The newest event's time, `newest_us` (None before the first); the live `workers`; `problems` in words, without
    entity ids; entities some of whose states may be missing (`doubtful`); unreadable states, set `aside` until they
    are rebuilt.
    """

    newest_us: int | None
    workers: Sequence[WorkerStatus]
    problems: Sequence[str]
    doubtful: Sequence[str]
    aside: Sequence[EntityKey]


class Watch:
    """Watches one store. The files of the event log tell whether anything was ever folded."""

    def __init__(self, client: "redis.Redis", log: Log, project: str, schema: Schema) -> None:
        self._editions = Editions(client, project)
        self._schema = schema
        self._heartbeats = Heartbeats(client, project)
        self._log = log
        self._was_filled = False

    def look(self) -> Look:
        """Return the present state. Raises UnavailableError without Redis; a refused command is a problem."""
        states, problems = self._states()
        newest_us = states.newest_event()  # raises if Redis is away
        workers: Sequence[WorkerStatus] = ()
        aside: Sequence[EntityKey] = ()
        doubtful: Sequence[str] = ()
        try:
            workers = self._heartbeats.all()
            problems += stream_problems(self._heartbeats, workers)
            aside = list(states.aside.look(_MOST_ASIDE))
            if aside:
                more = " or more" if len(aside) == _MOST_ASIDE else ""
                problems.append(
                    f"store: {len(aside):,}{more} states are set aside, for one of them could not be read; a worker "
                    "makes them anew from the event log"
                )
            stock = states.inventory.look()
            sources = [] if stock.expected else [one for one in self._log.sources() if self._log.coverage(one)]
            # A new store has no inventory before the first events are folded.
            self._was_filled = self._was_filled or bool(stock.expected) or bool(sources)
            if self._was_filled:
                # Where only histories were logged, the states may not have been made yet: while `encore up` trains.
                never = bool(sources) and not any(map(is_topic, sources))
                more = "; if the history's states were never made, run `encore materialize`" if never else ""
                problems += [f"store: {problem}{more}" for problem in stock.problems()]
                doubtful = stock.doubtful
        except (EncoreError, redis.RedisError, OSError) as error:
            problems.append(f"store: {error}")
        return Look(newest_us, workers, problems, doubtful, aside)

    def _states(self) -> tuple[OnlineStates, list[str]]:
        """Return the live states, and problems with the record of editions in Redis."""
        problems: list[str] = []
        try:
            if (live := self._editions.live()) is not None:
                return self._editions.open(live).states, problems
        except StateError as error:
            problems.append(f"store: {error}")
        return self._editions.states(Edition(), self._schema), problems
