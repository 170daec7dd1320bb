"""The request path: read the entities of the questions, compute their features as of each question, score together.

Requests that arrive while the loop is busy are answered together: one pipelined read of Redis, one matrix, one call of
the model. A lone request is not delayed; the busier the loop, the larger the batch.

    questions ─▶ one pipelined read ─▶ features at each question's time ─▶ one float32 matrix ─▶ one scoring call
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain, count
from math import prod
from typing import NamedTuple

import msgspec
import numpy as np

from data.clock import wall_clock
from data.errors import BusyError, EncoreError
from data.units import MICROS, from_micros
from events.predictions.message import LIVE, Origin, Role
from features.state.states import EntityKey
from features.state.values import Value
from model.artifact.predictor import Predictor
from server.scoring.clock import LiveClock
from server.scoring.contender import Serving
from server.scoring.contenders import Models
from server.scoring.inputs import Inputs
from server.scoring.question import Question
from server.scoring.reader import ReadEntity, Reader
from server.scoring.snapshot import Snapshot, snapshot_of
from server.scoring.telemetry import LastPrediction, Telemetry

__all__ = ["MAX_WAITING", "Answer", "Scoring", "features_writer"]

_PATIENCE_S = 0.002
"""The longest computation of answers before yielding to the event loop, s."""

MAX_WAITING = 10_000
"""The most questions that may wait for an answer at once; more are refused with 503."""


_encode = msgspec.json.Encoder().encode

_moment = lru_cache(maxsize=64)(from_micros)
"""Cached, since most answers of a batch are about one time, which each contains twice."""


@lru_cache(maxsize=32)
def features_writer(names: tuple[str, ...]) -> Callable[[Sequence[Value]], msgspec.Raw]:
    """Return a function that encodes values of these names as JSON: a struct takes a fifth of a dictionary's time."""
    record = msgspec.defstruct("Features", names, frozen=True, gc=False)
    return lambda values: msgspec.Raw(_encode(record(*values)))


class Answer(msgspec.Struct, frozen=True):
    """A score and what it was computed from. `values` are in the order of `predictor.features`.

    `features` are the values by name, as JSON, encoded once for the caller and the archive. `last_event_us` is the time
    of the newest event that the answer includes, 0 if there is none.

    `fences` are those of the entities that `inputs` read, as bytes (empty: no events); with them the score can be
    recomputed. `id` identifies the answer if it is kept, and is empty otherwise.
    """

    question: Question
    predictor: Predictor
    probability: float
    values: tuple[Value, ...]
    features: msgspec.Raw
    at_us: int
    cold_start: bool
    last_event_us: int
    role: Role = "champion"
    origin: Origin = LIVE
    inputs: Inputs | None = None
    fences: tuple[bytes, ...] = ()
    id: str = ""

    @property
    def at(self) -> datetime:
        """The time at which the values are true."""
        return _moment(self.at_us)

    @property
    def prediction(self) -> bool:
        """Whether the probability reaches the model's threshold."""
        return self.probability >= self.predictor.threshold


class _Ask(NamedTuple):
    """The questions of one request, whether to keep their answers, and the answers' future."""

    questions: Sequence[Question]
    keys: Sequence[tuple[EntityKey, ...]]
    servings: Sequence[Serving]
    keep: bool
    origin: Origin
    future: "asyncio.Future[list[Answer | EncoreError]]"


class _Row(msgspec.Struct, frozen=True, gc=False):
    """A question, its model, and the model's inputs, to be scored."""

    question: Question
    serving: Serving
    snapshot: Snapshot
    values: tuple[Value, ...]


