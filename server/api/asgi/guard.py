"""Who may ask, and how much: keys and rate limits before anything of a request is read."""

from collections.abc import Callable, Sequence
from math import ceil

from starlette.responses import Response
from starlette.types import Scope

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
    """Who may pass. Without keys everybody is `anonymous`; `rate_limit` is asked for once all has started."""

    def __init__(self, keys: Sequence[ApiKey], rate_limit: Callable[[], RateLimit | None]) -> None:
        self._keys = keys
        self._rate_limit = rate_limit

    async def refuse(self, scope: Scope) -> Response | None:
        """Why the request may not pass, or None; its scope is told who the caller is."""
        caller = find_key(self._keys, _secret(scope)) if self._keys else NOBODY
        scope[CALLER] = caller
        if scope["path"].removeprefix("/api/v1") in _OPEN:
            return None
        if caller is None:
            return problem(
                401,
                "a valid API key is needed, in the header X-API-Key or as Authorization: Bearer",
                headers={"WWW-Authenticate": "Bearer"},
            )
        wait_s = await self._wait_s(caller)
        if wait_s <= 0:
            return None
        later = {"Retry-After": str(ceil(wait_s))}
        return problem(429, f"{caller.name} asks too often; try again in {wait_s:.3f} s", headers=later)

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
