"""One question, asked on every path: Featuretools, DuckDB over the log, and folded states."""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from event_streams import TOPIC, Placed, as_log, batches, sourced, timeline

from data.log.event_log import EventLog
from features.batch.engine import DuckDBEngine
from features.entities import Entity
from features.plan.plan import Deviation, Difference, Feature, Plan, Slope
from features.state.algebra import State
from features.state.fence import Fence
from features.state.fold import Fold
from features.state.states import EntityKey, States
from features.state.values import EntityValues, Value

__all__ = [
    "Question",
    "Values",
    "assert_equal",
    "batch_values",
    "events_frame",
    "everything",
    "fold_all",
    "keys_of",
    "state_values",
    "unknown",
]

Values = dict[EntityKey, dict[str, Value]]


class Question(NamedTuple):
    """Events, and when features of their entities are asked."""

    plan: Plan
    placed: list[Placed]
    at_us: int

    @property
    def seen(self) -> list[Placed]:
        """The events up to then."""
        return [one for one in self.placed if one.event.timestamp_us <= self.at_us]


def keys_of(entity: Entity, placed: Sequence[Placed]) -> list[EntityKey]:
    """Every entity of a kind that the events name, one that they cross but never pair, and one that is unknown."""
    found = [tuple(getattr(one.event, key) for key in entity.join_keys) for one in placed]
    crossed = tuple(getattr(placed[place].event, key) for place, key in zip((0, -1), entity.join_keys, strict=False))
    named = [ids for ids in (*found, crossed) if all(ids)]
    return [EntityKey(entity.name, ids) for ids in dict.fromkeys([*named, unknown(entity)])]


def unknown(entity: Entity) -> tuple[str, ...]:
    """An entity that no event names."""
    return tuple(f"no {key}" for key in entity.join_keys)


def events_frame(placed: Sequence[Placed]) -> pd.DataFrame:
    """The events as the oracle takes them."""
    fields = [name for name in placed[0].event.__struct_fields__ if name not in {"timestamp", "session_id", "metadata"}]
    rows = [{name: getattr(one.event, name) for name in fields} for one in placed]
    return pd.DataFrame(rows).assign(timestamp=pd.to_datetime([one.event.timestamp for one in placed], utc=True))


def fold_all(plan: Plan, placed: Sequence[Placed], states: States, seed: int, topic: bytes = TOPIC) -> None:
    """Fold them as they would come: shuffled partitions, ranges again, restarts (a new Fold)."""
    chance = random.Random(seed)
    fold = Fold(plan, states, topic)
    for batch in batches(placed, chance.randrange):
        fold.apply(sourced(batch, plan.schema))
        if chance.random() < 0.2:
            fold = Fold(plan, states, topic)


def state_values(question: Question, states: States, seed: int) -> Values:
    """Forget all states, fold the events seen, and read as of the time asked."""
    states.clear()
    fold_all(question.plan, question.seen, states, seed)
    answers: Values = {}
    for entity in question.plan.schema.entities:
        values = EntityValues(question.plan.of(entity.name))
        keys = keys_of(entity, question.placed)
        for key, stored in zip(keys, states.read(keys), strict=True):
            state = values.algebra.decode(stored.state) if stored.state else None
            answers[key] = dict(zip(values.names, values.get(state, question.at_us), strict=True))
    return answers


def batch_values(questions: Sequence[Question], folder: Path) -> list[Values]:
    """Values over a log of the events, all questions (of the same events) in one spine."""
    plan, placed, _ = questions[0]
    log = as_log(EventLog(folder, plan.schema), placed)
    answers: list[Values] = [{} for _ in questions]
    with DuckDBEngine(log, threads=1) as engine:
        for entity in plan.schema.entities:
            asked = [(n, key, q.at_us) for n, q in enumerate(questions) for key in keys_of(entity, placed)]
            spine = pd.DataFrame([key.ids for _, key, _ in asked], columns=list(entity.join_keys))
            spine["time_us"] = [at for _, _, at in asked]
            names = [feature.name for feature in plan.of(entity.name).features]
            rows = engine.values(plan, entity.name, spine, names).to_pylist()
            for (number, key, _), row in zip(asked, rows, strict=True):
                answers[number][key] = row
    return answers


def assert_equal(question: Question, paths: dict[str, Values]) -> None:
    """All paths give the same: integers and nulls exactly, floats within 1e-9; else the timeline says why not."""
    (first, expected), *others = paths.items()
    features = {feature.name: feature for feature in question.plan.features}
    measures = [measure.name for measure in question.plan.schema.measures]
    scale = max((abs(getattr(one.event, name)) for one in question.placed for name in measures), default=0)
    for other, answers in others:
        for key, values in expected.items():
            assert list(values) == list(answers[key]), (first, other, key)
            for name, value in values.items():
                loose = "oracle" in (first, other)
                if not _same(value, answers[key][name], features[name], scale, loose):
                    raise AssertionError(
                        f"{name} of {key.ids!a}: {first} says {value!r}, {other} says {answers[key][name]!r}"
                        + timeline(question.placed, question.at_us)
                    )


def _same(left: Value, right: Value, feature: Feature, scale: float, loose: bool) -> bool:
    if left is None or right is None or feature.type == "int":
        return left == right and type(left) is type(right)
    match feature.expression:
        case Deviation():
            # Of equal amounts it is 0, where engines that sum floats are some last digits of the amounts away.
            return math.isclose(left, right, rel_tol=1e-9, abs_tol=scale * 1e-15)
        case Difference() if loose:
            # Featuretools sums floats, which cancel.
            return math.isclose(left, right, rel_tol=1e-9, abs_tol=scale * 1e-13)
        case Slope() if loose:
            # Featuretools measures time in floats that are 0.2 µs apart, so its own slope is that far off.
            return math.isclose(left, right, rel_tol=1e-4, abs_tol=scale * 1e-9)
    return math.isclose(left, right, rel_tol=1e-9)


def everything(plan: Plan, states: States, placed: Sequence[Placed]) -> dict[EntityKey, tuple[State, Fence]]:
    """The states of all entities and their fences, but for the generation, which only says that there was another."""
    found = {}
    for entity in plan.schema.entities:
        algebra = EntityValues(plan.of(entity.name)).algebra
        keys = keys_of(entity, placed)
        for key, (state, fence) in zip(keys, states.read(keys), strict=True):
            if state:
                decoded = Fence.decode(fence)
                found[key] = algebra.decode(state), Fence(decoded.topic, decoded.offsets)
    return found
