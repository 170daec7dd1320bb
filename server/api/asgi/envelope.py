"""The outermost layer of every request: request id, duration, size limit, and headers with versions."""

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
from server.api.parts import PARTS, Parts
from server.api.problems import problem

__all__ = ["IS_HEAD", "MAX_BODY", "Envelope", "request_id"]

_log = logging.getLogger("encore.request")

MAX_BODY = 2 * 1024 * 1024
"""The largest body of a request, in bytes. A batch of 1,000 rows is at most 1.6 MB."""

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the current request."""

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

TOO_LARGE = f"a body may have {MAX_BODY:,} bytes"

_GONE = 499
"""The status counted for a request whose client disconnected: nothing was sent (nginx's number)."""

IS_HEAD = "encore.head"
"""The entry of a request's scope that marks a HEAD, which is served as a GET."""


class Envelope:
    """The outermost ASGI layer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, and answer any error that reaches this layer with a 500."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        sent_id, length, chunked = b"", 0, False
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                sent_id = value
            elif name == b"content-length":
                length = int(value) if value.isdigit() else MAX_BODY + 1
            elif name == b"transfer-encoding":
                chunked = True
        own_id = sent_id if _ID.fullmatch(sent_id) else b"%016x" % getrandbits(64)
        request_id.set(own_id.decode())
        parts: Parts | None = getattr(scope["app"].state, "parts", None)  # None before the app has started
        scope[PARTS] = parts
        status = 0
        scope, send = _as_get(scope, send)

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", own_id), *_versions(parts)]
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
                raise  # the answer has started, so the connection can only be closed
            await problem(500, "an error in the server; its log says more")(scope, receive, answer)
        finally:
            if parts is not None:
                _note(parts, scope, status, perf_counter() - began)


def _as_get(scope: Scope, send: Send) -> tuple[Scope, Send]:
    """Turn a HEAD into a GET whose body is not sent."""
    if scope["method"] != "HEAD":
        return scope, send

    async def answer(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return {**scope, "method": "GET", IS_HEAD: True}, answer


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
    """Count a body of undeclared length as it is received. Raises HTTPException 413 past the limit."""
    size = 0

    async def counted() -> Any:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY:
            raise HTTPException(413, TOO_LARGE)
        return message

    return counted
