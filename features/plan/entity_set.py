"""The Featuretools entity set: events with their parents, and the requests that ask about them."""

from typing import Any

import featuretools as ft
import pandas as pd
from woodwork.logical_types import Categorical, Datetime, Double, Integer

from data.default_shop import SHOP
from data.schema import Entity, Schema

__all__ = ["entity_ids", "entity_set"]

_PANDAS = {Categorical: "object", Double: "float64", Integer: "int64", Datetime: "datetime64[ns]"}


def entity_set(
    schema: Schema = SHOP, events: pd.DataFrame | None = None, requests: pd.DataFrame | None = None
) -> ft.EntitySet:
    """Return an entity set of `events` and `requests` (None: an empty frame, enough to define features on).

    Parents are the entities that either frame names, so that one without events still has a row.
    """
    event_types = _event_types(schema)
    request_types = _request_types(schema)
    shop = ft.EntitySet("shop")
    for name, frame, types in (("events", events, event_types), ("requests", requests, request_types)):
        index = next(iter(types))
        shop.add_dataframe(_frame(frame, types), name, index=index, time_index="timestamp", logical_types=types)
    for entity in schema.entities:
        index = entity.index
        values = [
            value for frame in (events, requests) if frame is not None and index in frame for value in frame[index]
        ]
        ids = dict.fromkeys(value for value in values if not _is_missing(value))
        parents = pd.DataFrame({index: pd.Series(list(ids), dtype="object")})
        shop.add_dataframe(parents, entity.frame, index=index, logical_types={index: Categorical})
        shop.add_relationship(entity.frame, index, "events", index)
        if index in request_types:
            shop.add_relationship(entity.frame, index, "requests", index)
    return shop


def entity_ids(frame: pd.DataFrame, entity: Entity) -> list[str | None]:
    """Return one text per row that says which entity it names; None where a key is missing.

    Lengths keep the keys ("a", "bc") and ("ab", "c") apart.
    """
    rows = zip(*(frame[key] for key in entity.join_keys), strict=True)
    if len(entity.join_keys) == 1:
        return [None if _is_missing(row[0]) else str(row[0]) for row in rows]
    return [None if any(map(_is_missing, row)) else "".join(f"{len(text)}:{text}" for text in row) for row in rows]


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or bool(pd.isna(value))


def _event_types(schema: Schema) -> dict[str, type]:
    return {
        "event_id": Categorical,
        "event_type": Categorical,
        **dict.fromkeys((*schema.keys, *schema.labels), Categorical),
        **{entity.index: Categorical for entity in schema.entities},
        **{measure.name: Integer if measure.is_whole else Double for measure in schema.measures},
        "timestamp": Datetime,
    }


def _request_types(schema: Schema) -> dict[str, type]:
    return {
        "request_id": Integer,
        **dict.fromkeys(schema.asked_keys, Categorical),
        **{entity.index: Categorical for entity in schema.asked},
        **dict.fromkeys(schema.request_columns, Double),
        "timestamp": Datetime,
    }


def _frame(frame: pd.DataFrame | None, types: dict[str, type]) -> pd.DataFrame:
    dtypes = {name: _PANDAS[logical] for name, logical in types.items()}
    if frame is None:
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in dtypes.items()})
    return frame[list(types)].astype(dtypes)
