"""How errors are told to callers: a status, what is wrong and what to do, and never a stack trace."""

import logging
from typing import Any

import redis
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from data.errors import UnavailableError
from server.scoring import AsOfError

__all__ = ["BAD_REQUEST", "UNAVAILABLE", "UNKNOWN", "FieldProblem", "Invalid", "Problem", "install_problems"]

_log = logging.getLogger(__name__)


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str


class FieldProblem(BaseModel):
    """What is wrong with one field; `loc` is where it stands: body, query or path, then names and places."""

    loc: list[str | int] = Field(examples=[["body", "user_id"]])
    msg: str
    type: str


class Invalid(BaseModel):
    """What is wrong with a request."""

    detail: list[FieldProblem]


_Responses = dict[int | str, dict[str, Any]]

BAD_REQUEST: _Responses = {
    400: {"model": Problem, "description": "The body is not JSON"},
    422: {"model": Invalid, "description": "A field is wrong; `loc` names it"},
}
UNAVAILABLE: _Responses = {503: {"model": Problem, "description": "Redis or the model is not there; says which"}}
UNKNOWN: _Responses = {404: {"model": Problem, "description": "Nobody has seen this user"}}


def install_problems(app: FastAPI) -> None:
    """Make the app answer each kind of error in its way."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(AsOfError, _as_of)
    app.add_exception_handler(UnavailableError, _unavailable)
    app.add_exception_handler(redis.RedisError, _redis)
    app.add_exception_handler(Exception, _bug)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    """Says where and what, without repeating the input: that may be huge, secret or not even text."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as it is registered
    return _refuse([(found["loc"], found["msg"], found["type"]) for found in error.errors()])


async def _as_of(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AsOfError)  # noqa: S101 - as it is registered
    if request.method == "GET":
        return _refuse([(("query", "as_of"), str(error), "as_of")])
    rows = ("rows", error.row) if request.url.path.endswith("/batch") else ()
    return _refuse([(("body", *rows, "as_of"), str(error), "as_of")])


async def _unavailable(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 503)


async def _redis(_: Request, error: Exception) -> JSONResponse:
    """Redis is there and refuses: out of memory, loading, read-only, a key of another program."""
    _log.error("Redis: %s", error)
    return JSONResponse({"detail": f"Redis refused a command: {error}"}, 503)


async def _bug(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse({"detail": "an error in the server; its log says more"}, 500)


def _refuse(found: list[tuple[tuple[str | int, ...], str, str]]) -> JSONResponse:
    return JSONResponse(
        {
            "detail": [
                {"loc": [_text(place) for place in loc], "msg": _text(msg.removeprefix("Value error, ")), "type": kind}
                for loc, msg, kind in found
            ]
        },
        422,
    )


def _text(value: str | int) -> str | int:
    """Text that can be sent: a name in a body may hold half a surrogate pair, which UTF-8 cannot say."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
