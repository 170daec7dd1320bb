"""What every request and answer has around it: an id, a time, a size limit, and the versions that answered."""

import asyncio
import logging
import re
from collections.abc import Callable
from contextvars import ContextVar
from random import getrandbits
from time import perf_counter
from typing import Any

from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data.errors import UnavailableError
from server.api.parts import Parts
from server.api.problems import problem

__all__ = ["MAX_BODY", "Envelope", "request_id"]

_log = logging.getLogger("encore.request")

MAX_BODY = 2 * 1024 * 1024
"""Bytes of a request's body. A batch of 1,000 rows is at most 1.6 MB."""

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that is being answered."""

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

TOO_LARGE = f"a body may have {MAX_BODY:,} bytes"

_COUNTED = ("/predict", "/predict/batch", "/features/{user_id:path}", "/products/{product_id:path}/features", "/rank")
"""Routes that score or read features."""


_Answered = tuple[Parts, Scope, bytes, int, float]
"""Who answered, what was asked, the request's id, the status, and after how many seconds."""


class Envelope:
    """The outermost layer."""

    def __init__(self, app: ASGIApp, parts: Callable[[], Parts | None]) -> None:
        self._app = app
        self._parts = parts
        self._noted: dict[tuple[str, int], tuple[Histogram, Counter]] = {}
        self._answered: list[_Answered] = []

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
        parts = self._parts()
        status = 0

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
        except Exception:
            _log.exception("an error in the server")
            if status:
                raise  # the answer has begun: all that is left is to break it off
            await problem(500, "an error in the server; its log says more")(scope, receive, answer)
        finally:
            if parts is not None:
                self._note_later((parts, scope, own, status, perf_counter() - began))

    def _note_later(self, answered: _Answered) -> None:
        """In the loop's next turn: others are answered in this one."""
        self._answered.append(answered)
        if len(self._answered) == 1:
            asyncio.get_running_loop().call_soon(self._note_all)

    def _note_all(self) -> None:
        answered, self._answered = self._answered, []
        for one in answered:
            self._note(*one)

    def _note(self, parts: Parts, scope: Scope, own: bytes, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        meters = parts.meters
        if (route, status) not in self._noted:
            self._noted[route, status] = meters.seconds.labels(route), meters.responses.labels(route, status)
        times, answers = self._noted[route, status]
        times.observe(seconds)
        answers.inc()
        if route in _COUNTED:
            parts.activity.note_request()
            meters.requests.inc()
        if _log.isEnabledFor(logging.INFO):
            request_id.set(own.decode())
            _log.info(
                "%s %s",
                scope["method"],
                route,
                extra={"status": status, "ms": round(1000 * seconds, 3), "route": route},
            )


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
