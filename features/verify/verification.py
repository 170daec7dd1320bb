"""Compare every feature of sampled entities by oracle, batch, state and Feast."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

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

_ORACLE_EVENTS = 100_000
"""How many events of a kind's entities the oracle gets: it is slow, and has all of them in memory."""


class Disagreement(NamedTuple):
    """One feature of one entity where a path differs from the oracle, or from batch where that takes its place."""

    entity: str
    ids: tuple[str, ...]
    feature: str
    path: str
    oracle: Value
    other: Value


class Verdict(NamedTuple):
    """Numbers of `compared` and `agreeing` values by path.

    `moved`: entities left out, since their states are ahead of the event log or of the time asked about. `beyond`:
    entities of too many events for the oracle, whose other paths are compared with batch.
    """

    at_us: int
    entities: int
    moved: int
    beyond: int
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
    The oracle sees the events of those entities only, which suffices for their features, and of a kind no more than
    some 100,000 or those of one entity: the others are compared with batch. So are all without `definitions` (None:
    only their plan is left). `feast` None leaves Feast out: it answers as of its own now, which must be `at_us`. `tell`
    receives the progress.
    """
    picked = _pick(engine, plan, sample, seed)
    verdict = Verdict(at_us, 0, 0, 0, {}, {}, [])
    for number, entity in enumerate(plan.schema.entities, 1):
        keys = [EntityKey(entity.name, ids) for ids in picked[entity.name]]
        tell(f"{entity.name}, {number} of {len(plan.schema.entities)}: {len(keys)} entities on all paths")
        before = dict(zip(keys, states.read(keys), strict=True))
        fences, events = _logged(engine, plan.of(entity.name), keys)
        values = EntityValues(plan.of(entity.name))
        decoded = {key: state for key, stored in before.items() if (state := _decoded(values, stored))}
        newest = {key: values.algebra.last_event(state) or 0 for key, state in decoded.items()}
        # An entity without a state that can be read is compared too: all of its counts then disagree, and are
        # reported.
        comparable = [
            key
            for key in keys
            if newest.get(key, 0) <= at_us and not Fence.decode_or_new(before[key].fence).ahead_of(fences[key])
        ]
        by_oracle: dict[EntityKey, dict[str, Value]] = {}
        if definitions is not None and (few := _few(comparable, events)):
            oracle = Oracle(plan, _events_of(engine, plan.of(entity.name), few), definitions)
            by_oracle = dict(zip(few, oracle.values(entity.name, [key.ids for key in few], at_us), strict=True))
        by_batch = _batch(engine, plan, comparable, at_us)
        paths = {
            "batch": {key: by_batch[key] for key in by_oracle},
            **{name: _batch(other, plan, comparable, at_us) for name, other in (beside or {}).items()},
            "state": {
                key: dict(zip(values.names, values.get(decoded.get(key), at_us), strict=True)) for key in comparable
            },
        }
        if feast is not None and comparable:
            answers = feast(entity.name, [key.ids for key in comparable])
            paths["feast"] = dict(zip(comparable, answers, strict=True))
        # With a live stream, an entity that was folded into meanwhile has been read at two times.
        after = states.read(comparable)
        steady = {key for key, stored in zip(comparable, after, strict=True) if stored.fence == before[key].fence}
        expected = {key: answer for key, answer in (by_batch | by_oracle).items() if key in steady}
        verdict = _compared(verdict, expected, paths)._replace(
            moved=verdict.moved + len(keys) - len(steady),
            beyond=verdict.beyond + (0 if definitions is None else len(steady - by_oracle.keys())),
        )
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
    expected: Mapping[EntityKey, dict[str, Value]],
    paths: Mapping[str, Mapping[EntityKey, dict[str, Value]]],
) -> Verdict:
    compared, agreeing = dict(verdict.compared), dict(verdict.agreeing)
    disagreements = list(verdict.disagreements)
    for path, found in paths.items():
        for key, values in expected.items():
            if (actual := found.get(key)) is None:  # by batch, which is what it is compared with
                continue
            largest = max((abs(v) for v in values.values() if isinstance(v, float)), default=0.0)
            for name, value in values.items():
                compared[path] = compared.get(path, 0) + 1
                if agree(value, actual[name], scale=largest):
                    agreeing[path] = agreeing.get(path, 0) + 1
                else:
                    disagreements.append(Disagreement(key.entity, key.ids, name, path, value, actual[name]))
    return verdict._replace(
        entities=verdict.entities + len(expected), compared=compared, agreeing=agreeing, disagreements=disagreements
    )


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


def _logged(
    engine: Engine, plan: EntityPlan, keys: Sequence[EntityKey]
) -> tuple[dict[EntityKey, Fence], Counter[EntityKey]]:
    """Return the fences that the log implies for the newest topic, and the numbers of events, of some entities."""
    topic = newest_topic(engine.log.sources())
    columns = [*plan.join_keys, "source", "partition"]
    query = (
        f'SELECT {key_list(columns)}, count(*) AS "events", max("offset") AS "newest" '  # noqa: S608 - ours
        f"FROM {LOG} SEMI JOIN wanted USING ({key_list(plan.join_keys)}) GROUP BY {key_list(columns)}"
    )
    fences, counts = {key: Fence() for key in keys}, Counter[EntityKey]()
    for row in engine.query(query, wanted=_table(plan, keys)).to_pylist():
        *ids, source, partition, events, newest = row.values()
        key = EntityKey(plan.entity, tuple(ids))
        if source == topic:
            fences[key].offsets[partition] = newest
        counts[key] += events
    return fences, counts


def _few(keys: Sequence[EntityKey], events: Mapping[EntityKey, int]) -> list[EntityKey]:
    """Return the entities for the oracle: in order, as many as have not too many events; at least one, if there is."""
    few, total = [], 0
    for key in keys:
        if total + events[key] <= _ORACLE_EVENTS:
            few.append(key)
            total += events[key]
    return few or sorted(keys, key=lambda key: events[key])[:1]


def _events_of(engine: Engine, plan: EntityPlan, keys: Sequence[EntityKey]) -> pd.DataFrame:
    """Return the events of some entities."""
    query = f"SELECT * FROM {LOG} SEMI JOIN wanted USING ({key_list(plan.join_keys)})"  # noqa: S608 - ours
    frame: pd.DataFrame = engine.query(query, wanted=_table(plan, keys)).to_pandas()
    return frame


def _table(plan: EntityPlan, keys: Sequence[EntityKey]) -> pa.Table:
    """Return entities as a table of their join keys."""
    columns = zip(*(key.ids for key in keys), strict=True) if keys else ((),) * len(plan.join_keys)
    return pa.table({name: pa.array(ids, pa.string()) for name, ids in zip(plan.join_keys, columns, strict=True)})


def _batch(engine: Engine, plan: Plan, keys: Sequence[EntityKey], at_us: int) -> dict[EntityKey, dict[str, Value]]:
    if not keys:
        return {}
    entity = keys[0].entity
    spine = pd.DataFrame([key.ids for key in keys], columns=list(plan.of(entity).join_keys)).assign(time_us=at_us)
    rows: list[dict[str, Value]] = engine.values(
        plan, entity, spine, [feature.name for feature in plan.of(entity).features]
    ).to_pylist()
    return dict(zip(keys, rows, strict=True))
