"""Routes that read features: of a user, of a product, and of their pair."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Query

from data.units import MICROS, from_micros, to_micros
from features.state.states import EntityKey
from server.api.parts import Parts, PartsDep
from server.api.problems import BAD_REQUEST, UNAVAILABLE, UNKNOWN, refuse_unknown_query
from server.api.schemas import AsOf, EntityId, FeaturesAnswer, ProductFeaturesAnswer
from server.scoring.reader import pair_key, product_key, user_key
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
    keys = [user_key(user_id)]
    if product_id is not None:
        keys += [product_key(product_id), pair_key(user_id, product_id)]
    known = await _known(parts, keys, as_of, f"user {user_id}")
    return FeaturesAnswer(user_id=user_id, product_id=product_id, **known)


@router.get("/products/{product_id:path}/features")
async def product_features(
    product_id: Annotated[EntityId, Path(examples=["coffee-3"])], parts: PartsDep, as_of: _AsOf = None
) -> ProductFeaturesAnswer:
    """A product's features as of now."""
    known = await _known(parts, [product_key(product_id)], as_of, f"product {product_id}")
    return ProductFeaturesAnswer(product_id=product_id, **known)


async def _known(parts: Parts, keys: Sequence[EntityKey], as_of: datetime | None, who: str) -> dict[str, Any]:
    """Return the features of the entities; 404 where the first, `who`, has no events."""
    as_of_us = None if as_of is None else to_micros(as_of)
    snapshot = await read_snapshot(parts.reader, parts.clock, keys, as_of_us)
    if not snapshot.known[0].seen:
        raise HTTPException(404, f"nobody has seen {who}")
    names = [name for entity in snapshot.known for name in entity.names]
    seen = {entity.key.entity: entity.last_event if entity.seen else None for entity in snapshot.known}
    ages = {entity: None if last is None else max(0, snapshot.at_us - last) / MICROS for entity, last in seen.items()}
    return {
        "timestamp": from_micros(snapshot.at_us),
        "features": dict(zip(names, snapshot.values, strict=True)),
        "last_event": {entity: None if last is None else from_micros(last) for entity, last in seen.items()},
        "age_seconds": ages,
    }
