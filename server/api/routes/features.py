"""Routes that read features: of any entity, and of a user, a product and their pair."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Query
from fastapi.exceptions import RequestValidationError
from pydantic import Field

from data.units import MICROS, from_micros, to_micros
from features.state.states import EntityKey
from server.api.parts import Parts, PartsDep
from server.api.problems import BAD_REQUEST, UNAVAILABLE, UNKNOWN, refuse_unknown_query
from server.api.schemas import AsOf, EntityId, FeaturesAnswer, KnownFeatures, ProductFeaturesAnswer
from server.scoring.snapshot import read_snapshot

__all__ = ["router"]

router = APIRouter(
    tags=["features"], responses=BAD_REQUEST | UNAVAILABLE | UNKNOWN, dependencies=[Depends(refuse_unknown_query)]
)

_AsOf = Annotated[
    AsOf | None, Query(description="the time to answer about, not more than five minutes before what is known happened")
]


@router.get("/features/{user_id:path}")
async def features(
    user_id: Annotated[EntityId, Path(examples=["user-17"])],
    parts: PartsDep,
    product_id: Annotated[EntityId | None, Query(examples=["coffee-3"])] = None,
    as_of: _AsOf = None,
) -> FeaturesAnswer:
    """A user's features as of now; with `product_id`, also the product's and the pair's."""
    named = {"user_id": user_id}
    keys = [_key(parts, named)]
    if product_id is not None:
        product = {"product_id": product_id}
        keys += [_key(parts, product), _key(parts, named | product)]
    answer = await _read_features(parts, keys, as_of, f"user {user_id}")
    return FeaturesAnswer(user_id=user_id, product_id=product_id, **answer)


@router.get("/products/{product_id:path}/features")
async def product_features(
    product_id: Annotated[EntityId, Path(examples=["coffee-3"])], parts: PartsDep, as_of: _AsOf = None
) -> ProductFeaturesAnswer:
    """A product's features as of now."""
    answer = await _read_features(parts, [_key(parts, {"product_id": product_id})], as_of, f"product {product_id}")
    return ProductFeaturesAnswer(product_id=product_id, **answer)


def _key(parts: Parts, named: dict[str, str]) -> EntityKey:
    """Return the key of the entity with these key columns. Raises a 404, naming alternatives, if there is none."""
    schema = parts.plan.schema
    entity = schema.keyed_by(named)
    if entity is None:
        others = ", ".join(f"{other.name} ({', '.join(other.join_keys)})" for other in schema.entities)
        raise HTTPException(
            404,
            f"this project has no entity of {', '.join(named)}: ask `/entities/.../features?key=...` of {others}",
        )
    return EntityKey(entity.name, tuple(named[key] for key in entity.join_keys))


class EntityFeaturesAnswer(KnownFeatures):
    """Features of one entity of any kind."""

    entity: str
    key: dict[str, str] = Field(description="the columns that say which entity it is, with their values")


@router.get("/entities/{entity}/features")
async def entity_features(
    entity: Annotated[str, Path(description="one that the schema declares", examples=["user_category"])],
    key: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=256)]],
        Query(description="the entity's keys, in the order of their names: once for each", examples=[["toys", "ann"]]),
    ],
    parts: PartsDep,
    as_of: _AsOf = None,
) -> EntityFeaturesAnswer:
    """An entity's features as of now: of a user, a product, a category, or whatever the schema declares."""
    declared = {entity_type.name: entity_type for entity_type in parts.plan.schema.entities}
    if entity not in declared:
        raise HTTPException(404, f"no entity is called {entity}; there are {', '.join(declared)}")
    columns = declared[entity].join_keys
    if len(key) != len(columns):
        message = f"{entity} has the keys {', '.join(columns)}: give `key` once for each, in this order"
        raise RequestValidationError([{"loc": ("query", "key"), "msg": message, "type": "keys"}])
    answer = await _read_features(parts, [EntityKey(entity, tuple(key))], as_of, f"{entity} {' '.join(key)}")
    return EntityFeaturesAnswer(entity=entity, key=dict(zip(columns, key, strict=True)), **answer)


async def _read_features(parts: Parts, keys: Sequence[EntityKey], as_of: datetime | None, who: str) -> dict[str, Any]:
    """Return the features of the entities, as fields of an answer. Raises a 404 if the first, `who`, has no events."""
    as_of_us = None if as_of is None else to_micros(as_of)
    snapshot = await read_snapshot(parts.reader, parts.clock, keys, as_of_us)
    if not snapshot.entities[0].seen:
        raise HTTPException(404, f"nobody has seen {who}")
    features = {
        name: value
        for entity in snapshot.entities
        for name, value in zip(entity.names, entity.values(snapshot.at_us), strict=True)
    }
    newest = {entity.key.entity: entity.last_event if entity.seen else None for entity in snapshot.entities}
    ages = {
        entity: None if last_us is None else max(0, snapshot.at_us - last_us) / MICROS
        for entity, last_us in newest.items()
    }
    return {
        "timestamp": from_micros(snapshot.at_us),
        "features": features,
        "last_event": {entity: None if last_us is None else from_micros(last_us) for entity, last_us in newest.items()},
        "age_seconds": ages,
    }
