"""The request path: read the three entities, compute their features at the time asked, score them together.

questions ─▶ one pipelined read ─▶ features at each question's time ─▶ one float32 matrix ─▶ one scoring call
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np

from data.clock import Clock
from data.errors import EncoreError
from data.event import MICROS, from_micros
from features.online import EntityKey
from features.plan import Plan
from features.values import RequestValues, Value
from model.predictor import Predictor
from server.champion import Champion
from server.reader import Known, Reader, pair_key, product_key, user_key

__all__ = ["Answer", "AsOfError", "Question", "Scoring"]

_FARTHEST_US = 10 * 366 * 86_400 * MICROS
"""How far ahead a question may look: past ten years it is a mistake in the date."""


class AsOfError(EncoreError):
    """A question about a time that states cannot answer. `row` is the question's place among those asked."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


class Question(NamedTuple):
    """Will this user buy this product again? `as_of_us` is UTC microseconds; None is now."""

    user_id: str
    product_id: str
    amount: float | None = None
    as_of_us: int | None = None


class Answer(NamedTuple):
    """A score and what it was made from. `values` are in the order of `predictor.features`."""

    question: Question
    predictor: Predictor
    probability: float
    values: tuple[Value, ...]
    at_us: int
    cold_start: bool

    @property
    def at(self) -> datetime:
        """The time at which the values are true."""
        return from_micros(self.at_us)

    @property
    def prediction(self) -> bool:
        """Whether the probability reaches the model's threshold."""
        return self.probability >= self.predictor.threshold


class Scoring:
    """Answers questions with the champion. It holds nothing between two calls."""

    def __init__(self, plan: Plan, reader: Reader, champion: Champion, clock: Clock) -> None:
        self._reader = reader
        self._champion = champion
        self._clock = clock
        self._request = RequestValues(plan)

    def score(self, questions: Sequence[Question]) -> list[Answer]:
        """An answer to each question, in order: one round trip to Redis and one call of the model for them all.

        Raises `UnavailableError` without a model or Redis, `AsOfError` for a time that cannot be answered about.
        """
        predictor, pick = self._champion.get()
        now_us = self._clock()
        asked = [_keys(question) for question in questions]
        known = self._reader.read(key for keys in asked for key in keys)
        answers: list[tuple[tuple[Value, ...], int]] = []
        for row, (question, keys) in enumerate(zip(questions, asked, strict=True)):
            at_us = self._time(row, question, keys, known, now_us)
            named: dict[str, Value] = {}
            for key in keys:
                named.update(known.values(key, at_us))
            requested = self._request.get(named, question.amount, at_us)
            named.update(zip(self._request.names, requested, strict=True))
            answers.append((pick(named), at_us))
        with np.errstate(over="ignore"):  # past float32 a number is infinite to the model
            matrix = np.array([values for values, _ in answers], np.float32)  # None becomes NaN
        scores = predictor.score(matrix).tolist()
        return [
            Answer(question, predictor, score, values, at_us, not (known.seen(keys[0]) and known.seen(keys[1])))
            for question, keys, score, (values, at_us) in zip(questions, asked, scores, answers, strict=True)
        ]

    def _time(
        self,
        row: int,
        question: Question,
        keys: tuple[EntityKey, ...],
        known: Known,
        now_us: int,
    ) -> int:
        """The time that the question is about: as asked, else now, or the newest event where a skewed clock put it."""
        newest = max(known.last_event(key) or 0 for key in keys)
        asked = question.as_of_us
        if asked is None:
            return max(now_us, newest)
        if not 0 <= asked <= now_us + _FARTHEST_US:
            raise AsOfError("before 1970, or more than ten years ahead", row)
        if asked < newest:
            raise AsOfError(
                f"an event of {from_micros(newest).isoformat()} is folded in already, and a state cannot answer about "
                "the time before it; ask at or after it, or use Feast's get_historical_features",
                row,
            )
        return asked


def _keys(question: Question) -> tuple[EntityKey, EntityKey, EntityKey]:
    """User, product, pair."""
    user_id, product_id = question.user_id, question.product_id
    return user_key(user_id), product_key(product_id), pair_key(user_id, product_id)
