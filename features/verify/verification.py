"""Compare every feature of sampled entities by oracle, batch, state and Feast."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from data.log.sources import newest_topic
from features.batch.engine import Engine, key_list, no_nulls
from features.batch.queries import LOG
from features.definitions import define
from features.plan.plan import EntityPlan, Plan
from features.state.algebra import DAMAGE, State
from features.state.fence import Fence
from features.state.states import EntityKey, States, Stored
from features.state.values import EntityValues, Value
from features.verify.oracle import Definitions, Oracle

__all__ = ["Disagreement", "FeastRead", "Verdict", "agree", "verify"]

FeastRead = Callable[[str, list[tuple[str, ...]]], list[dict[str, Value]]]
"""Reads Feast's online store: from (entity name, join key values) to values by feature name."""

_RELATIVE = 1e-9


class Disagreement(NamedTuple):
    """One feature of one entity where a path differs from the oracle."""

    entity: str
    ids: tuple[str, ...]
    feature: str
    path: str
    oracle: Value
    other: Value


class Verdict(NamedTuple):
    """Numbers of `compared` and `agreeing` values by path.

    `moved`: entities left out, since their states are ahead of the event log or of the time asked about.
    """

    at_us: int
    entities: int
    moved: int
    compared: dict[str, int]
    agreeing: dict[str, int]
    disagreements: list[Disagreement]

    @property
    def ok(self) -> bool:
        """Whether anything was compared and all of it agreed."""
        return not self.disagreements and any(self.compared.values())


def agree(left: Value, right: Value, *, scale: float = 0.0) -> bool:
    """Return whether two values are equal: integers and nulls exactly, floats within a relative 1e-9.

    The tolerance is relative to the larger of the two, or to `scale` where they are the result of a cancellation.
    """
    if left is None or right is None or (isinstance(left, int) and isinstance(right, int)):
        return left == right
    return math.isclose(left, right, rel_tol=_RELATIVE, abs_tol=_RELATIVE * scale)


def verify(
    plan: Plan,
    engine: Engine,
    states: States,
    feast: FeastRead | None,
    *,
    sample: int,
    at_us: int,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
    beside: Mapping[str, Engine] | None = None,
    definitions: Definitions | None = define,
) -> Verdict:
    """Compare `sample` entities of each kind at `at_us`; entities with a newer event in their state are left out.

    `engine` draws them from its log, and computes the path `batch`; those `beside` it are compared too, by path name.
    The oracle sees the events of those entities only, which suffices for their features. `feast` None leaves Feast out:
    it answers as of its own now, which must be `at_us`. `tell` receives the progress. Without `definitions` (None: only
    their plan is left) all others are compared with batch.
    """
    picked = _pick(engine, plan, sample, seed)
    verdict = Verdict(at_us, 0, 0, {}, {}, [])
    for number, entity in enumerate(plan.schema.entities, 1):
        keys = [EntityKey(entity.name, ids) for ids in picked[entity.name]]
        tell(f"{entity.name}, {number} of {len(plan.schema.entities)}: {len(keys)} entities on all paths")
        before = dict(zip(keys, states.read(keys), strict=True))
        events = _events_of(engine, plan.of(entity.name), picked[entity.name])
        logged = _fences(events, plan.of(entity.name), newest_topic(engine.log.sources()))
        values = EntityValues(plan.of(entity.name))
        decoded = {key: state for key, stored in before.items() if (state := _decoded(values, stored))}
        newest = {key: values.algebra.last_event(state) or 0 for key, state in decoded.items()}
        # An entity without a state that can be read is compared too: all of its counts then disagree, and are
        # reported.
        comparable = [
            key
            for key in keys
            if newest.get(key, 0) <= at_us and not Fence.decode_or_new(before[key].fence).ahead_of(logged[key])
        ]
        batch = expected = _batch(engine, plan, comparable, at_us)
        if comparable and definitions is not None:
            expected = Oracle(plan, events, definitions).values(entity.name, [key.ids for key in comparable], at_us)
        paths: dict[str, list[dict[str, Value]]] = {
            "oracle": expected,
            **({"batch": batch} if definitions is not None else {}),
            **{name: _batch(other, plan, comparable, at_us) for name, other in (beside or {}).items()},
            "state": [dict(zip(values.names, values.get(decoded.get(key), at_us), strict=True)) for key in comparable],
        }
        if feast is not None and comparable:
            paths["feast"] = feast(entity.name, [key.ids for key in comparable])
        # With a live stream, an entity that was folded into meanwhile has been read at two times.
        after = states.read(comparable)
        steady = [place for place, key in enumerate(comparable) if after[place].fence == before[key].fence]
        paths = {path: [values[place] for place in steady] for path, values in paths.items()}
        verdict = _compared(verdict, [comparable[place] for place in steady], len(keys), paths.pop("oracle"), paths)
    return verdict


