"""Reading features: what is known of a user, of a product, and of the two together."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query

from data.event import from_micros
from server.deps import PartsDep
from server.problems import BAD_REQUEST, UNAVAILABLE, UNKNOWN
from server.reader import pair_key, product_key, user_key
from server.schemas import EntityId, FeaturesAnswer, FeatureValues

__all__ = ["router"]

router = APIRouter(
    prefix="/features",
    tags=["features"],
    responses=BAD_REQUEST | UNAVAILABLE | UNKNOWN,
)


@router.get("/{user_id:path}")
async def features(
    user_id: Annotated[EntityId, Path(examples=["user-17"])],
    parts: PartsDep,
    product_id: Annotated[EntityId | None, Query(examples=["coffee-3"])] = None,
) -> FeaturesAnswer:
    """A user's features as of now; with `product_id`, also the product's and the pair's."""
    user = user_key(user_id)
    keys = [user] if product_id is None else [user, product_key(product_id), pair_key(user_id, product_id)]
    now_us = await parts.clock()
    known = await parts.reader.read(keys)
    # An event of a producer whose clock runs ahead counts: then that is the time.
    at_us = max([now_us, *(entity.last_event for entity in known.values())])
    values: FeatureValues = {}
    for entity in known.values():
        if entity.refusal is not None:
            raise entity.refusal
        values.update(zip(entity.names, entity.values(at_us), strict=True))
    if not known[user].seen:
        raise HTTPException(404, f"nobody has seen user {user_id}")
    return FeaturesAnswer(
        user_id=user_id,
        product_id=product_id,
        timestamp=from_micros(at_us),
        features=values,
        last_event={
            key.entity: from_micros(entity.last_event) if entity.seen else None for key, entity in known.items()
        },
    )
