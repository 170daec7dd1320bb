"""Hypothetical scoring: the answer if some features had other values. Nothing of it is stored."""

from typing import Any

from fastapi import APIRouter, Depends
from fastapi.exceptions import RequestValidationError

from data.units import from_micros
from features.plan.plan import Plan
from features.state.values import Value
from model.rows import float32_rows
from server.api.asking import Asking
from server.api.parts import Parts, PartsDep
from server.api.problems import BAD_REQUEST, UNAVAILABLE, refuse_unknown_query
from server.scoring.question import Question
from server.scoring.snapshot import read_snapshot

__all__ = ["router_of"]


def router_of(asking: Asking) -> APIRouter:
    """Return the router with the route for the questions of a schema."""
    router = APIRouter(
        prefix="/predict",
        tags=["predict"],
        responses=BAD_REQUEST | UNAVAILABLE,
        dependencies=[Depends(refuse_unknown_query)],
    )

    async def what_if(asked: Any, parts: PartsDep) -> Any:
        """The score if some features had other values. It is not a prediction and is not stored."""
        return await _answer(asked, asking.question(asked), parts)

    what_if.__annotations__["asked"] = asking.what_if
    router.add_api_route("/what-if", what_if, methods=["POST"], response_model=asking.what_if_answer)
    return router


async def _answer(request: Any, question: Question, parts: Parts) -> dict[str, Any]:
    _refuse_unknown(request.features, parts.plan)
    serving = parts.models.get(request.target)
    needs = serving.inputs
    snapshot = await read_snapshot(parts.reader, parts.clock, needs.keys_of(question.named), question.as_of_us)
    stored = needs.of_entities(snapshot.entities, snapshot.at_us)

    def inputs(chosen: dict[str, float | None]) -> tuple[Value, ...]:
        """Return the model's inputs; features of the request are computed from the others unless chosen themselves."""
        values = tuple(chosen.get(name, value) for name, value in zip(needs.entity_names, stored, strict=True))
        values = needs.of_question(values, question.measures, snapshot.at_us)
        names = serving.predictor.features
        return tuple(chosen.get(name, value) for name, value in zip(names, values, strict=True))

    rows = [inputs({}), inputs(request.features)]
    confidences = serving.predictor.score(float32_rows(rows)).tolist()
    return {
        "hypothetical": True,
        "prediction": confidences[1] >= serving.predictor.threshold,
        "confidence": confidences[1],
        "actual_confidence": confidences[0],
        **question.named,
        "features_used": dict(zip(serving.predictor.features, rows[1], strict=True)),
        "timestamp": from_micros(snapshot.at_us),
        "model_version": serving.predictor.version,
        "threshold": serving.predictor.threshold,
    }


def _refuse_unknown(features: dict[str, float | None], plan: Plan) -> None:
    unknown = sorted(features.keys() - set(plan.names))
    if unknown:
        message = "no feature has this name; /features and /model/info list them"
        raise RequestValidationError(
            [{"loc": ("body", "features", name), "msg": message, "type": "feature"} for name in unknown[:10]]
        )
