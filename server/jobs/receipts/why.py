"""`encore why`: the events behind a feature's value, and the changes since an earlier answer of the same pair."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from data.errors import ConfigurationError, DataError
from features.facts import Fact
from features.past.past import Logged, Past
from features.plan.describe import describe
from features.plan.plan import Aggregate, Borrowed, EntityPlan, Feature, Plan, Window, parts_of
from features.state.algebra import Algebra, State
from features.state.values import Value
from model.rows import float32_rows
from server.jobs.build import Progress
from server.jobs.receipts.answered import Answered
from server.jobs.receipts.origins import Then, Traced
from server.jobs.receipts.replay import Replayed, retrace
from server.scoring.inputs import Inputs
from server.settings import Settings

__all__ = ["Cause", "Change", "FeatureCauses", "Since", "Why", "explain_answer"]

_TOP = 5
"""Number of features explained by default: those with the largest contributions."""

_MOST = 2_000
"""Number of an entity's newest events that are left out one by one; older ones are only counted."""


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """An event that affects a value. `without` is the value without the event."""

    entity: str
    event_id: str
    event_type: str
    at_us: int
    source: str
    partition: int
    offset: int
    event: dict[str, Any]
    without: Value


class FeatureCauses(msgspec.Struct, frozen=True, kw_only=True):
    """A feature's value, its description, its contribution to the log-odds, and the events behind it, newest first.

    `considered` is the number of events of its kind in its window. `value` is None and `contribution` 0 if the model
    does not have the feature.
    """

    feature: str
    description: str
    value: Value
    contribution: float
    considered: int
    causes: list[Cause]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A feature whose value differs from the earlier answer's; `events` of its kind came in between.

    Without such events, it changed by the passing of time: windows move, and recency grows.
    """

    feature: str
    before: Value
    after: Value
    events: int


class Since(msgspec.Struct, frozen=True, kw_only=True):
    """Changes since an earlier answer about the same: its score, model, plan, and the features that differ.

    `events` are those added to the states in between, newest first.
    """

    id: str
    score: float
    model: str
    plan: str
    changes: list[Change]
    events: list[Cause]


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """Why an answer was what it was."""

    answer: Replayed
    features: list[FeatureCauses]
    since: Since | None = None


class _Need(NamedTuple):
    """An aggregate that a feature is computed from, with its entity and window."""

    entity: str
    aggregate: Aggregate
    window: Window | None


def explain_answer(
    settings: Settings,
    answered: Answered,
    progress: Progress,
    *,
    feature: str | None = None,
    since: Answered | None = None,
) -> Why:
    """Return the events behind a feature of an answer, by default behind those with the largest contributions.

    Raises ConfigurationError for an unknown feature or an earlier answer about something else; DataError if the answer
    cannot be recomputed.
    """
    if since is not None and (since.named, since.target) != (answered.named, answered.target):
        raise ConfigurationError(
            f"--since {since.id}: it is about {_words(since)}, and {answered.id} about {_words(answered)}"
        )
    answers = [answered] if since is None else [answered, since]
    retraced_answers, failures = retrace(settings, answers, progress, listed=True)
    for answer in answers:
        if answer.id in failures:
            raise DataError(f"prediction {answer.id}: {failures[answer.id]}")
    retraced = retraced_answers[answered.id]
    traced, past = retraced.traced, retraced.past
    shares = _shares(traced)
    names = [feature] if feature is not None else sorted(shares, key=lambda name: -abs(shares[name]))[:_TOP]
    plan_features = {plan_feature.name: plan_feature for plan_feature in traced.plan.features}
    if unknown := [name for name in names if name not in plan_features]:
        raise ConfigurationError(
            f"no feature of the plan {traced.receipt.plan} is called {', '.join(unknown)}; `encore features` "
            "lists those of the present one"
        )
    return Why(
        answer=retraced.replayed,
        features=[_causes(traced, past, plan_features[name], shares.get(name, 0.0)) for name in names],
        since=None if since is None else _since(traced, past, retraced_answers[since.id].traced),
    )


def _words(answered: Answered) -> str:
    return f"{answered.target} of {' × '.join(filter(None, answered.named.values()))}"


def _shares(traced: Traced) -> dict[str, float]:
    """Return the contribution of each of the model's inputs to the log-odds."""
    features = traced.predictor.features
    row = float32_rows([[traced.answered.features.get(name) for name in features]])
    return dict(zip(features, traced.predictor.explain(row).contributions[0].tolist(), strict=True))


