"""Hypothetical scoring: what would the answer be if some features had other values? Nothing of it is kept."""

from datetime import datetime
from typing import Annotated

import numpy as np
from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field

from data.units import from_micros
from features.plan.plan import Plan
from features.state.values import RequestValues, Value
from server.api.parts import PartsDep
from server.api.problems import BAD_REQUEST, UNAVAILABLE
from server.api.schemas import BatchRow, FeatureValues, Target
from server.scoring.reader import pair_key, product_key, user_key
from server.scoring.scoring import answered_time

__all__ = ["router"]

router = APIRouter(prefix="/predict", tags=["predict"], responses=BAD_REQUEST | UNAVAILABLE)

_Supposed = Annotated[float, Field(allow_inf_nan=False, strict=True)] | None


class WhatIfRequest(BatchRow):
    """A question, and features with other values than they have."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"user_id": "user-17", "product_id": "coffee-3", "features": {"user_product_purchase_count": 5}}
            ]
        }
    )

    features: dict[str, _Supposed] = Field(
        max_length=1000,
        description="by name; null: nothing known. Features of the request follow from the others unless named",
    )
    target: Target | None = Field(None, description="what is predicted; by default the first target of this server")


class WhatIfAnswer(BaseModel):
    """A hypothetical answer, beside the one that the features as they are give."""

    model_config = ConfigDict(protected_namespaces=())

    hypothetical: bool = Field(True, description="always: this is no prediction")
    prediction: bool
    confidence: float
    actual_confidence: float = Field(description="with the features as they are")
    user_id: str
    product_id: str
    features_used: FeatureValues
    timestamp: datetime
    model_version: str
    threshold: float


@router.post("/what-if")
async def what_if(asked: WhatIfRequest, parts: PartsDep) -> WhatIfAnswer:
    """The score if some features had other values. It is no prediction, and is kept nowhere."""
    _refuse_unknown(asked.features, parts.plan)
    serving, question = parts.models.get(asked.target), asked.question()
    keys = (user_key(asked.user_id), product_key(asked.product_id), pair_key(asked.user_id, asked.product_id))
    now_us, known = await parts.clock(), list((await parts.reader.read(keys)).values())
    for entity in known:
        if entity.refusal is not None:
            raise entity.refusal
    at_us = answered_time(question.as_of_us, max(entity.last_event for entity in known), now_us)
    actual = {name: value for entity in known for name, value in zip(entity.names, entity.values(at_us), strict=True)}
    request = RequestValues(parts.plan)

    def inputs(values: dict[str, Value], chosen: dict[str, Value]) -> tuple[Value, ...]:
        requested = dict(zip(request.names, request.get(values, asked.amount, at_us), strict=True))
        every = values | requested | chosen
        return serving.pick(tuple(every[name] for name in parts.plan.names))

    chosen: dict[str, Value] = dict(asked.features)
    rows = [inputs(actual, {}), inputs(actual | chosen, chosen)]
    with np.errstate(over="ignore"):  # past float32 a number is infinite to the model
        confidences = serving.predictor.score(np.array(rows, np.float32)).tolist()
    return WhatIfAnswer(
        hypothetical=True,
        prediction=confidences[1] >= serving.predictor.threshold,
        confidence=confidences[1],
        actual_confidence=confidences[0],
        user_id=asked.user_id,
        product_id=asked.product_id,
        features_used=dict(zip(serving.predictor.features, rows[1], strict=True)),
        timestamp=from_micros(at_us),
        model_version=serving.predictor.version,
        threshold=serving.predictor.threshold,
    )


def _refuse_unknown(features: dict[str, float | None], plan: Plan) -> None:
    unknown = sorted(features.keys() - set(plan.names))
    if unknown:
        message = "no feature has this name; /features and /model/info list them"
        raise RequestValidationError(
            [{"loc": ("body", "features", name), "msg": message, "type": "feature"} for name in unknown[:10]]
        )
