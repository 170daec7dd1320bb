"""Hypothetical scoring: the answer if some features had other values. Nothing of it is stored."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.exceptions import RequestValidationError
from pydantic import ConfigDict, Field

from data.units import from_micros
from features.plan.plan import Plan
from features.state.values import Value
from model.rows import float32_rows
from server.api.parts import PartsDep
from server.api.problems import BAD_REQUEST, UNAVAILABLE, refuse_unknown_query
from server.api.schemas import BatchRow, Scored, Target
from server.scoring.snapshot import read_snapshot

__all__ = ["router"]

router = APIRouter(
    prefix="/predict",
    tags=["predict"],
    responses=BAD_REQUEST | UNAVAILABLE,
    dependencies=[Depends(refuse_unknown_query)],
)

_Supposed = Annotated[float, Field(allow_inf_nan=False, strict=True)] | None


class WhatIfRequest(BatchRow):
    """A question, and features with hypothetical values."""

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


class WhatIfAnswer(Scored):
    """A hypothetical answer, beside the one with the actual features."""

    hypothetical: bool = Field(True, description="always: this is no prediction")
    actual_confidence: float = Field(description="with the features as they are")


@router.post("/what-if")
async def what_if(asked: WhatIfRequest, parts: PartsDep) -> WhatIfAnswer:
    """The score if some features had other values. It is not a prediction and is not stored."""
    _refuse_unknown(asked.features, parts.plan)
    serving, question, reader = parts.models.get(asked.target), asked.question(), parts.reader
    snapshot = await read_snapshot(reader, parts.clock, question.keys, question.as_of_us)

    def inputs(chosen: dict[str, float | None]) -> tuple[Value, ...]:
        """The model's, where features of the request follow from the others unless chosen themselves."""
        values = [chosen.get(name, value) for name, value in zip(parts.plan.names, snapshot.values, strict=False)]
        values += reader.request.get(values, asked.amount, snapshot.at_us)
        return serving.pick(
            tuple(chosen.get(name, value) for name, value in zip(parts.plan.names, values, strict=True))
        )

    rows = [inputs({}), inputs(asked.features)]
    confidences = serving.predictor.score(float32_rows(rows)).tolist()
    return WhatIfAnswer(
        hypothetical=True,
        prediction=confidences[1] >= serving.predictor.threshold,
        confidence=confidences[1],
        actual_confidence=confidences[0],
        user_id=asked.user_id,
        product_id=asked.product_id,
        features_used=dict(zip(serving.predictor.features, rows[1], strict=True)),
        timestamp=from_micros(snapshot.at_us),
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
