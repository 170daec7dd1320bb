"""What every request and answer has around it: an id, a time, a size limit, and the versions that answered."""

import logging
import re
from contextvars import ContextVar
from random import getrandbits
from time import perf_counter
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data.errors import UnavailableError
from server.api.parts import Parts
from server.api.problems import problem

__all__ = ["IS_HEAD", "MAX_BODY", "Envelope", "request_id"]

_log = logging.getLogger("encore.request")

MAX_BODY = 2 * 1024 * 1024
"""Bytes of a request's body. A batch of 1,000 rows is at most 1.6 MB."""

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that is being answered."""

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

TOO_LARGE = f"a body may have {MAX_BODY:,} bytes"

_GONE = 499
"""What is counted as the status of a request whose caller hung up: nobody was told anything (nginx's number)."""

IS_HEAD = "encore.head"
"""Where the scope of a request says that it was a HEAD, which is answered as the GET that it asks about."""


class Envelope:
    """The outermost layer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        given, length, chunked = b"", 0, False
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                given = value
            elif name == b"content-length":
                length = int(value) if value.isdigit() else MAX_BODY + 1
            elif name == b"transfer-encoding":
                chunked = True
        own = given if _ID.fullmatch(given) else b"%016x" % getrandbits(64)
        request_id.set(own.decode())
        parts: Parts | None = getattr(scope["app"].state, "parts", None)  # None: it has not started
        status = 0
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET", IS_HEAD: True}
            send = _without_body(send)

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", own), *_versions(parts)]
            await send(message)

        try:
            if length > MAX_BODY:
                await problem(413, TOO_LARGE)(scope, receive, answer)
            else:
                await self._app(scope, _bounded(receive) if chunked else receive, answer)
        except ClientDisconnect:
            status = _GONE
        except Exception:
            _log.exception("an error in the server")
            if status:
                raise  # the answer has begun: all that is left is to break it off
            await problem(500, "an error in the server; its log says more")(scope, receive, answer)
        finally:
            if parts is not None:
                _note(parts, scope, status, perf_counter() - began)


def _without_body(send: Send) -> Send:
    async def answer(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return answer


def _note(parts: Parts, scope: Scope, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", "none")
    parts.telemetry.note_answer(route, status, seconds)
    if _log.isEnabledFor(logging.INFO):
        about = {"status": status, "ms": round(1000 * seconds, 3), "route": route}
        _log.info("%s %s", scope["method"], route, extra=about)


def _versions(parts: Parts | None) -> list[tuple[bytes, bytes]]:
    if parts is None:
        return []
    try:
        version = parts.models.get().predictor.version
    except UnavailableError:
        return [(b"x-feature-plan", parts.plan_hash)]
    return [(b"x-model-version", version.encode()), (b"x-feature-plan", parts.plan_hash)]


def _bounded(receive: Receive) -> Receive:
    """A body whose length is not told is counted as it comes."""
    size = 0

    async def counted() -> Any:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY:
            raise HTTPException(413, TOO_LARGE)
        return message

    return counted