def _decoded(values: EntityValues, stored: Stored) -> State | None:
    """Return a state; None where there is none that can be read."""
    try:
        state = values.algebra.decode(stored.state) if stored.state else None
        if state is not None:
            values.get(state, values.algebra.last_event(state) or 0)
    except DAMAGE:
        return None
    return state


def _compared(
    verdict: Verdict,
    keys: Sequence[EntityKey],
    picked: int,
    oracle: Sequence[dict[str, Value]],
    paths: dict[str, list[dict[str, Value]]],
) -> Verdict:
    compared, agreeing = dict(verdict.compared), dict(verdict.agreeing)
    disagreements = list(verdict.disagreements)
    for path, values in paths.items():
        for key, expected, actual in zip(keys, oracle, values, strict=True):
            largest = max((abs(v) for v in expected.values() if isinstance(v, float)), default=0.0)
            for name, value in expected.items():
                compared[path] = compared.get(path, 0) + 1
                if agree(value, actual[name], scale=largest):
                    agreeing[path] = agreeing.get(path, 0) + 1
                else:
                    disagreements.append(Disagreement(key.entity, key.ids, name, path, value, actual[name]))
    entities, moved = verdict.entities + len(keys), verdict.moved + picked - len(keys)
    return Verdict(verdict.at_us, entities, moved, compared, agreeing, disagreements)


def _pick(engine: Engine, plan: Plan, sample: int, seed: int) -> dict[str, list[tuple[str, ...]]]:
    """Draw entities by a hash of their ids and the seed: the same ones for the same log, on every engine."""
    picked = {}
    for entity in plan.schema.entities:
        keys = key_list(entity.join_keys)
        rows = engine.query(
            f"SELECT {keys} FROM (SELECT DISTINCT {keys} FROM {LOG} WHERE {no_nulls(entity.join_keys)}) AS entities "  # noqa: S608 - ours
            f"ORDER BY md5(concat_ws('|', {keys}, '{seed}')), {keys} LIMIT {sample}"
        )
        picked[entity.name] = sorted(tuple(row.values()) for row in rows.to_pylist())
    return picked


def _events_of(engine: Engine, plan: EntityPlan, ids: Sequence[tuple[str, ...]]) -> pd.DataFrame:
    """Return the events of some entities."""
    wanted = {
        key: pa.array([entity_ids[place] for entity_ids in ids], pa.string())
        for place, key in enumerate(plan.join_keys)
    }
    query = f"SELECT * FROM {LOG} SEMI JOIN wanted USING ({key_list(plan.join_keys)})"  # noqa: S608 - ours
    frame: pd.DataFrame = engine.query(query, wanted=pa.table(wanted)).to_pandas()
    return frame


def _fences(events: pd.DataFrame, plan: EntityPlan, topic: str) -> dict[EntityKey, Fence]:
    """Return the fences that the log implies for the newest topic, by entity."""
    fences: dict[EntityKey, Fence] = defaultdict(Fence)
    keys = [*plan.join_keys, "partition"]
    newest: Any = events[events["source"] == topic].groupby(keys)["offset"].max()
    for (*ids, partition), offset in newest.items():
        fences[EntityKey(plan.entity, tuple(ids))].offsets[partition] = offset
    return fences


def _batch(engine: Engine, plan: Plan, keys: Sequence[EntityKey], at_us: int) -> list[dict[str, Value]]:
    if not keys:
        return []
    entity = keys[0].entity
    spine = pd.DataFrame([key.ids for key in keys], columns=list(plan.of(entity).join_keys)).assign(time_us=at_us)
    rows: list[dict[str, Value]] = engine.values(
        plan, entity, spine, [feature.name for feature in plan.of(entity).features]
    ).to_pylist()
    return rows
