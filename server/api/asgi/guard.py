"""Who may ask, how much, and who may change models: keys and rate limits before anything of a request is read."""

from collections.abc import Sequence
from contextlib import suppress
from math import ceil

from fastapi import HTTPException, Request, Response
from starlette.types import Scope

from data.errors import UnavailableError
from server.api.asgi.doors import Doors, route_path
from server.api.parts import Parts, parts_of
from server.api.problems import problem
from server.api_keys import ApiKey, find_key

__all__ = ["CALLER", "Guard", "admin_only", "secret_of"]

CALLER = "encore.caller"
"""Where the scope of a request holds the key of its caller; None is a caller without a key where one is needed."""

_OPEN = frozenset({"/health", "/health/live", "/health/ready", "/docs", "/openapi.json"})
"""What needs no key: how the server is, and what describes the API."""

_OPEN_FOLDER = "/docs/"
"""What the page of the description loads."""

NOBODY = ApiKey("anonymous", "")
"""Everybody, where no keys are asked for."""


class Guard:
    """Who may pass. Without keys everybody is `anonymous`."""

    def __init__(self, keys: Sequence[ApiKey], doors: Doors) -> None:
        self._keys = keys
        self._doors = doors

    async def refuse(self, scope: Scope) -> Response | None:
        """Why the request may not pass, or None; its scope is told who the caller is."""
        refusal = self._doors.refuse(scope)
        if refusal is not None:
            return refusal
        caller = find_key(self._keys, secret_of(scope)) if self._keys else NOBODY
        scope[CALLER] = caller
        if _is_open(route_path(scope)):
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
            with suppress(UnavailableError):  # without Redis there is no count; what needs Redis says so itself
                wait_s = await parts.rate_limit.wait_s(caller.name)
        if wait_s <= 0:
            return None
        later = {"Retry-After": str(ceil(wait_s))}
        return problem(429, f"{caller.name} asks too often; try again in {wait_s:.3f} s", headers=later)

    def counts(self, scope: Scope) -> bool:
        """Whether a question that is asked so is to be kept: one by GET may come of another site's page, unasked."""
        return scope["method"] == "POST" or not self._doors.is_from_elsewhere(scope)


def secret_of(scope: Scope) -> bytes:
    """The key that a request shows; empty where it shows none. No page of another site can have it sent."""
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            return bytes(value)
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return bytes(value[7:].strip())
    return b""


async def admin_only(request: Request) -> None:
    """Refuse, with 403, whoever shows no administrator's key.

    Where no keys are asked for it is the one in the home's `run/admin.key`. To come from this machine proves nothing:
    a proxy or a tunnel on it brings callers from anywhere.
    """
    caller = request.scope.get(CALLER, NOBODY)
    if caller is NOBODY:
        home_key = parts_of(request).home_key
        caller = (find_key([home_key], secret_of(request.scope)) if home_key else None) or NOBODY
    if caller.admin:
        return
    if caller is not NOBODY:
        raise HTTPException(403, f"the key {caller.name} may not change models; `encore key NAME --admin` makes one")
    raise HTTPException(
        403,
        "models are changed with the administrator's key of this home, in the header X-API-Key: the text of its file "
        "run/admin.key; or by `encore model`",
    )


def _is_open(path: str) -> bool:
    path = path.removeprefix("/api/v1")
    return path in _OPEN or (path.startswith(_OPEN_FOLDER) and ".." not in path)