class Scoring:
    """Answers questions with the models in use. A question is not retained after its answer.

    `observe` is called with the answers after they are returned: for a shadow model and the topic of predictions. It
    runs on the loop, so it must be quick or hand its work on.
    """

    def __init__(
        self,
        reader: Reader,
        models: Models,
        clock: LiveClock,
        *,
        telemetry: Telemetry,
        observe: Callable[[Sequence[Answer]], None] | None = None,
    ) -> None:
        self._reader = reader
        self._models = models
        self._clock = clock
        self._telemetry = telemetry
        self.observe = observe
        self._asks: list[_Ask] = []
        self._waiting = 0
        self._running: set[asyncio.Task[None]] = set()
        self._process = uuid.uuid4().hex[:16]
        self._numbers = count(1)

    async def score(
        self, questions: Sequence[Question], target: str | None = None, *, origin: Origin = LIVE, keep: bool = True
    ) -> list[Answer]:
        """Return an answer to each question, in order. Raises as `score_each` does, and a question's error."""
        answers: list[Answer] = []
        for answer in await self.score_each(questions, target, origin=origin, keep=keep):
            if isinstance(answer, EncoreError):
                raise answer
            answers.append(answer)
        return answers

    async def score_each(
        self, questions: Sequence[Question], target: str | None = None, *, origin: Origin = LIVE, keep: bool = True
    ) -> "list[Answer | EncoreError]":
        """Return an answer to each question, in order, or its error; `origin` is who asks.

        Without `keep` the answers are neither counted nor observed.

        An error is an `AsOfError` for a time outside of the allowed range, or an `UnavailableError` if Redis refuses an
        entity's state. Raises `UnavailableError` without a model or Redis, `BusyError` if too many questions wait
        already, `UnknownTargetError`.
        """
        servings = self._models.choose(target, [question.about for question in questions])
        if self._waiting + len(questions) > MAX_WAITING:
            raise BusyError(f"{self._waiting} questions wait for an answer already; ask again later")
        loop = asyncio.get_running_loop()
        keys = [serving.inputs.keys_of(question.named) for question, serving in zip(questions, servings, strict=True)]
        ask = _Ask(questions, keys, servings, keep, origin, loop.create_future())
        self._asks.append(ask)
        if len(self._asks) == 1:
            # The batch starts after every request that the loop has read by now, and includes them all.
            task = loop.create_task(self._answer())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        self._waiting += len(questions)
        try:
            return await ask.future
        finally:
            self._waiting -= len(questions)

    async def _answer(self) -> None:
        asks, self._asks = self._asks, []
        self._telemetry.batch.observe(sum(len(ask.questions) for ask in asks))
        try:
            now_us = await self._clock()
            entities = await self._reader.read(key for ask in asks for keys in ask.keys for key in keys)
            rows = await self._rows(asks, entities, now_us)
            self._score(rows, now_us)
        except Exception as error:  # noqa: BLE001 - any error must reach the waiting callers
            for ask in asks:
                if not ask.future.done():
                    ask.future.set_exception(error)

    async def _rows(
        self, asks: Sequence[_Ask], entities: dict[EntityKey, ReadEntity], now_us: int
    ) -> list[tuple[_Ask, list[_Row | EncoreError]]]:
        """Return the rows of every ask; a row that cannot be answered is replaced by its error."""
        rows_by_ask = []
        pause = time.monotonic() + _PATIENCE_S
        for ask in asks:
            rows: list[_Row | EncoreError] = []
            for place, (question, keys, serving) in enumerate(zip(ask.questions, ask.keys, ask.servings, strict=True)):
                try:
                    rows.append(self._row(place, question, [entities[key] for key in keys], serving, now_us))
                except EncoreError as error:
                    rows.append(error)
                if time.monotonic() > pause:
                    await asyncio.sleep(0)
                    pause = time.monotonic() + _PATIENCE_S
            rows_by_ask.append((ask, rows))
        return rows_by_ask

    def _row(self, place: int, question: Question, entities: list[ReadEntity], serving: Serving, now_us: int) -> _Row:
        snapshot = snapshot_of(entities, question.as_of_us, now_us, place)
        values = serving.inputs.of_entities(entities, snapshot.at_us)
        return _Row(question, serving, snapshot, serving.inputs.of_question(values, question.measures, snapshot.at_us))

    def _score(self, rows_by_ask: Sequence[tuple[_Ask, list[_Row | EncoreError]]], now_us: int) -> None:
        """Call each model once for all of its rows."""
        by_model: dict[Predictor, list[_Row]] = {}
        for _, rows in rows_by_ask:
            for row in rows:
                if isinstance(row, EncoreError):
                    continue
                by_model.setdefault(row.serving.predictor, []).append(row)
        scores: dict[Predictor, Iterator[tuple[float, msgspec.Raw]]] = {}
        for predictor, model_rows in by_model.items():
            shape = len(model_rows), len(predictor.features)
            numbers = chain.from_iterable(row.values for row in model_rows)
            with np.errstate(over="ignore"):  # a number past float32 is infinite to the model
                matrix = np.fromiter(numbers, np.float32, prod(shape)).reshape(shape)  # None becomes NaN
            began = time.perf_counter()
            probabilities = predictor.score(matrix).tolist()
            self._telemetry.scoring_seconds.observe(time.perf_counter() - began)
            encoded = map(features_writer(predictor.features), (row.values for row in model_rows))
            scores[predictor] = zip(probabilities, encoded, strict=True)
        kept_answers: list[Answer] = []
        for ask, rows in rows_by_ask:
            answers = [
                row if isinstance(row, EncoreError) else self._to_answer(row, ask, *next(scores[row.serving.predictor]))
                for row in rows
            ]
            if not ask.future.done():  # its caller may have been cancelled
                ask.future.set_result(answers)
            successful = [answer for answer in answers if isinstance(answer, Answer)]
            newest_us = max((answer.last_event_us for answer in successful), default=0)
            if newest_us:
                self._telemetry.feature_age.observe(max(0, now_us - newest_us) / MICROS)
            if ask.keep:
                kept_answers += successful
        if not kept_answers:
            return
        newest = kept_answers[-1]
        last = LastPrediction(from_micros(wall_clock()), newest.question.named, newest.probability, newest.prediction)
        self._telemetry.note_predictions(len(kept_answers), sum(answer.cold_start for answer in kept_answers), last)
        if self.observe is not None:
            # After the waiting requests, which write and send their answers in the loop's next turn.
            asyncio.get_running_loop().call_soon(self.observe, kept_answers)

    def _to_answer(self, row: _Row, ask: _Ask, probability: float, features: msgspec.Raw) -> Answer:
        predictor, inputs, role = row.serving
        entities = row.snapshot.entities
        return Answer(
            row.question,
            predictor,
            probability,
            row.values,
            features,
            row.snapshot.at_us,
            not all(entities[place].seen for place in inputs.named_alone),
            row.snapshot.last_event_us,
            role,
            ask.origin,
            inputs,
            tuple([entity.fence for entity in entities]),
            f"{self._process}-{next(self._numbers)}" if ask.keep and self.observe is not None else "",
        )
