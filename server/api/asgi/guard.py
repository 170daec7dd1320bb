"""Who may ask, and how much: keys and rate limits before anything of a request is read."""

from collections.abc import Callable, Sequence
from math import ceil

from starlette.types import ASGIApp, Receive, Scope, Send

from data.errors import UnavailableError
from server.api.asgi.rate_limit import RateLimit
from server.api.problems import problem
from server.api_keys import ApiKey, find_key

__all__ = ["CALLER", "NOBODY", "Guard"]

CALLER = "encore.caller"
"""Where the scope of a request holds the key of its caller; None is a caller without a key where one is needed."""

_OPEN = frozenset(
    {"/health", "/health/live", "/health/ready", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"}
)
"""What needs no key: how the server is, and what describes the API."""

NOBODY = ApiKey("anonymous", "")
"""Everybody, where no keys are asked for."""


class Guard:
    """ASGI middleware. Without keys everybody is `anonymous`; `rate_limit` gives it, once the app has started."""

    def __init__(
        self, app: ASGIApp, *, keys: Sequence[ApiKey], rate_limit: Callable[[], RateLimit | None] = lambda: None
    ) -> None:
        self._app = app
        self._keys = keys
        self._rate_limit = rate_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        caller = find_key(self._keys, _secret(scope)) if self._keys else NOBODY
        scope[CALLER] = caller
        if scope["path"].removeprefix("/api/v1") in _OPEN:
            await self._app(scope, receive, send)
            return
        if caller is None:
            refusal = problem(
                401,
                "a valid API key is needed, in the header X-API-Key or as Authorization: Bearer",
                headers={"WWW-Authenticate": "Bearer"},
            )
            await refusal(scope, receive, send)
            return
        wait_s = await self._wait_s(caller)
        if wait_s > 0:
            later = {"Retry-After": str(ceil(wait_s))}
            refusal = problem(429, f"{caller.name} asks too often; try again in {wait_s:.3f} s", headers=later)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _wait_s(self, caller: ApiKey) -> float:
        limit = self._rate_limit()
        if limit is None:
            return 0
        try:
            return await limit.wait_s(caller.name)
        except UnavailableError:
            return 0  # without Redis there is no count; what needs Redis says so itself


def _secret(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            return bytes(value)
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return bytes(value[7:].strip())
    return b""
