"""Scoring: will this user buy this product again?"""

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from server.api.answering import answer, encoded
from server.api.asgi.body_route import BodyRoute
from server.api.parts import parts_of
from server.api.problems import BAD_REQUEST, UNAVAILABLE
from server.api.schemas import BatchAnswer, BatchRequest, Prediction, PredictOptions, PredictQuery, PredictRequest, told

__all__ = ["router"]

router = APIRouter(prefix="/predict", tags=["predict"], route_class=BodyRoute, responses=BAD_REQUEST | UNAVAILABLE)

OPTIONS = [
    {"name": name, "in": "query", "required": False, "schema": schema, "description": schema.pop("description")}
    for name, schema in PredictOptions.model_json_schema()["properties"].items()
]

# The routes answer with bytes. FastAPI would check an answer of 96 features against its own description, and write it
# with a slower encoder: together as long as computing it. A test holds the answers against the description instead.
# For the same reason what a POST's query string may say is read here, and only where there is one.


@router.post("", response_model=Prediction, openapi_extra={"parameters": OPTIONS})
async def predict(asked: PredictRequest, request: Request) -> Response:
    """The probability that the user buys the product again, and what it was made from.

    A user or a product that nobody has seen is scored all the same, and the answer says `cold_start`. With `explain`,
    the answer says what the features contributed.
    """
    if request.scope["query_string"]:
        asked = asked.model_copy(update=_options(request))
    return await _predict(asked, request)


@router.get("", response_model=Prediction)
async def predict_by_query(asked: Annotated[PredictQuery, Query()], request: Request) -> Response:
    """As POST, with the question in the query string (a `+` in a time's zone is written `%2B`)."""
    return await _predict(asked, request)


@router.post("/batch", response_model=BatchAnswer)
async def predict_batch(asked: BatchRequest, request: Request) -> Response:
    """Answers to 1 to 1000 questions, in their order, from one read and one scoring call. One bad row refuses all."""
    parts = parts_of(request)
    answers = await answer([row.question() for row in asked.rows], parts, asked.target)
    return encoded({"predictions": [told(answer, parts.rules) for answer in answers]})


async def _predict(asked: PredictRequest | PredictQuery, request: Request) -> Response:
    parts = parts_of(request)
    [found] = await answer([asked.question()], parts, asked.target)
    if not asked.explain:
        return encoded(told(found, parts.rules))
    with np.errstate(over="ignore"):  # as scoring does
        row = np.array([found.values], np.float32)
    explanation = await run_in_threadpool(found.predictor.explain, row)
    return encoded(told(found, parts.rules, explanation, asked.top_k))


def _options(request: Request) -> dict[str, Any]:
    try:
        options = PredictOptions.model_validate(dict(request.query_params))
    except ValidationError as error:
        found = [{**one, "loc": ("query", *one["loc"])} for one in error.errors(include_context=False)]
        raise RequestValidationError(found) from None
    return options.model_dump(exclude_none=True)
