"""Errors as HTTP answers: status, what is wrong and what to do, without stack traces."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, get_origin

import redis
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from data.errors import AsOfError, BusyError, UnavailableError, UnknownTargetError

__all__ = [
    "BAD_REQUEST",
    "UNAVAILABLE",
    "UNKNOWN",
    "FieldProblem",
    "Invalid",
    "Problem",
    "install_problems",
    "problem",
    "refuse_unknown_query",
    "tell",
    "unauthenticated",
]

_log = logging.getLogger(__name__)

_MEDIA = "application/problem+json"
_LATER = {"Retry-After": "1"}

_MOST_TOLD = 100
"""The most faults of a request that are listed; their number is given, too."""

_LONGEST_TEXT = 300
"""The longest text about one fault, in characters."""

_KINDS = (RequestValidationError, AsOfError, UnknownTargetError, UnavailableError, redis.RedisError, HTTPException)


class Problem(BaseModel):
    """Why there is no answer: problem details (RFC 9457)."""

    type: str = Field("about:blank", description="a problem is what its status says")
    title: str = Field(description="the status in words", examples=["Service Unavailable"])
    status: int
    detail: str = Field(description="what is wrong, and what to do")


class FieldProblem(BaseModel):
    """What is wrong with one field; `loc` is its place: body, query or path, then names and indices."""

    loc: list[str | int] = Field(examples=[["body", "user_id"]])
    msg: str
    type: str


class Invalid(Problem):
    """What is wrong with a request, field by field."""

    errors: list[FieldProblem]


_Responses = dict[int | str, dict[str, Any]]


BAD_REQUEST: _Responses = {
    400: {"model": Problem, "description": "The body is not JSON"},
    413: {"model": Problem, "description": "The body is too large"},
    422: {"model": Invalid, "description": "A field is wrong; `errors` names it"},
}
UNAVAILABLE: _Responses = {
    503: {"model": Problem, "description": "Redis or the model is not there, or too much is asked"}
}
UNKNOWN: _Responses = {404: {"model": Problem, "description": "Nobody has seen it"}}


def problem(
    status: int,
    detail: str,
    errors: list[dict[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return a problem details response."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors is not None:
        content["errors"] = errors
    return JSONResponse(content, status, headers, _MEDIA)


def unauthenticated(why: str) -> Response:
    """Return the answer to who shows no key or token that is good, and where one goes."""
    message = f"{why}, in the header X-API-Key or as Authorization: Bearer"
    return problem(401, message, headers={"WWW-Authenticate": "Bearer"})


def install_problems(app: FastAPI) -> None:
    """Install handlers for each kind of error, and describe the errors in the OpenAPI document."""
    for kind in _KINDS:
        app.add_exception_handler(kind, tell)
    app.openapi = partial(_document, app, app.openapi)  # type: ignore[method-assign]


async def refuse_unknown_query(request: Request) -> None:
    """Raise `RequestValidationError` for a query parameter that is unknown, or repeated although it is not a list.

    FastAPI would ignore the former, and take the last value of the latter.
    """
    fields = request.scope["route"].dependant.query_params
    declared = {field.alias for field in fields}
    once = {field.alias for field in fields if get_origin(field.field_info.annotation) is not list}
    sent = [name for name, _ in request.query_params.multi_items()]
    unknown = [(name, "is not taken here", "extra_forbidden") for name in sent if name not in declared]
    twice = [(name, "is given twice", "twice") for name in once if sent.count(name) > 1]
    if unknown or twice:
        name, message, kind = (unknown + twice)[0]
        raise RequestValidationError([{"loc": ("query", name), "msg": message, "type": kind}])


async def tell(request: Request, error: Exception) -> Response:
    """Return the response to a request that ended with this error; an unexpected error (a bug) is raised again."""
    query, faults = request.method == "GET", None
    headers: Mapping[str, str] | None = None
    status, detail = 503, str(error)
    match error:
        case RequestValidationError():
            kind, faults = "invalid", [(fault["loc"], fault["msg"], fault["type"]) for fault in error.errors()]
        case AsOfError():
            rows = ("rows", error.row) if request.url.path.endswith("/batch") else ()
            kind, faults = "as_of", [(("query", "as_of") if query else ("body", *rows, "as_of"), detail, "as_of")]
        case UnknownTargetError():
            where = "query" if query or "target" in request.query_params else "body"
            kind, faults = "target", [((where, "target"), detail, "target")]
        case UnavailableError():
            kind, headers = "busy" if isinstance(error, BusyError) else "unavailable", _LATER
        case redis.RedisError():  # such as out of memory, loading, read-only, or a key of another type
            _log.error("Redis: %s", error)
            kind, headers, detail = "unavailable", _LATER, f"Redis refused a command: {error}"
        case HTTPException():
            status, detail, headers = error.status_code, str(error.detail), error.headers
            kind = HTTPStatus(status).name.lower()
        case _:
            raise error
    request.app.state.parts.telemetry.errors.labels(kind).inc()
    return problem(status, detail, headers=headers) if faults is None else _refuse(faults)


def _document(app: FastAPI, describe: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the OpenAPI document, with every error declared as problem details instead of plain JSON."""
    if app.openapi_schema is None:
        app.openapi_schema = describe()
        for path in app.openapi_schema["paths"].values():
            for operation in path.values():
                for status, response in operation["responses"].items():
                    if status >= "400" and "application/json" in response.get("content", {}):
                        response["content"] = {_MEDIA: response["content"]["application/json"]}
                    if status == "422":  # replaces FastAPI's description of its own answer
                        response["content"][_MEDIA]["schema"] = {"$ref": "#/components/schemas/Invalid"}
        for name in ("HTTPValidationError", "ValidationError"):
            app.openapi_schema["components"]["schemas"].pop(name, None)
    return app.openapi_schema


def _refuse(faults: list[tuple[tuple[str | int, ...], str, str]]) -> JSONResponse:
    """Return a 422 that lists the faults and their places, without the input, which may be huge, secret or not text.

    The list is bounded, since a body may have a hundred thousand faults, each at a place with a name of a megabyte.
    """
    errors = [
        {"loc": [_text(place) for place in loc], "msg": _text(msg.removeprefix("Value error, ")), "type": kind}
        for loc, msg, kind in faults[:_MOST_TOLD]
    ]
    where = ".".join(str(_text(place)) for place in faults[0][0])
    more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
    return problem(422, f"{where}: {errors[0]['msg']}{more}", errors)


def _text(value: str | int) -> str | int:
    """Return text that UTF-8 can encode, since a name in a body may hold half a surrogate pair; long text is cut."""
    if not isinstance(value, str):
        return value
    shown = value.encode("utf-8", "replace").decode()
    return shown if len(shown) <= _LONGEST_TEXT else f"{shown[: _LONGEST_TEXT - 1]}…"
