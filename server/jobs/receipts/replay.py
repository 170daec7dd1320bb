"""`encore replay`: recomputes features and scores of answers from the event log, as of the states that they read."""

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
    """A state that an answer read: it held its entity's events before a topic, and the topic's up to `offsets`.

    `topic` is the topic's id in hexadecimal digits, and `offsets` has the last offset of each partition; both are empty
    if the entity had no events.
    """

    entity: str
    topic: str
    offsets: dict[int, int]


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """An answer compared with its recomputation: `same` if the score and every feature are equal to the last bit.

    `sha256` is the model's hash, `read` are the states that were read, and `last_event_us` is the time of the newest
    event in them. `score` was served, `again` is recomputed (None: impossible). `differing` are features with their
    served and recomputed values. `note` says why it is not the same.
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
    """A recomputed answer, its origins, and the past of the entities that it read."""

    replayed: Replayed
    traced: Traced
    past: Past


def replay(settings: Settings, answers: Sequence[Answered], progress: Progress) -> list[Replayed]:
    """Return each answer compared with its recomputation, in order. Raises DataError if the log is unreadable."""
    retraced, failures = retrace(settings, answers, progress)
    return [
        retraced[answer.id].replayed if answer.id in retraced else _replayed_answer(answer, note=failures[answer.id])
        for answer in answers
    ]


def retrace(
    settings: Settings, answers: Sequence[Answered], progress: Progress, *, listed: bool = False
) -> tuple[dict[str, Retraced], dict[str, str]]:
    """Recompute answers; return them, and the reasons for those that cannot be, both by id; `listed` as for `Past`.

    Raises DataError if the log is unreadable.
    """
    pending, failures = Origins(settings).trace_all(answers)
    retraced: dict[str, Retraced] = {}
    # A history imported after its topic is contained in states made since then, but in no fence.
    for later in (False, True):
        if not pending:
            break
        progress(f"reading the events that {len(pending):,} answers were made of")
        pasts = read_past(settings, pending, listed=listed, later=later)
        progress(f"computing {len(pending):,} answers")
        results = _replayed(pending, pasts)
        retraced |= {result.traced.answered.id: result for result in results if result.replayed.same or not later}
        pending = [result.traced for result in results if not result.replayed.same and result.past.has_later_histories]
    return retraced, failures


def _replayed(traced: Sequence[Traced], pasts: Mapping[str, Past]) -> list[Retraced]:
    values = [origin.values(origin.states(pasts[origin.receipt.plan])) for origin in traced]
    return [
        Retraced(_compared(origin, inputs, score, pasts[origin.receipt.plan]), origin, pasts[origin.receipt.plan])
        for origin, inputs, score in zip(traced, values, scores_of(traced, values), strict=True)
    ]


def _compared(origin: Traced, values: tuple[Value, ...], score: float, past: Past) -> Replayed:
    served = origin.answered.features
    computed = dict(zip(origin.predictor.features, values, strict=True))
    differing = {
        name: (served.get(name), computed.get(name))
        for name in (*computed, *(served.keys() - computed.keys()))
        if served.get(name) != computed.get(name)
    }
    if not differing and score != origin.answered.score:
        [score] = scores_of([origin], [values])  # some runtimes sum in another order if a call has one row
    same = not differing and score == origin.answered.score
    note = "" if same else _why(origin, past, bool(differing))
    return _replayed_answer(origin.answered, again=score, same=same, differing=differing, note=note)


def _why(origin: Traced, past: Past, differs: bool) -> str:
    """Return, in words, why a recomputed score differs from the served one."""
    missing = dict.fromkeys(past.lacks(fence) for fence in origin.fences if fence is not None)
    if reasons := "; ".join(filter(None, missing)):
        return reasons
    if differs:
        return "the log gives other features: its events were changed since, or the states were not the log's"
    return "the features are the same, and the model scores them otherwise: this machine or ONNX Runtime is another"


def _replayed_answer(
    answered: Answered,
    *,
    again: float | None = None,
    same: bool = False,
    differing: dict[str, tuple[Value, Value]] | None = None,
    note: str = "",
) -> Replayed:
    receipt = answered.receipt
    origin_fields: dict[str, Any] = {}
    if receipt is not None:
        read = zip(receipt.entities, map(Fence.decode_or_new, receipt.fences), strict=False)
        origin_fields = {
            "sha256": receipt.sha256,
            "plan": receipt.plan,
            "read": [StateRead(entity=name, topic=fence.topic.hex(), offsets=fence.offsets) for name, fence in read],
            "last_event_us": receipt.last_event_us,
        }
    return Replayed(
        **origin_fields,
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
