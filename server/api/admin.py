"""Who may change models through the API: keys of administrators; without keys, programs on this machine only."""

from urllib.parse import urlsplit

from fastapi import HTTPException, Request

from server.addresses import is_loopback
from server.api.asgi.guard import CALLER, NOBODY

__all__ = ["admin_only"]


async def admin_only(request: Request) -> None:
    """Refuse, with 403, keys of no administrator; without keys, callers from elsewhere and pages of other sites."""
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
