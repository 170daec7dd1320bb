"""The Feast repo's objects, made from the plan: entities, feature views, the request's on-demand view, services."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, FileSource, Project, RequestSource
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.types import Bytes, Float64, Int64, String, UnixTimestamp
from feast.value_type import ValueType

from data.schema import Entity as Described
from data.units import MICROS, utc_micros
from features.entities import REQUEST_VIEW
from features.feast_stores.services import Service
from features.plan.describe import describe
from features.plan.plan import Plan
from features.state.values import RequestValues

__all__ = ["STATE_FEATURE", "feast_objects", "request_values"]

STATE_FEATURE = "state"
"""The feature that holds an entity's state and fence, packed: materialization moves it, online reads use it."""

_OWNER = "encore"

_PROJECT = "encore"
"""The project of the package's own shop, as feast/feature_repo/feature_store.yaml names it."""

_ABOUT = (
    "A streaming feature store of a shop: features of users, products and their pairs, true when they are asked for."
)

_TYPES = {"int": Int64, "float": Float64}


def feast_objects(
    plan: Plan, log_path: str, services: Sequence[Service], project: str = _PROJECT, about: str = ""
) -> list[Any]:
    """Return all objects that `feast apply` registers.

    `log_path` is the event log's folder, `services` those of the targets; `about` says what the project is.
    """
    entities = {key: _entity(plan, key) for entity in plan.schema.entities for key in entity.join_keys}
    log = FileSource(
        name="event_log",
        path=log_path,
        timestamp_field="timestamp",
        description="Every accepted event, in Parquet; Encore's offline store computes features from it.",
        owner=_OWNER,
    )
    views = {entity.name: _view(plan, entity, entities, log) for entity in plan.schema.entities}
    request = [_request_view(plan, list(views.values()))] if plan.request_view else []
    everything: list[Any] = [
        views[entity.entity][[f.name for f in entity.features]] for entity in plan.asked if entity.features
    ]
    return [
        Project(
            name=project,
            description=about or _ABOUT,
            tags={"plan": plan.hash, "models": ", ".join(service.tags.get("models", "") for service in services)},
            owner=_OWNER,
        ),
        *entities.values(),
        log,
        *views.values(),
        *request,
        *(
            FeatureService(
                name=service.name,
                features=[*everything, *request],
                description=service.description,
                tags={"plan": plan.hash, **service.tags},
                owner=_OWNER,
            )
            for service in services
        ),
    ]


def request_values(plan: Plan) -> Callable[[dict[str, list[Any]]], dict[str, list[Any]]]:
    """Return the on-demand transformation, columns to columns, by the same `RequestValues` that the server uses."""
    borrowed = RequestValues(plan).borrowed
    measures = plan.schema.request_columns

    def transform(inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
        from features.state.values import RequestValues as Values  # noqa: PLC0415 - Feast keeps the source, not the module

        values = Values(plan)
        nothing = (None,) * len(values.names)
        times = [_micros(moment) for moment in inputs["request_time"]]
        rows = [
            nothing
            if at_us is None
            else values.get(
                {name: _number(inputs[name][row]) for name in borrowed},
                [_number(inputs[name][row]) for name in measures],
                at_us,
            )
            for row, at_us in enumerate(times)
        ]
        return {name: [row[place] for row in rows] for place, name in enumerate(values.names)}

    return transform


def _entity(plan: Plan, key: str) -> Entity:
    """Return Feast's entity of one join key: ours of just that key, where there is one."""
    described = plan.schema.keyed_by([key])
    text = described.description if described else f"what {key} names"
    return Entity(
        name=described.name if described else key,
        join_keys=[key],
        value_type=ValueType.STRING,
        description=f"{text[0].upper()}{text[1:]}.",
        owner=_OWNER,
    )


def _view(plan: Plan, entity: Described, entities: dict[str, Entity], log: FileSource) -> FeatureView:
    fields = [
        Field(name=f.name, dtype=_TYPES[f.type], description=describe(f, plan.schema), tags={"plan": plan.hash})
        for f in plan.of(entity.name).features
    ]
    state = Field(name=STATE_FEATURE, dtype=Bytes, description="The entity's state and fence, packed.")
    keys = [Field(name=key, dtype=String) for key in entity.join_keys]
    return FeatureView(
        name=entity.view,
        entities=[entities[key] for key in entity.join_keys],
        schema=[*keys, *fields, state],
        source=log,
        ttl=None,
        description=f"What is known of {entity.description}, true at the moment of asking.",
        tags={"plan": plan.hash, "entity": entity.name},
        owner=_OWNER,
    )


def _request_view(plan: Plan, views: list[FeatureView]) -> OnDemandFeatureView:
    measures = plan.schema.request_columns
    request_source = RequestSource(
        name="request",
        schema=[
            *(Field(name=name, dtype=Float64) for name in measures),
            Field(name="request_time", dtype=UnixTimestamp),
        ],
        description="What the question itself says: the measures at stake, and when it is asked.",
        owner=_OWNER,
    )
    borrowed = frozenset(RequestValues(plan).borrowed)
    sources: list[Any] = [request_source]
    for view in views:
        wanted = [feature.name for feature in view.features if feature.name in borrowed]
        if wanted:
            sources.append(view[wanted])
    transform = request_values(plan)
    return OnDemandFeatureView(
        name=REQUEST_VIEW,
        sources=sources,
        # The request's own measures are inputs already; Feast lets no output bear an input's name.
        schema=[Field(name=f.name, dtype=_TYPES[f.type]) for f in plan.request_view],
        udf=transform,
        udf_string="features.feast_stores.views.request_values(plan)",
        mode="python",
        description="What is known only when the question is asked.",
        # Feast compares these fields with inferred ones, which have no description: the view's tags carry them.
        tags={f.name: describe(f, plan.schema) for f in plan.request_view},
        owner=_OWNER,
    )


def _number(value: Any) -> Any:
    return None if value is None or pd.isna(value) else value


def _micros(moment: Any) -> int | None:
    """Return UTC microseconds of a time as Feast passes it: a datetime, a timestamp, seconds since 1970, or None."""
    if moment is None or pd.isna(moment):
        return None
    if isinstance(moment, int | float):
        return int(moment * MICROS)
    return utc_micros(pd.Timestamp(moment).to_pydatetime(warn=False))
