"""Answers as messages of the topic `predictions`, with a shadow challenger's scores of the same questions.

They are made after the answers were sent: at once, or in the sink's thread if a challenger scores them.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from data.clock import wall_clock
from data.schema import Schema
from data.units import from_micros
from events.predictions.message import Receipt, Shadow, encode_prediction, prediction_class
from events.predictions.sink import Message, PredictionSink
from model.artifact.predictor import Predictor
from model.rows import float32_rows
from server.scoring.contenders import Models
from server.scoring.scoring import Answer

__all__ = ["Given", "PredictionMessages", "observer"]

_MANY = 50
"""With more answers than this, messages are not made on the loop, where they would delay other requests."""

Given = tuple[datetime, Answer]
"""The time of an answer, and the answer."""


def observer(sink: PredictionSink[Given], models: Models) -> Callable[[Sequence[Answer]], None]:
    """Return the function that hands answers to the sink, on the server's loop."""

    def observe(answers: Sequence[Answer]) -> None:
        now = from_micros(wall_clock())
        timed = [(now, answer) for answer in answers]
        sink.offer(timed, later=len(timed) > _MANY or models.has_challenger)

    return observe


class PredictionMessages:
    """Converts answers to messages."""

    def __init__(self, models: Models, schema: Schema) -> None:
        self._models = models
        self._prediction = prediction_class(schema)

    def __call__(self, timed: Sequence[Given]) -> Iterable[Message]:
        """Yield a message per answer."""
        shadows = self._shadows([answer for _, answer in timed])
        for (now, answer), shadow in zip(timed, shadows, strict=True):
            predictor, question = answer.predictor, answer.question
            yield (
                question.about.encode(),
                encode_prediction(
                    self._prediction(
                        id=answer.id,
                        timestamp=now,
                        as_of=answer.at,
                        target=predictor.metadata.target,
                        **question.named,
                        model=predictor.version,
                        role=answer.role,
                        score=answer.probability,
                        threshold=predictor.threshold,
                        prediction=answer.prediction,
                        cold_start=answer.cold_start,
                        shadow=shadow,
                        features=answer.features,
                        origin=answer.origin,
                        receipt=_receipt(answer),
                    )
                ),
            )

    def _shadows(self, answers: Sequence[Answer]) -> list[Shadow | None]:
        """Return the challenger's score of each answer; None if there is no challenger, or it needs other inputs."""
        shadows: list[Shadow | None] = [None] * len(answers)
        by_model: dict[Predictor, list[int]] = {}
        for place, answer in enumerate(answers):
            if answer.role == "champion":
                by_model.setdefault(answer.predictor, []).append(place)
        for champion, places in by_model.items():
            serving = self._models.challenger(champion.metadata.target).serving
            if serving is None or not set(serving.predictor.features) <= set(champion.features):
                continue
            challenger = serving.predictor
            columns = [champion.features.index(name) for name in challenger.features]
            matrix = float32_rows([answers[place].values for place in places])[:, columns]
            for place, score in zip(places, challenger.score(matrix).tolist(), strict=True):
                shadows[place] = Shadow(challenger.version, score, challenger.threshold)
        return shadows


def _receipt(answer: Answer) -> Receipt | None:
    inputs = answer.inputs
    if inputs is None:
        return None
    return Receipt(
        sha256=answer.predictor.sha256,
        plan=inputs.plan,
        entities=inputs.entities,
        fences=answer.fences,
        measures=tuple(answer.question.measures),
        last_event_us=answer.last_event_us,
    )
