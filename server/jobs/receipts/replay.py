"""`encore replay`: features and scores of answers, computed again from the event log as of what was read."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from features.past.past import Past
from features.state.fence import Fence
from features.state.values import Value
from server.jobs.build import Progress
from server.jobs.receipts.answered import Answered
from server.jobs.receipts.origins import Origins, Traced, read_past, scores_of
from server.settings import Settings

__all__ = ["Replayed", "Retraced", "StateRead", "replay", "retrace"]


class StateRead(msgspec.Struct, frozen=True, kw_only=True):
    """A state that an answer read: which events of its entity were in it, all of before a topic, and of that so far.

    `topic` is the topic's id in hexadecimal digits and `offsets` the last one of each partition; both are empty where
    the entity had no events.
    """

    entity: str
    topic: str
    offsets: dict[int, int]


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """An answer beside what the log gives: `same` where score and every feature are equal to the last bit.

    `sha256` is the model's, `read` are the states that were read, and `last_event_us` is the newest event in them.
    `score` was given, `again` is computed (None: it cannot be). `differing` are features with the value that was given
    and the computed one. `note` says why it is not the same.
    """

    id: str
    at_us: int
    target: str
    model: str
    sha256: str = ""
    plan: str = ""
    read: list[StateRead] = []
    last_event_us: int = 0
    score: float
    again: float | None = None
    same: bool = False
    differing: dict[str, tuple[Value, Value]] = {}
    note: str = ""


class Retraced(NamedTuple):
    """An answer that was computed again, what it was made of, and what the log says of that."""

    replayed: Replayed
    traced: Traced
    past: Past


def replay(settings: Settings, answers: Sequence[Answered], progress: Progress) -> list[Replayed]:
    """Return each answer beside what the log gives, in their order. Raises DataError where the log cannot be read."""
    found, gone = retrace(settings, answers, progress)
    return [found[one.id].replayed if one.id in found else _beside(one, note=gone[one.id]) for one in answers]


def retrace(
    settings: Settings, answers: Sequence[Answered], progress: Progress, *, listed: bool = False
) -> tuple[dict[str, Retraced], dict[str, str]]:
    """Compute answers again; of those that cannot be, say why. Both by id; `listed` as of `Past`.

    Raises DataError where the log cannot be read.
    """
    waiting, gone = Origins(settings).trace_all(answers)
    found: dict[str, Retraced] = {}
    # A history that came into the log after its topic is in the states that were made since, and in no fence.
    for later in (False, True):
        if not waiting:
            break
        progress(f"reading the events that {len(waiting):,} answers were made of")
        pasts = read_past(settings, waiting, listed=listed, later=later)
        progress(f"computing {len(waiting):,} answers")
        tried = _replayed(waiting, pasts)
        found |= {one.traced.answered.id: one for one in tried if one.replayed.same or not later}
        waiting = [one.traced for one in tried if not one.replayed.same and one.past.has_later_histories]
    return found, gone


def _replayed(traced: Sequence[Traced], pasts: Mapping[str, Past]) -> list[Retraced]:
    values = [one.values(one.states(pasts[one.receipt.plan])) for one in traced]
    return [
        Retraced(_compared(one, of, score, pasts[one.receipt.plan]), one, pasts[one.receipt.plan])
        for one, of, score in zip(traced, values, scores_of(traced, values), strict=True)
    ]


def _compared(one: Traced, values: tuple[Value, ...], score: float, past: Past) -> Replayed:
    given = one.answered.features
    computed = dict(zip(one.predictor.features, values, strict=True))
    differing = {
        name: (given.get(name), computed.get(name))
        for name in (*computed, *(given.keys() - computed.keys()))
        if given.get(name) != computed.get(name)
    }
    if not differing and score != one.answered.score:
        [score] = scores_of([one], [values])  # some runtimes sum in another order where a call has one row
    same = not differing and score == one.answered.score
    note = "" if same else _why(one, past, bool(differing))
    return _beside(one.answered, again=score, same=same, differing=differing, note=note)


def _why(one: Traced, past: Past, differs: bool) -> str:
    """Return, in words, why a score is not computed as it was given."""
    lacking = dict.fromkeys(past.lacks(fence) for fence in one.fences if fence is not None)
    if told := "; ".join(filter(None, lacking)):
        return told
    if differs:
        return "the log gives other features: its events were changed since, or the states were not the log's"
    return "the features are the same, and the model scores them otherwise: this machine or ONNX Runtime is another"


def _beside(
    answered: Answered,
    *,
    again: float | None = None,
    same: bool = False,
    differing: dict[str, tuple[Value, Value]] | None = None,
    note: str = "",
) -> Replayed:
    receipt = answered.receipt
    made_of: dict[str, Any] = {}
    if receipt is not None:
        read = zip(receipt.entities, map(Fence.decode_or_new, receipt.fences), strict=False)
        made_of = {
            "sha256": receipt.sha256,
            "plan": receipt.plan,
            "read": [StateRead(entity=name, topic=of.topic.hex(), offsets=of.offsets) for name, of in read],
            "last_event_us": receipt.last_event_us,
        }
    return Replayed(
        **made_of,
        id=answered.id,
        at_us=answered.at_us,
        target=answered.target,
        model=answered.model,
        score=answered.score,
        again=again,
        same=same,
        differing=differing or {},
        note=note,
    )
