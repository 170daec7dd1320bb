"""Reading features: what is known of a user, of a product, and of the two together."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Query

from data.event import from_micros
from server.deps import PartsDep, count_request
from server.problems import BAD_REQUEST, UNAVAILABLE, UNKNOWN
from server.reader import pair_key, product_key, user_key
from server.schemas import EntityId, FeaturesAnswer, FeatureValues

__all__ = ["router"]

router = APIRouter(
    prefix="/features",
    tags=["features"],
    dependencies=[Depends(count_request)],
    responses=BAD_REQUEST | UNAVAILABLE | UNKNOWN,
)


@router.get("/{user_id:path}")
def features(
    user_id: Annotated[EntityId, Path(examples=["user-17"])],
    parts: PartsDep,
    product_id: Annotated[EntityId | None, Query(examples=["coffee-3"])] = None,
) -> FeaturesAnswer:
    """A user's features as of now; with `product_id`, also the product's and the pair's."""
    user = user_key(user_id)
    keys = [user] if product_id is None else [user, product_key(product_id), pair_key(user_id, product_id)]
    now_us = parts.clock()
    known = parts.reader.read(keys)
    last = {key: known.last_event(key) for key in keys}
    # An event of a producer whose clock runs ahead counts: then that is the time.
    at_us = max([now_us, *(event for event in last.values() if event is not None)])
    values: FeatureValues = {}
    for key in keys:
        values.update(known.values(key, at_us))
    if not known.seen(user):
        raise HTTPException(404, f"nobody has seen user {user_id}")
    return FeaturesAnswer(
        user_id=user_id,
        product_id=product_id,
        timestamp=from_micros(at_us),
        features=values,
        last_event={key.entity: None if event is None else from_micros(event) for key, event in last.items()},
    )
