"""`encore late`: served scores that events would have changed which arrived later but happened before the answer."""

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
    """An answer that late events would have changed: `score` was served, `would` is the score with them.

    `events` is the number of earlier events that were in no state that it read. `decides` is whether the decision at
    its threshold would differ. `features` are those that differ: the served value, and the value with the events.
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
    """The number of examined answers, those that late events would have changed (largest change first), and the others.

    `touched` answers had late events, and `changed` have another score. `unclear` ones could not be recomputed.
    """

    answers: int
    touched: int
    changed: list[LateAnswer]
    unclear: int

    @property
    def mean_change(self) -> float:
        """The mean absolute change of a score, over all recomputed answers."""
        clear = self.answers - self.unclear
        return sum(abs(answer.would - answer.score) for answer in self.changed) / clear if clear else 0.0

    @property
    def decided(self) -> int:
        """Number of answers whose decision would have differed."""
        return sum(answer.decides for answer in self.changed)


def find_late(settings: Settings, answers: Sequence[Answered], progress: Progress) -> Late:
    """Return which of the answers late events would have changed. Raises DataError if the log is unreadable."""
    retraced, _ = retrace(settings, answers, progress, listed=True)
    recomputed = [result for result in retraced.values() if result.replayed.same]
    progress(f"looking for events that came after {len(recomputed):,} answers")
    touched, values, counts = [], [], []
    for result in recomputed:
        late = _late(result)
        if any(late):
            touched.append(result.traced)
            values.append(result.traced.values(_with(result, late)))
            counts.append(len({(e.source, e.partition, e.offset) for events in late for e in events}))
    changed = []
    for traced, inputs, would, count in zip(touched, values, scores_of(touched, values), counts, strict=True):
        answered = traced.answered
        if would != answered.score:
            named = zip(traced.predictor.features, inputs, strict=True)
            features = {
                name: (answered.features[name], value) for name, value in named if answered.features[name] != value
            }
            changed.append(
                LateAnswer(
                    id=answered.id,
                    at_us=answered.at_us,
                    target=answered.target,
                    model=answered.model,
                    score=answered.score,
                    would=would,
                    events=count,
                    decides=(would >= answered.threshold) != (answered.score >= answered.threshold),
                    features=features,
                )
            )
    changed.sort(key=lambda change: -abs(change.would - change.score))
    return Late(answers=len(answers), touched=len(touched), changed=changed, unclear=len(answers) - len(recomputed))


def _late(result: Retraced) -> list[list[Logged]]:
    """Return, for each entity that was read, the events until the as-of time that were missing in its state."""
    at_us = result.traced.answered.at_us
    return [
        [event for event in result.past.events(key, fence)[1] if event.fact.timestamp_us <= at_us]
        for key, fence in zip(result.traced.keys, result.traced.fences, strict=True)
    ]


def _with(result: Retraced, late: Sequence[Sequence[Logged]]) -> list[State | None]:
    """Return the states that were read, with these events added."""
    states = result.traced.states(result.past)
    for place, events in enumerate(late):
        algebra = Algebra(result.traced.plan.of(result.traced.keys[place].entity))
        state = states[place] or algebra.empty()
        for event in events:
            algebra.update(state, event.fact, event.distincts)
            states[place] = state
    return states
