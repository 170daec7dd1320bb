"""The Featuretools entity set: events with their parents, and the requests that ask about them."""

import featuretools as ft
import pandas as pd
from woodwork.logical_types import Categorical, Datetime, Double, Integer

from features.entities import ENTITIES

__all__ = ["entity_set"]

_EVENT_TYPES = {
    "event_id": Categorical,
    "event_type": Categorical,
    "user_id": Categorical,
    "product_id": Categorical,
    "user_product_id": Categorical,
    "amount": Double,
    "quantity": Integer,
    "category": Categorical,
    "timestamp": Datetime,
}
_REQUEST_TYPES = {
    "request_id": Integer,
    "user_id": Categorical,
    "product_id": Categorical,
    "user_product_id": Categorical,
    "request_amount": Double,
    "timestamp": Datetime,
}
_PANDAS = {Categorical: "object", Double: "float64", Integer: "int64", Datetime: "datetime64[ns]"}


def entity_set(events: pd.DataFrame | None = None, requests: pd.DataFrame | None = None) -> ft.EntitySet:
    """Return an entity set of `events` and `requests` (None: an empty frame, enough to define features on).

    Parents are the users, products and pairs that either frame names, so that one without events still has a row.
    """
    events = _frame(events, _EVENT_TYPES)
    requests = _frame(requests, _REQUEST_TYPES)
    shop = ft.EntitySet("shop")
    shop.add_dataframe(events, "events", index="event_id", time_index="timestamp", logical_types=_EVENT_TYPES)
    shop.add_dataframe(requests, "requests", index="request_id", time_index="timestamp", logical_types=_REQUEST_TYPES)
    for entity in ENTITIES:
        index = f"{entity.name}_id"
        known = dict.fromkeys([*events[index], *requests[index]])
        parents = pd.DataFrame({index: pd.Series(list(known), dtype="object")})
        shop.add_dataframe(parents, entity.frame, index=index, logical_types={index: Categorical})
        shop.add_relationship(entity.frame, index, "events", index)
        shop.add_relationship(entity.frame, index, "requests", index)
    return shop


def _frame(given: pd.DataFrame | None, types: dict[str, type]) -> pd.DataFrame:
    dtypes = {name: _PANDAS[logical] for name, logical in types.items()}
    if given is None:
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in dtypes.items()})
    return given[list(types)].astype(dtypes)
