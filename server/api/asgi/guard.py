"""Access control: callers, their roles and rate limits, checked before anything of a request is read."""

from contextlib import suppress
from math import ceil

from fastapi import HTTPException, Request, Response
from starlette.types import Scope

from data.clock import Clock, wall_clock
from data.errors import TokenError, UnavailableError
from server.api.asgi.callers import NOBODY, Caller, Callers
from server.api.asgi.doors import Doors, route_path
from server.api.asgi.secret import secret_of
from server.api.parts import Parts, parts_of
from server.api.problems import problem, unauthenticated
from server.api_keys import Role, find_key
from server.audit_log.changes import Asker

__all__ = ["CALLER", "Guard", "admins_only", "operators_only"]

CALLER = "encore.caller"
"""The entry of a request's scope that holds its caller; None if one is required and missing."""

_OPEN = frozenset({"/health", "/health/live", "/health/ready", "/docs", "/openapi.json"})
"""Paths that need no key: health, and the API's description."""

_SCORING = frozenset({"/predict", "/predict/batch", "/rank"})
"""Paths for which the role `score` suffices."""

_OPEN_FOLDER = "/docs/"
"""The files of the page `/docs`."""


class Guard:
    """Checks callers and rate limits. `clock` decides which keys and tokens have expired."""

    def __init__(self, callers: Callers, doors: Doors, clock: Clock = wall_clock) -> None:
        self._callers = callers
        self._doors = doors
        self._clock = clock

    async def refuse(self, scope: Scope) -> Response | None:
        """Return the response that refuses the request, or None; store the caller in its scope."""
        refusal = self._doors.refuse(scope)
        if refusal is not None:
            return refusal
        secret = secret_of(scope)
        caller = scope[CALLER] = self._callers.known(secret)
        path = route_path(scope).removeprefix("/api/v1")
        why = self._callers.wanted
        if caller is None and secret:
            try:
                caller = scope[CALLER] = await self._callers.check(secret)
            except TokenError as error:
                why = str(error)
            except UnavailableError as error:
                if not _is_open(path):
                    return problem(503, str(error), headers={"Retry-After": "10"})
        if _is_open(path):
            return None
        if caller is None or caller.has_ended(self._clock()):
            why = caller.refusal("score", self._clock()) if caller else why
            return unauthenticated(why)
        needs: Role = "score" if path in _SCORING else "read"
        why = caller.refusal(needs, self._clock())
        if why:
            return problem(403, why)
        parts: Parts | None = getattr(scope["app"].state, "parts", None)
        wait_s = 0.0
        if parts is not None and parts.rate_limit is not None:
            with suppress(UnavailableError):  # no limits without Redis; routes that need it answer 503
                wait_s = await parts.rate_limit.wait_s(caller.name)
        if wait_s <= 0:
            return None
        later = {"Retry-After": str(ceil(wait_s))}
        return problem(429, f"{caller.name} asks too often; try again in {wait_s:.3f} s", headers=later)

    def counts(self, scope: Scope) -> bool:
        """Return whether to keep the answer as a prediction: a page of another site can send a GET unnoticed."""
        return scope["method"] == "POST" or not self._doors.is_from_elsewhere(scope)


async def operators_only(request: Request) -> Asker:
    """Return who asks, for the audit log; raise a 403 without at least the role `operate`."""
    return _require(request, "operate")


async def admins_only(request: Request) -> Asker:
    """Return who asks, for the audit log; raise a 403 without the role `admin`."""
    return _require(request, "admin")


def _require(request: Request, role: Role) -> Asker:
    """Return who asks, as named in the audit log; raise a 403 without at least this role.

    If callers need not authenticate, only the bearer of the key in the home's `run/admin.key` passes. A loopback
    address proves nothing, since a proxy or a tunnel on this machine forwards requests from anywhere.
    """
    caller: Caller = request.scope.get(CALLER) or NOBODY
    if caller is NOBODY:
        home_key = parts_of(request).home_key
        caller = (find_key([home_key], secret_of(request.scope)) if home_key else None) or NOBODY
    if caller is NOBODY:
        raise HTTPException(
            403,
            f"this needs the role {role}: the administrator's key of this home, in the header X-API-Key, which is the "
            "text of its file run/admin.key; or the `encore` command",
        )
    if why := caller.refusal(role, wall_clock()):
        raise HTTPException(403, why)
    asker_name = caller.name if caller.name.startswith("oidc:") else f"key {caller.name}"
    return Asker(asker_name, f"{request.method} {request.scope['route'].path}")


def _is_open(path: str) -> bool:
    return path in _OPEN or (path.startswith(_OPEN_FOLDER) and ".." not in path)
