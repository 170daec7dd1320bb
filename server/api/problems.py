"""How errors are told to callers: a status, what is wrong and what to do, and never a stack trace."""

import logging
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

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
    "told_as_problem",
]

_log = logging.getLogger(__name__)

_MEDIA = "application/problem+json"
_LATER = {"Retry-After": "1"}


class Problem(BaseModel):
    """Why there is no answer: problem details (RFC 9457)."""

    type: str = Field("about:blank", description="a problem is what its status says")
    title: str = Field(description="the status in words", examples=["Service Unavailable"])
    status: int
    detail: str = Field(description="what is wrong, and what to do")


class FieldProblem(BaseModel):
    """What is wrong with one field; `loc` is where it stands: body, query or path, then names and places."""

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
    """An answer that says what is wrong."""
    told: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors is not None:
        told["errors"] = errors
    return JSONResponse(told, status, headers, _MEDIA)


def install_problems(app: FastAPI) -> None:
    """Make the app answer each kind of error in its way."""
    for kind, tell in _TELLS.items():
        app.add_exception_handler(kind, tell)
    app.openapi = partial(_document, app, app.openapi)  # type: ignore[method-assign]


async def told_as_problem(request: Request, error: Exception) -> Response | None:
    """The answer to a request that ended so; None where that is an error of ours."""
    tell = next((_TELLS[kind] for kind in type(error).__mro__ if kind in _TELLS), None)
    return None if tell is None else await tell(request, error)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Says where and what, without repeating the input: that may be huge, secret or not even text."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as it is registered
    _count(request, "invalid")
    return _refuse([(found["loc"], found["msg"], found["type"]) for found in error.errors()])


async def _as_of(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AsOfError)  # noqa: S101 - as it is registered
    _count(request, "as_of")
    if request.method == "GET":
        return _refuse([(("query", "as_of"), str(error), "as_of")])
    rows = ("rows", error.row) if request.url.path.endswith("/batch") else ()
    return _refuse([(("body", *rows, "as_of"), str(error), "as_of")])


async def _target(request: Request, error: Exception) -> JSONResponse:
    _count(request, "target")
    where = "query" if "target" in request.query_params or request.method == "GET" else "body"
    return _refuse([((where, "target"), str(error), "target")])


async def _unavailable(request: Request, error: Exception) -> JSONResponse:
    _count(request, "busy" if isinstance(error, BusyError) else "unavailable")
    return problem(503, str(error), headers=_LATER)


async def _redis(request: Request, error: Exception) -> JSONResponse:
    """Redis is there and refuses: out of memory, loading, read-only, a key of another program."""
    _log.error("Redis: %s", error)
    _count(request, "unavailable")
    return problem(503, f"Redis refused a command: {error}", headers=_LATER)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - as it is registered
    _count(request, HTTPStatus(error.status_code).name.lower())
    return problem(error.status_code, str(error.detail), headers=error.headers)


_TELLS: dict[type, Callable[[Request, Exception], Coroutine[Any, Any, Response]]] = {
    RequestValidationError: _invalid,
    AsOfError: _as_of,
    UnknownTargetError: _target,
    UnavailableError: _unavailable,
    redis.RedisError: _redis,
    HTTPException: _http,
}


def _count(request: Request, kind: str) -> None:
    request.app.state.parts.meters.errors.labels(kind).inc()


def _document(app: FastAPI, describe: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The OpenAPI document, in which every error is told as what it is: problem details, not plain JSON."""
    if app.openapi_schema is None:
        app.openapi_schema = describe()
        for path in app.openapi_schema["paths"].values():
            for operation in path.values():
                for status, response in operation["responses"].items():
                    if status >= "400" and "application/json" in response.get("content", {}):
                        response["content"] = {_MEDIA: response["content"]["application/json"]}
    return app.openapi_schema


def _refuse(found: list[tuple[tuple[str | int, ...], str, str]]) -> JSONResponse:
    errors = [
        {"loc": [_text(place) for place in loc], "msg": _text(msg.removeprefix("Value error, ")), "type": kind}
        for loc, msg, kind in found
    ]
    where = ".".join(str(_text(place)) for place in found[0][0])
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return problem(422, f"{where}: {errors[0]['msg']}{more}", errors)


def _text(value: str | int) -> str | int:
    """Text that can be sent: a name in a body may hold half a surrogate pair, which UTF-8 cannot say."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
