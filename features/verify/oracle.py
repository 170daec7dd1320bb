"""The oracle: Featuretools' own `calculate_feature_matrix`, slow and simple, which every other path must equal.

Windows are tiled, and Featuretools has no tiles: it gives the same values when event times and the cutoff are floored
to the window's hop, so each hop has an entity set of its own. Featuretools takes events from `cutoff - window` on, that
border included, which with floored times would be one tile too many: the cutoff is one microsecond past the floor.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import featuretools as ft
import numpy as np
import pandas as pd

from data.schema import Schema
from data.units import series_micros
from features.definitions import define
from features.plan.entity_set import entity_ids, entity_set
from features.plan.plan import Aggregate, Borrowed, Distinct, Extreme, Feature, Plan, Quantile, Top, Total, parts_of
from features.plan.where import EVERY, Where, types_of
from features.state.values import Value

__all__ = ["Oracle"]

Definitions = Callable[[ft.EntitySet], list[Any]]


class Oracle:
    """Computes every feature over a frame of events with the columns that the plan's schema declares."""

    def __init__(self, plan: Plan, events: pd.DataFrame, definitions: Definitions = define) -> None:
        self._plan = plan
        self._measures = plan.schema.request_columns
        # Two events may have one id, and Featuretools wants a unique one per row: ranks, which order as ids do.
        ranks = np.empty(len(events), "int64")
        ranks[np.argsort(events["event_id"].to_numpy("object"), kind="stable")] = np.arange(len(events))
        self._events = events.assign(
            event_id=[f"{rank:012d}" for rank in ranks],
            timestamp_us=series_micros(events["timestamp"]),
            **_indices(events, plan.schema),
        )
        self._definitions = definitions

    def values(self, entity: str, instances: Sequence[Sequence[str]], at_us: int) -> list[dict[str, Value]]:
        """Return every feature of `entity` at a time (µs), by name, for each instance (join key values in order)."""
        described = self._plan.schema.entity(entity)
        questions = pd.DataFrame(instances, columns=list(described.join_keys), dtype=object)
        answers = self._answers(questions, described.frame, at_us)
        index = pd.Series(entity_ids(questions, described), dtype=object)
        return [{f.name: _value(answers[f.name].loc[key], f) for f in self._plan.of(entity).features} for key in index]

    def request(self, measures: Sequence[float | None], at_us: int, **asks: str) -> dict[str, Value]:
        """Return the request's features, by name; `asks` are the keys and labels that it names."""
        columns = {name: [asks.get(name)] for name in self._plan.schema.asked_keys}
        values = {
            name: math.nan if value is None else value for name, value in zip(self._measures, measures, strict=True)
        }
        questions = pd.DataFrame(columns, dtype=object).assign(**values)
        answers = self._answers(questions, "requests", at_us)
        return {f.name: _value(answers[f.name].loc[0], f) for f in self._plan.request}

    def _answers(self, questions: pd.DataFrame, frame: str, at_us: int) -> dict[str, pd.Series]:
        """Return Featuretools' answers by feature name, each computed in the entity set of its hop."""
        schema = self._plan.schema
        keys = [name for name in questions.columns if name not in self._measures]
        events = pd.concat([self._events[self._events["timestamp_us"] <= at_us], self._of_nobody(keys, at_us)])
        questions = pd.concat([questions, pd.DataFrame([dict.fromkeys(keys, _NOBODY)])])
        absent: dict[str, Any] = {key: None for key in (*schema.keys, *schema.labels) if key not in questions}
        absent |= {name: 0.0 for name in self._measures if name not in questions}
        questions = questions.assign(**absent, timestamp_us=at_us, request_id=range(len(questions)))
        questions = questions.assign(**_indices(questions, schema))
        index = self._index_name(frame)
        answers: dict[str, pd.Series] = {}
        for (owner, hop_us), wanted in _by_hop(self._plan, self._definitions).items():
            if owner != frame:
                continue
            shop = entity_set(schema, _floored(events, hop_us), _floored(questions, hop_us))
            past_floor = at_us // hop_us * hop_us + (1 if hop_us > 1 else 0)
            cutoff = pd.DataFrame({index: questions[index].to_numpy(), "time": pd.Timestamp(past_floor * 1000)})
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pandas' deprecations inside Featuretools
                matrix = ft.calculate_feature_matrix(wanted, shop, cutoff_time=cutoff)
            answers |= {d.get_name(): matrix[d.get_name()].astype("object") for d in wanted}
        return answers

    def _of_nobody(self, keys: list[str], at_us: int) -> pd.DataFrame:
        """Return events at a time, one for each condition of the plan, of an invented entity that is asked about too.

        Featuretools fails on a window in which no entity that is asked about has an event, and pandas makes categories
        of the numbers of labels where all of them are missing. A condition on such a key itself is left out, since
        events that meet it are of real entities.
        """
        schema = self._plan.schema
        rows: list[dict[str, Any]] = []
        for where in sorted(_conditions(self._plan)):
            if not any(condition.column in keys for condition in where):
                row: dict[str, Any] = dict.fromkeys((*schema.keys, *schema.labels), _NOBODY)
                row |= dict.fromkeys((measure.name for measure in schema.measures), 0)
                row |= {condition.column: condition.values[0] for condition in where}
                rows.append(row | {"event_type": types_of(where, schema.type_names)[0]})
        frame = pd.DataFrame(rows).assign(event_id=[f"nobody {row}" for row in range(len(rows))], timestamp_us=at_us)
        return frame.assign(**_indices(frame, schema))

    def _index_name(self, frame: str) -> str:
        return next((entity.index for entity in self._plan.schema.entities if entity.frame == frame), "request_id")