def _causes(traced: Traced, past: Past, feature: Feature, share: float) -> FeatureCauses:
    plan, at_us = traced.plan, traced.answered.at_us
    inputs = Inputs(plan, (feature.name,))
    keys = inputs.keys_of(traced.answered.named)
    fences = dict(zip(traced.keys, traced.fences, strict=True))
    needs = list(_needs(plan, feature))
    if unread := {need.entity for need in needs} - {key.entity for key in fences}:
        raise ConfigurationError(
            f"{feature.name}: the answer's model has no feature of {', '.join(sorted(unread))}, so no state of it "
            "was read"
        )
    states = [past.state(key, fence) if (fence := fences.get(key)) is not None else None for key in keys]
    entities = {plan.of(key.entity).entity: Algebra(plan.of(key.entity)) for key in keys}
    floors = [
        max(at_us, entities[key.entity].last_event(state) or 0) if state is not None else at_us
        for key, state in zip(keys, states, strict=True)
    ]

    def value(chosen: Sequence[State | None]) -> Value:
        values = inputs.of_entities([Then(state, floor) for state, floor in zip(chosen, floors, strict=True)], at_us)
        [computed] = inputs.of_question(values, traced.receipt.measures, at_us)
        return computed

    causes, considered = [], 0
    for place, key in enumerate(keys):
        key_needs = [need for need in needs if need.entity == key.entity]
        algebra = entities[key.entity]
        logged, _ = past.events(key, fences.get(key))
        events = [
            event for event in logged if any(_meets(event, need, algebra.plan, floors[place]) for need in key_needs)
        ]
        events.sort(key=lambda event: event.fact.timestamp_us)
        considered += len(events)
        for event, state in _without_each(algebra, events):
            other = value([*states[:place], state, *states[place + 1 :]])
            causes.append(_cause(key.entity, event, other))
    actual = value(states)
    effective = [cause for cause in causes if cause.without != actual]
    effective.sort(key=lambda cause: -cause.at_us)
    return FeatureCauses(
        feature=feature.name,
        description=describe(feature, plan.schema),
        value=actual,
        contribution=share,
        considered=considered,
        causes=effective,
    )


def _without_each(algebra: Algebra, events: Sequence[Logged]) -> Iterator[tuple[Logged, State]]:
    """Yield each of the newest events with the state of all other events. Each costs one merge of two states."""
    before = algebra.empty()
    for event in events[:-_MOST]:
        algebra.update(before, event.fact, event.distincts)
    newest, rest = events[-_MOST:], algebra.empty()
    after = [algebra.encode(rest)][: len(newest)]
    for event in reversed(newest[1:]):
        algebra.update(rest, event.fact, event.distincts)
        after.append(algebra.encode(rest))
    for event, data in zip(newest, reversed(after), strict=True):
        yield event, algebra.merge(before, algebra.decode(data))
        algebra.update(before, event.fact, event.distincts)


def _since(traced: Traced, past: Past, earlier: Traced) -> Since:
    before, after = earlier.answered, traced.answered
    fences = dict(zip(earlier.keys, earlier.fences, strict=True))
    new: dict[str, list[Logged]] = {}
    for key, fence in zip(traced.keys, traced.fences, strict=True):
        earlier_offsets = {(e.source, e.partition, e.offset) for e in past.events(key, fences.get(key))[0]}
        logged, _ = past.events(key, fence)
        new[key.entity] = [
            event for event in logged if (event.source, event.partition, event.offset) not in earlier_offsets
        ]
    features = {feature.name: feature for feature in traced.plan.features}
    changes = []
    for name, value in after.features.items():
        if name in before.features and before.features[name] != value:
            needs = list(_needs(traced.plan, features[name]))
            came = {
                (event.source, event.partition, event.offset)
                for need in needs
                for event in new.get(need.entity, ())
                if _meets(event, need, traced.plan.of(need.entity), after.at_us)
            }
            changes.append(Change(feature=name, before=before.features[name], after=value, events=len(came)))
    events = {
        (event.source, event.partition, event.offset): _cause(entity, event, None)
        for entity, entity_events in reversed(new.items())
        for event in entity_events
    }
    return Since(
        id=before.id,
        score=before.score,
        model=before.model,
        plan=earlier.receipt.plan,
        changes=changes,
        events=sorted(events.values(), key=lambda cause: -cause.at_us),
    )


def _cause(entity: str, event: Logged, without: Value) -> Cause:
    fields = dict(zip(event.fact._fields, event.fact, strict=True))
    common_fields = {name: fields.pop(name) for name in ("event_id", "event_type", "timestamp_us")}
    return Cause(
        entity=entity,
        event_id=common_fields["event_id"],
        event_type=common_fields["event_type"],
        at_us=common_fields["timestamp_us"],
        source=event.source,
        partition=event.partition,
        offset=event.offset,
        event=fields,
        without=without,
    )


def _needs(plan: Plan, feature: Feature) -> Iterator[_Need]:
    """Yield the aggregates that a feature is computed from, for a request feature through those that it borrows."""
    owners = {owned.name: entity.entity for entity in plan.entities for owned in entity.features}
    if feature.name in owners:
        for aggregate, window in _aggregates(feature.expression, None):
            yield _Need(owners[feature.name], aggregate, window)
        return
    features = {plan_feature.name: plan_feature for plan_feature in plan.features}
    for part in parts_of(feature.expression):
        if isinstance(part, Borrowed):
            yield from _needs(plan, features[part.feature])


def _aggregates(expression: Any, window: Window | None) -> Iterator[tuple[Aggregate, Window | None]]:
    if isinstance(expression, Aggregate):
        yield expression, window
        return
    window = getattr(expression, "window", window)
    for name in getattr(expression, "__struct_fields__", ()):
        if name != "window":
            yield from _aggregates(getattr(expression, name), window)


def _meets(event: Logged, need: _Need, plan: EntityPlan, now_us: int) -> bool:
    """Return whether an event matches the aggregate's conditions, and is in its window at a time, µs."""
    fact: Fact = event.fact
    if not all(getattr(fact, condition.column) in condition.values for condition in need.aggregate.where):
        return False
    if need.aggregate.kind == "distinct" and plan.slots.index(need.aggregate) not in event.distincts:
        return False
    if need.window is None:
        return True
    hop_us = need.window.hop_us
    age = now_us // hop_us - fact.timestamp_us // hop_us
    return 0 <= age < need.window.tiles
