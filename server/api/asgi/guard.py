"""Access control: API keys and rate limits, checked before anything of a request is read, and the admin role."""

from collections.abc import Sequence
from contextlib import suppress
from math import ceil
from urllib.parse import urlsplit

from fastapi import HTTPException, Request, Response
from starlette.types import Scope

from data.addresses import is_loopback
from data.errors import UnavailableError
from server.api.parts import Parts
from server.api.problems import problem
from server.api_keys import ApiKey, find_key

__all__ = ["CALLER", "Guard", "admin_only"]

CALLER = "encore.caller"
"""The entry of a request's scope that holds its caller's key; None where a key is required and missing."""

_OPEN = frozenset(
    {"/health", "/health/live", "/health/ready", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"}
)
"""Paths that need no key: health, and the API's description."""

NOBODY = ApiKey("anonymous", "")
"""The caller where no keys are required."""


class Guard:
    """Checks keys and rate limits. Without keys every caller is `anonymous`."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = keys

    async def refuse(self, scope: Scope) -> Response | None:
        """Return the response that refuses the request, or None; store the caller in its scope."""
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
        parts: Parts | None = getattr(scope["app"].state, "parts", None)
        wait_s = 0.0
        if parts is not None and parts.rate_limit is not None:
            with suppress(UnavailableError):  # without Redis nothing is limited; routes that need it answer 503
                wait_s = await parts.rate_limit.wait_s(caller.name)
        if wait_s <= 0:
            return None
        later = {"Retry-After": str(ceil(wait_s))}
        return problem(429, f"{caller.name} asks too often; try again in {wait_s:.3f} s", headers=later)


def _secret(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            return bytes(value)
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return bytes(value[7:].strip())
    return b""


async def admin_only(request: Request) -> None:
    """Refuse, with 403, keys without the admin role; without keys, callers from elsewhere and pages of other sites."""
    caller = request.scope.get(CALLER, NOBODY)
    if caller is not NOBODY:
        if not caller.admin:
            raise HTTPException(
                403, f"the key {caller.name} may not change models; `encore key NAME --admin` makes one"
            )
        return
    if not is_loopback(request.client.host if request.client else ""):
        raise HTTPException(403, "without keys, models can be changed from this machine only, or by `encore model`")
    origin = request.headers.get("origin")
    if origin and urlsplit(origin).hostname != request.url.hostname:
        raise HTTPException(403, f"models cannot be changed by a page of {urlsplit(origin).hostname}")
    if not is_loopback(request.url.hostname or ""):
        raise HTTPException(403, f"models cannot be changed under the name {request.url.hostname}; use 127.0.0.1")