_NOBODY = "nobody " * 64
"""A key and label that no event has, since it is too long for both."""

_FLOORED = (Total, Extreme, Distinct, Top, Quantile)
"""Expressions whose window Featuretools applies (`use_previous`); the primitives of others know tiles themselves."""


@lru_cache(maxsize=8)
def _by_hop(plan: Plan, definitions: Definitions) -> dict[tuple[str, int], list[Any]]:
    """Return the definitions by their dataframe and the hop of their windows.

    They are made once, over empty frames: it takes Featuretools longer than to compute them over a few events.
    """
    expressions = {feature.name: feature for feature in plan.features}
    definitions_by_hop: dict[tuple[str, int], list[Any]] = {}
    for definition in definitions(entity_set(plan.schema)):
        key = definition.dataframe_name, _hop(plan, expressions[definition.get_name()])
        definitions_by_hop.setdefault(key, []).append(definition)
    return definitions_by_hop


def _conditions(plan: Plan) -> set[Where]:
    """Return the conditions of all that the plan aggregates."""
    parts = (part for feature in plan.features for part in parts_of(feature.expression))
    return {EVERY} | {part.where for part in parts if isinstance(part, Aggregate)}


def _hop(plan: Plan, feature: Feature) -> int:
    """Return the hop of the windows under a feature, µs; 1 (no flooring) where there is none."""
    hops = set(_hops(plan, feature.expression))
    if len(hops) > 1:
        raise NotImplementedError(f"oracle: {feature.name} mixes windows of different hops, which it cannot floor")
    return hops.pop() if hops else 1


def _hops(plan: Plan, expression: Any) -> Iterable[int]:
    if isinstance(expression, _FLOORED) and expression.window:
        yield expression.window.hop_us
    if isinstance(expression, Borrowed):
        yield from _hops(plan, _named(plan, expression.feature).expression)
    for name in getattr(expression, "__struct_fields__", ()):
        yield from _hops(plan, getattr(expression, name))


def _named(plan: Plan, name: str) -> Feature:
    return next(feature for feature in plan.features if feature.name == name)


def _indices(frame: pd.DataFrame, schema: Schema) -> dict[str, Any]:
    """Return the columns that say which entities each row names."""
    return {entity.index: entity_ids(frame, entity) for entity in schema.entities}


def _floored(frame: pd.DataFrame, hop_us: int) -> pd.DataFrame:
    return frame.assign(timestamp=pd.to_datetime(frame["timestamp_us"] // hop_us * hop_us * 1000))


def _value(answer: Any, feature: Feature) -> Value:
    """Return Featuretools' answer as ours: missing and infinite (a division by zero) are null."""
    if pd.isna(answer) or math.isinf(answer):
        return None
    return int(answer) if feature.type == "int" else float(answer)
