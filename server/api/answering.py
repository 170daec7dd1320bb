"""What every route that scores does: ask, note what was answered, and write it."""

from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import Response

from data.clock import wall_clock
from server.api.parts import Parts
from server.scoring.activity import LastPrediction
from server.scoring.scoring import Answer, Question

__all__ = ["answer", "encoded"]

_encode = msgspec.json.Encoder().encode


async def answer(questions: Sequence[Question], parts: Parts, target: str | None = None) -> list[Answer]:
    """The answers, noted as predictions made. Raises what `Scoring.score` does."""
    answers = await parts.scoring.score(questions, target)
    last = answers[-1]
    parts.activity.note_predictions(
        len(answers),
        LastPrediction(
            wall_clock(), last.question.user_id, last.question.product_id, last.probability, last.prediction
        ),
    )
    return answers


def encoded(told: Any) -> Response:
    """What the server made, as JSON. It is not checked again."""
    return _Json(_encode(told))


class _Json(Response):
    """Bytes of JSON with the two headers that they need, which a `Response` would work out anew each time."""

    def __init__(self, body: bytes) -> None:
        self.status_code = 200
        self.background = None
        self.body = body
        self.raw_headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
