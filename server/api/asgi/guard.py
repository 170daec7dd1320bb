"""Access control: API keys, their roles and rate limits, checked before anything of a request is read."""

from collections.abc import Sequence
from contextlib import suppress
from math import ceil

from fastapi import HTTPException, Request, Response
from starlette.types import Scope

from data.clock import Clock, wall_clock
from data.errors import UnavailableError
from server.api.asgi.doors import Doors, route_path
from server.api.asgi.secret import secret_of
from server.api.parts import Parts, parts_of
from server.api.problems import problem
from server.api_keys import ApiKey, Role, find_key

__all__ = ["CALLER", "Guard", "admins_only", "operators_only"]

CALLER = "encore.caller"
"""The entry of a request's scope that holds its caller's key; None where a key is required and missing."""

_OPEN = frozenset({"/health", "/health/live", "/health/ready", "/docs", "/openapi.json"})
"""Paths that need no key: health, and the API's description."""

_SCORING = frozenset({"/predict", "/predict/batch", "/rank"})
"""Paths for which the role `score` is enough."""

_OPEN_FOLDER = "/docs/"
"""The files of the page `/docs`."""

NOBODY = ApiKey("anonymous", "")
"""The caller where no keys are required."""


class Guard:
    """Checks keys and rate limits. Without keys every caller is `anonymous`. `clock` says which keys have ended."""

    def __init__(self, keys: Sequence[ApiKey], doors: Doors, clock: Clock = wall_clock) -> None:
        self._keys = keys
        self._doors = doors
        self._clock = clock

    async def refuse(self, scope: Scope) -> Response | None:
        """Return the response that refuses the request, or None; store the caller in its scope."""
        refusal = self._doors.refuse(scope)
        if refusal is not None:
            return refusal
        caller = find_key(self._keys, secret_of(scope)) if self._keys else NOBODY
        scope[CALLER] = caller
        path = route_path(scope).removeprefix("/api/v1")
        if _is_open(path):
            return None
        needs: Role = "score" if path in _SCORING else "read"
        why = caller.refusal(needs, self._clock()) if caller else "a valid API key is needed"
        if caller is None or caller.has_ended(self._clock()):
            told = f"{why}, in the header X-API-Key or as Authorization: Bearer"
            return problem(401, told, headers={"WWW-Authenticate": "Bearer"})
        if why:
            return problem(403, why)
        parts: Parts | None = getattr(scope["app"].state, "parts", None)
        wait_s = 0.0
        if parts is not None and parts.rate_limit is not None:
            with suppress(UnavailableError):  # without Redis nothing is limited; routes that need it answer 503
                wait_s = await parts.rate_limit.wait_s(caller.name)
        if wait_s <= 0:
            return None
        later = {"Retry-After": str(ceil(wait_s))}
        return problem(429, f"{caller.name} asks too often; try again in {wait_s:.3f} s", headers=later)

    def counts(self, scope: Scope) -> bool:
        """Return whether to keep the answer as a prediction: a page of another site can send a GET unnoticed."""
        return scope["method"] == "POST" or not self._doors.is_from_elsewhere(scope)


async def operators_only(request: Request) -> None:
    """Refuse, with 403, requests without a key whose role is at least `operate`.

    Without configured keys that is the key in the home's `run/admin.key`. A loopback address proves nothing: a proxy or
    a tunnel on this machine forwards requests from anywhere.
    """
    _require(request, "operate", "models are changed", "encore model")


async def admins_only(request: Request) -> None:
    """Refuse, with 403, requests without a key whose role is `admin`; which that is, `operators_only` says."""
    _require(request, "admin", "people are forgotten", "encore forget")


def _require(request: Request, role: Role, what: str, command: str) -> None:
    caller = request.scope.get(CALLER, NOBODY)
    if caller is NOBODY:
        home_key = parts_of(request).home_key
        caller = (find_key([home_key], secret_of(request.scope)) if home_key else None) or NOBODY
    if caller is NOBODY:
        raise HTTPException(
            403,
            f"{what} with the administrator's key of this home, in the header X-API-Key: the text of its file "
            f"run/admin.key; or by `{command}`",
        )
    if why := caller.refusal(role, wall_clock()):
        raise HTTPException(403, why)


def _is_open(path: str) -> bool:
    return path in _OPEN or (path.startswith(_OPEN_FOLDER) and ".." not in path)
