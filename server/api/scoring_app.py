"""The scoring endpoints, as one ASGI callable in front of FastAPI, which lists them in its OpenAPI document.

FastAPI tries its routes in turn and resolves dependencies, forms and files for every request, which costs as much as
the answer itself. Here an endpoint is found by one dictionary lookup, Pydantic parses a body's bytes, and answers are
not validated against their schema, which would take as long as computing them. A test validates them instead.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Annotated, Any, get_args, get_type_hints
from urllib.parse import unquote_to_bytes

import msgspec
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from data.errors import EncoreError
from data.units import to_micros
from events.predictions.message import LIVE, Origin
from model.rows import float32_rows
from server.api.asgi.doors import route_path
from server.api.asgi.envelope import IS_HEAD
from server.api.asgi.guard import Guard
from server.api.asking import Asking
from server.api.parts import parts_of
from server.api.problems import BAD_REQUEST, UNAVAILABLE, tell
from server.api.schemas import PredictOptions, Ranking, RankRequest, told, told_errors
from server.scoring.question import Question, is_of_products
from server.scoring.scoring import Answer

__all__ = ["ORIGIN_HEADER", "V1", "ScoringApp", "scoring_router"]

V1 = "/api/v1"
"""The prefix under which every route is also served."""

_JSON = re.compile(rb"application/(.*\+)?json")  # RFC 6839 gives other types JSON's suffix

ORIGIN_HEADER = b"x-encore-origin"
"""The header by which the console and probes mark their questions as not the shop's."""

_ORIGINS: dict[bytes, Origin] = {origin.encode(): origin for origin in get_args(Origin)}

_OPTIONS = [
    {"name": name, "in": "query", "required": False, "schema": schema, "description": schema.pop("description")}
    for name, schema in PredictOptions.model_json_schema()["properties"].items()
]

_encode = msgspec.json.Encoder().encode

_COUNTS = "encore.counts"
"""The entry of a GET's scope that decides whether its answer is kept as a prediction."""

_ODD = re.compile(rb"[%\x80-\xff]")
_GARBLED = "is not UTF-8, percent-encoded"


class _NoOptions(BaseModel):
    """The query string of a POST without options."""

    model_config = ConfigDict(extra="forbid")


class ScoringApp:
    """Checks the guard, then serves the endpoints of `router`; other paths and methods go to `app`."""

    def __init__(self, app: ASGIApp, guard: Guard, router: APIRouter) -> None:
        self._app = app
        self._guard = guard
        self._endpoints = {
            (method, prefix + route.path): (route, get_type_hints(route.endpoint)["asked"])
            for route in router.routes
            if isinstance(route, APIRoute)
            for method in route.methods or ()
            for prefix in ("", V1)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        answer = self._app
        if scope["type"] == "http":
            answer = await self._guard.refuse(scope) or await self._answer(scope, receive) or self._app
        await answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> ASGIApp | None:
        """Return the answer of an endpoint, or the refusal of a malformed URL; None to pass the request to `app`."""
        endpoint = self._endpoints.get((scope["method"], route_path(scope)))
        request = Request(scope, receive)
        try:
            _refuse_garbled(scope)
            if endpoint is None:
                return None
            scope["route"], model = endpoint
            if scope["method"] == "GET":
                scope[_COUNTS] = IS_HEAD not in scope and self._guard.counts(scope)
                asked = _query(model, request)
            else:
                asked = await _body(model, request)
            return _json(_encode(await scope["route"].endpoint(asked, request)))
        except Exception as error:  # noqa: BLE001 - `tell` answers it, or raises it again
            return await tell(request, error)


def _refuse_garbled(scope: Scope) -> None:
    """Raise `RequestValidationError` for a URL that is not percent-encoded UTF-8.

    Starlette would decode it to a different id: with U+FFFD in it, or with each byte as a letter.
    """
    if _ODD.search(scope.get("raw_path") or b"") and not _is_text(scope["raw_path"]):
        raise RequestValidationError([{"loc": ("path",), "msg": _GARBLED, "type": "encoding"}])
    query = scope["query_string"]
    if _ODD.search(query) and not _is_text(query):
        wrong = next(part for part in query.split(b"&") if not _is_text(part)).partition(b"=")[0]
        name = wrong.decode() if wrong.isalnum() else ""
        raise RequestValidationError([{"loc": ("query", *filter(None, [name])), "msg": _GARBLED, "type": "encoding"}])


def _is_text(quoted: bytes) -> bool:
    try:
        unquote_to_bytes(quoted).decode()
    except UnicodeDecodeError:
        return False
    return quoted.isascii()


def _json(body: bytes) -> ASGIApp:
    async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer


async def _body(model: type[BaseModel], request: Request) -> Any:
    """Return the body as `model`. Raises `RequestValidationError` if it is invalid."""
    kind = next((value for name, value in request.scope["headers"] if name == b"content-type"), b"")
    if not _JSON.fullmatch(kind.partition(b";")[0].strip().lower()):
        fault = {"loc": ("body",), "msg": "the body is not sent as application/json", "type": "content_type"}
        raise RequestValidationError([fault])
    chunks, more = [], True
    while more:  # `request.body()` goes through a generator
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    return _checked("body", model.model_validate_json, b"".join(chunks))


def _query(model: type[BaseModel], request: Request) -> Any:
    """Return the query string as `model`. Raises as `_body` does, and for a repeated name."""
    parameters = request.query_params.multi_items()
    twice = [name for name, count in Counter(name for name, _ in parameters).items() if count > 1]
    if twice:
        raise RequestValidationError([{"loc": ("query", twice[0]), "msg": "is given twice", "type": "twice"}])
    return _checked("query", model.model_validate, dict(parameters))


def _checked(where: str, validate: Callable[[Any], BaseModel], data: Any) -> BaseModel:
    try:
        return validate(data)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**fault, "loc": (where, *fault["loc"])} for fault in faults]) from None


