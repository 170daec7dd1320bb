"""`encore late`: served scores that events would have changed which came after the answer and were of before it."""

from collections.abc import Sequence

import msgspec

from features.past.past import Logged
from features.state.algebra import Algebra, State
from features.state.values import Value
from server.jobs.build import Progress
from server.jobs.receipts.answered import Answered
from server.jobs.receipts.origins import scores_of
from server.jobs.receipts.replay import Retraced, retrace
from server.settings import Settings

__all__ = ["Late", "LateAnswer", "find_late"]


class LateAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that late events would have changed: `score` was given, `would` is that with them.

    `events` of before the answer were in no state that it read. `decides` is whether the answer would have been another
    one at its threshold. `features` are those that differ, with the value that was given and the one with the events.
    """

    id: str
    at_us: int
    target: str
    model: str
    score: float
    would: float
    events: int
    decides: bool
    features: dict[str, tuple[Value, Value]]


class Late(msgspec.Struct, frozen=True, kw_only=True):
    """Answers that were looked at, those that late events would have changed (the most changed first), and the others.

    `touched` answers had late events, and `changed` are those of another score. `unclear` could not be computed again.
    """

    answers: int
    touched: int
    changed: list[LateAnswer]
    unclear: int

    @property
    def mean_change(self) -> float:
        """The mean absolute change of a score, over all answers that could be computed again."""
        clear = self.answers - self.unclear
        return sum(abs(one.would - one.score) for one in self.changed) / clear if clear else 0.0

    @property
    def decided(self) -> int:
        """How many answers would have been another yes or no."""
        return sum(one.decides for one in self.changed)


def find_late(settings: Settings, answers: Sequence[Answered], progress: Progress) -> Late:
    """Return which of the answers late events would have changed. Raises DataError where the log cannot be read."""
    found, _ = retrace(settings, answers, progress, listed=True)
    clear = [one for one in found.values() if one.replayed.same]
    progress(f"looking for events that came after {len(clear):,} answers")
    touched, values, counts = [], [], []
    for one in clear:
        late = _late(one)
        if any(late):
            touched.append(one.traced)
            values.append(one.traced.values(_with(one, late)))
            counts.append(len({(e.source, e.partition, e.offset) for events in late for e in events}))
    changed = []
    for traced, of, would, count in zip(touched, values, scores_of(touched, values), counts, strict=True):
        given = traced.answered
        if would != given.score:
            named = zip(traced.predictor.features, of, strict=True)
            features = {name: (given.features[name], value) for name, value in named if given.features[name] != value}
            changed.append(
                LateAnswer(
                    id=given.id,
                    at_us=given.at_us,
                    target=given.target,
                    model=given.model,
                    score=given.score,
                    would=would,
                    events=count,
                    decides=(would >= given.threshold) != (given.score >= given.threshold),
                    features=features,
                )
            )
    changed.sort(key=lambda one: -abs(one.would - one.score))
    return Late(answers=len(answers), touched=len(touched), changed=changed, unclear=len(answers) - len(clear))


def _late(one: Retraced) -> list[list[Logged]]:
    """Return, of each entity that was read, the events of up to the time asked about that its state did not hold."""
    at_us = one.traced.answered.at_us
    return [
        [event for event in one.past.events(key, fence)[1] if event.fact.timestamp_us <= at_us]
        for key, fence in zip(one.traced.keys, one.traced.fences, strict=True)
    ]


def _with(one: Retraced, late: Sequence[Sequence[Logged]]) -> list[State | None]:
    """Return the states that were read, with these events too."""
    states = one.traced.states(one.past)
    for place, events in enumerate(late):
        algebra = Algebra(one.traced.plan.of(one.traced.keys[place].entity))
        state = states[place] or algebra.empty()
        for event in events:
            algebra.update(state, event.fact, event.distincts)
            states[place] = state
    return states
