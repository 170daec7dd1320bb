"""Scoring: will this user buy this product again?"""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.concurrency import run_in_threadpool

from data.clock import wall_clock
from server.activity import LastPrediction
from server.deps import Parts, PartsDep, count_request
from server.problems import BAD_REQUEST, UNAVAILABLE
from server.schemas import BatchAnswer, BatchRequest, Prediction, PredictQuery, PredictRequest
from server.scoring import Answer, Question

__all__ = ["router"]

router = APIRouter(
    prefix="/predict",
    tags=["predict"],
    dependencies=[Depends(count_request)],
    responses=BAD_REQUEST | UNAVAILABLE,
)


# Coroutines that send only the waiting to a thread: FastAPI would send a plain function's answer to a second one, to
# be checked, and that costs a third of the time of an answer.


@router.post("")
async def predict(asked: PredictRequest, parts: PartsDep) -> Prediction:
    """The probability that the user buys the product again, and what it was made from.

    A user or a product that nobody has seen is scored all the same, and the answer says `cold_start`.
    """
    [answer] = await run_in_threadpool(_answers, [asked.question()], parts)
    return Prediction.of(answer)


@router.get("")
async def predict_by_query(asked: Annotated[PredictQuery, Query()], parts: PartsDep) -> Prediction:
    """As POST, with the question in the query string (a `+` in a time's zone is written `%2B`)."""
    [answer] = await run_in_threadpool(_answers, [asked.question()], parts)
    return Prediction.of(answer)


@router.post("/batch")
async def predict_batch(asked: BatchRequest, parts: PartsDep) -> BatchAnswer:
    """Answers to 1 to 1000 questions, in their order, from one read and one scoring call. One bad row refuses all."""
    answers = await run_in_threadpool(_answers, [row.question() for row in asked.rows], parts)
    return BatchAnswer(predictions=[Prediction.of(answer) for answer in answers])


def _answers(questions: list[Question], parts: Parts) -> list[Answer]:
    answers = parts.scoring.score(questions)
    last = answers[-1]
    parts.activity.note_predictions(
        len(answers),
        LastPrediction(
            wall_clock(), last.question.user_id, last.question.product_id, last.probability, last.prediction
        ),
    )
    return answers