def scoring_router(asking: Asking) -> APIRouter:
    """Return the router with the endpoints `async def (asked: Model, request: Request)`.

    `asked` is the query of a GET, or the body of a POST.
    """
    router = APIRouter(tags=["predict"], responses=BAD_REQUEST | UNAVAILABLE)
    endpoints = _Endpoints(asking)
    for handler, path, model, answer, extra in (
        (endpoints.predict, "/predict", asking.body, asking.prediction, {"parameters": _OPTIONS}),
        (endpoints.predict_batch, "/predict/batch", asking.batch, asking.batch_answer, None),
        (endpoints.rank, "/rank", RankRequest, Ranking, None),
    ):
        endpoint = _asking(handler, model)
        router.add_api_route(path, endpoint, methods=["POST"], response_model=answer, openapi_extra=extra)
    by_query = _asking(endpoints.predict_by_query, Annotated[asking.query, Query()])
    router.add_api_route("/predict", by_query, methods=["GET"], response_model=asking.prediction)
    return router


def _asking(endpoint: Callable[..., Any], model: Any) -> Callable[..., Any]:
    """Return the endpoint with `model` as its annotation, which FastAPI and `ScoringApp` read."""

    @wraps(endpoint)
    async def annotated(asked: Any, request: Request) -> Any:
        return await endpoint(asked, request)

    annotated.__annotations__ = {"asked": model, "request": Request}
    del annotated.__wrapped__  # so that its annotations are not read instead
    return annotated


class _Endpoints:
    """The endpoints of one schema's questions."""

    def __init__(self, asking: Asking) -> None:
        self._question = asking.question
        self._schema = asking.schema
        self._nothing = (None,) * len(asking.schema.asked_measures)

    async def predict(self, asked: Any, request: Request) -> Any:
        """The probability that what the target asks about happens, and the features it is computed from.

        What has no events is scored all the same, and the answer says `cold_start`. With `explain`, the answer lists
        the features' contributions.
        """
        if request.scope["query_string"]:
            asked = asked.model_copy(update=_query(PredictOptions, request).model_dump(exclude_none=True))
        return await self._predict(asked, request)

    async def predict_by_query(self, asked: Any, request: Request) -> Any:
        """As POST, with the question in the query string (a `+` in a time's zone is written `%2B`)."""
        return await self._predict(asked, request)

    async def predict_batch(self, asked: Any, request: Request) -> Any:
        """Answers to 1 to 1000 questions, in their order, from one read and one scoring call.

        A row that is not of its form refuses all. One that cannot be answered (its time, or Redis) has null in its
        place, and `errors` says why; where that is all of them, the answer is the first one's refusal.
        """
        _refuse_options(request)
        answers = await _score_each([self._question(row) for row in asked.rows], request, asked.target)
        rules = parts_of(request).interventions.rules
        return {
            "predictions": [told(answer, rules) if isinstance(answer, Answer) else None for answer in answers],
            "errors": told_errors(answers),
        }

    async def rank(self, asked: RankRequest, request: Request) -> Any:
        """Up to 500 products by score, the most likely first, from one read and one scoring call.

        Where questions name other things than a user and a product, `/predict/batch` ranks them.
        """
        _refuse_options(request)
        if not is_of_products(self._schema):
            named = ", ".join(self._schema.asked_keys)
            raise HTTPException(
                404, f"questions of this project name {named}; ask `/predict/batch` and sort its answers"
            )
        as_of_us = None if asked.as_of is None else to_micros(asked.as_of)
        questions = [
            Question({"user_id": asked.user_id, "product_id": product}, self._nothing, as_of_us)
            for product in asked.products
        ]
        results = await _score_each(questions, request, asked.target)
        scored = (result for result in results if isinstance(result, Answer))
        answers = sorted(scored, key=lambda answer: -answer.probability)
        predictor = answers[0].predictor
        return {
            "user_id": asked.user_id,
            "model_version": predictor.version,
            "threshold": predictor.threshold,
            "ranking": [
                {
                    "product_id": answer.question.named["product_id"],
                    "confidence": answer.probability,
                    "prediction": answer.prediction,
                    "cold_start": answer.cold_start,
                    "prediction_id": answer.id or None,
                }
                for answer in answers
            ],
            "errors": told_errors(results),
        }

    async def _predict(self, asked: Any, request: Request) -> dict[str, Any]:
        [answer] = await parts_of(request).scoring.score(
            [self._question(asked)], asked.target, origin=_origin(request), keep=request.scope.get(_COUNTS, True)
        )
        rules = parts_of(request).interventions.rules
        if not asked.explain:
            return told(answer, rules)
        row = float32_rows([answer.values])
        return told(answer, rules, await run_in_threadpool(answer.predictor.explain, row), asked.top_k)


def _refuse_options(request: Request) -> None:
    """Raise `RequestValidationError` for a query string, which the endpoint does not use."""
    if request.scope["query_string"]:
        _query(_NoOptions, request)


def _origin(request: Request) -> Origin:
    """Return who asks, by the request's header."""
    header = next((value for name, value in request.scope["headers"] if name == ORIGIN_HEADER), b"")
    return _ORIGINS.get(header, LIVE)


async def _score_each(
    questions: Sequence[Question], request: Request, target: str | None
) -> list[Answer | EncoreError]:
    """Return an answer or an error for each question. Raises the first error if there is no answer at all."""
    results = await parts_of(request).scoring.score_each(questions, target, origin=_origin(request))
    if isinstance(results[0], EncoreError) and not any(isinstance(result, Answer) for result in results):
        raise results[0]
    return results
