"""One edition of the states as a worker folds into it."""

from collections.abc import Callable, Collection, Mapping, Sequence

from data.errors import UnavailableError, UnsettledError
from data.log.log import Log
from data.log.sources import topic_source
from events.stream.footing import Footing
from features.plan.plan import Plan
from features.state.editions.editions import Marks
from features.state.editions.replay import replay
from features.state.fold import Fold, FoldCounts, Settled, Sourced
from features.state.online.states import OnlineStates
from features.state.states import States

__all__ = ["EditionFold"]


class EditionFold:
    """The states of one edition, and how far each partition of one topic is folded into them (`ends`).

    `marks` keep that for the next worker; None where there are no other editions.
    """

    def __init__(
        self,
        edition: str,
        plan: Plan,
        states: States,
        marks: Marks | None,
        *,
        topic: bytes,
        log: Log,
        waits: Callable[[Exception], None],
    ) -> None:
        self.id = edition
        self.plan = plan
        self.states = states
        self.footing = Footing(states, waits)
        self.fold = Fold(plan, states, topic, store=states if isinstance(states, OnlineStates) else None)
        self.ends: dict[int, int] = {}
        self._marks = marks
        self._topic = topic
        self._log = log
        self.source = topic_source(topic)

    def marked(self) -> dict[int, int]:
        """Return, by partition, the offset before which all is in the states, as last noted."""
        return {} if self._marks is None else self._marks.read(self._topic)

    def mark(self, ends: Mapping[int, int]) -> None:
        """Note, before they are committed, that all events before these offsets are in the states."""
        if self._marks is not None:
            self._marks.write(self._topic, ends)

    def replay(self, partition: int, offsets: range, *, watch: bool) -> int:
        """Fold events of the log; fences skip those that are in the states. Return how many there were."""
        batches = replay(
            self.fold,
            self._log,
            states=self.states,
            schema=self.plan.schema,
            topic=self._topic,
            partition=partition,
            offsets=offsets,
            watch=watch,
        )
        return sum(map(len, batches))

    def follow(
        self,
        events: Sequence[Sourced],
        counts: FoldCounts,
        partitions: Collection[int],
        settled: Settled,
        *,
        watch: bool,
    ) -> None:
        """Fold what another edition's fold has just taken, without its repeats, of these partitions.

        Raises what `Fold.apply` does; the place of an UnsettledError is that among `events`.
        """
        places = [
            place
            for place, sourced in enumerate(events)
            if sourced.partition in partitions and place not in counts.repeats
        ]
        followed = [events[place] for place in places]
        if followed:
            try:
                self.fold.apply(followed, watch=watch, logged=True, settled=settled)
            except UnsettledError as error:
                raise UnsettledError(places[error.place]) from error
            self.states.note_event(max(sourced.fact.timestamp_us for sourced in followed))

    def require_logged(self, partition: int, end: int) -> None:
        """Raise UnavailableError where the log does not reach to an offset yet."""
        covered = self._log.covered(self.source, partition)
        if not covered or covered[-1].stop < end:
            raise UnavailableError(f"event log: {self.source} partition {partition} does not reach to {end} yet")
