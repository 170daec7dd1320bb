"""Ranking: which of these products will the user most likely buy again?"""

from fastapi import APIRouter, Request, Response

from data.units import to_micros
from server.api.answering import answer, encoded
from server.api.asgi.body_route import BodyRoute
from server.api.parts import parts_of
from server.api.problems import BAD_REQUEST, UNAVAILABLE
from server.api.schemas import Ranking, RankRequest
from server.scoring.scoring import Question

__all__ = ["router"]

router = APIRouter(prefix="/rank", tags=["predict"], route_class=BodyRoute, responses=BAD_REQUEST | UNAVAILABLE)


@router.post("", response_model=Ranking)
async def rank(asked: RankRequest, request: Request) -> Response:
    """Up to 500 products by score, the most likely first, from one read and one scoring call."""
    as_of_us = None if asked.as_of is None else to_micros(asked.as_of)
    questions = [Question(asked.user_id, product, None, as_of_us) for product in asked.products]
    answers = await answer(questions, parts_of(request), asked.target)
    answers.sort(key=lambda one: -one.probability)
    predictor = answers[0].predictor
    return encoded(
        {
            "user_id": asked.user_id,
            "model_version": predictor.version,
            "threshold": predictor.threshold,
            "ranking": [
                {
                    "product_id": one.question.product_id,
                    "confidence": one.probability,
                    "prediction": one.prediction,
                    "cold_start": one.cold_start,
                }
                for one in answers
            ],
        }
    )
