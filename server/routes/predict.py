"""Scoring: will this user buy this product again?"""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response

from data.clock import wall_clock
from server.activity import LastPrediction
from server.deps import Parts, parts_of
from server.problems import BAD_REQUEST, UNAVAILABLE
from server.schemas import BatchAnswer, BatchRequest, Prediction, PredictQuery, PredictRequest, told
from server.scoring import Answer, Question

__all__ = ["router"]

router = APIRouter(
    prefix="/predict",
    tags=["predict"],
    responses=BAD_REQUEST | UNAVAILABLE,
)

_encode = msgspec.json.Encoder().encode


# The routes answer with bytes. FastAPI would check an answer of 96 features against its own description, and write it
# with a slower encoder: together as long as computing it. A test holds the answers against the description instead.


@router.post("", response_model=Prediction)
async def predict(asked: PredictRequest, request: Request) -> Response:
    """The probability that the user buys the product again, and what it was made from.

    A user or a product that nobody has seen is scored all the same, and the answer says `cold_start`.
    """
    [answer] = await _answers([asked.question()], parts_of(request))
    return _json(told(answer))


@router.get("", response_model=Prediction)
async def predict_by_query(asked: Annotated[PredictQuery, Query()], request: Request) -> Response:
    """As POST, with the question in the query string (a `+` in a time's zone is written `%2B`)."""
    [answer] = await _answers([asked.question()], parts_of(request))
    return _json(told(answer))


@router.post("/batch", response_model=BatchAnswer)
async def predict_batch(asked: BatchRequest, request: Request) -> Response:
    """Answers to 1 to 1000 questions, in their order, from one read and one scoring call. One bad row refuses all."""
    answers = await _answers([row.question() for row in asked.rows], parts_of(request))
    return _json({"predictions": [told(answer) for answer in answers]})


async def _answers(questions: list[Question], parts: Parts) -> list[Answer]:
    answers = await parts.scoring.score(questions)
    last = answers[-1]
    parts.activity.note_predictions(
        len(answers),
        LastPrediction(
            wall_clock(), last.question.user_id, last.question.product_id, last.probability, last.prediction
        ),
    )
    return answers


def _json(told: Any) -> Response:
    return Response(_encode(told), media_type="application/json")
