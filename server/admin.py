"""Who may change models through the API: until keys say who is an administrator, only programs on this machine."""

import ipaddress
from urllib.parse import urlsplit

from fastapi import HTTPException, Request

__all__ = ["admin_only"]


async def admin_only(request: Request) -> None:
    """Refuse, with 403, callers from elsewhere, and pages of other sites in a browser on this machine."""
    if not _is_loopback(request.client.host if request.client else ""):
        raise HTTPException(403, "models can be changed from this machine only, or by `encore model`")
    origin = request.headers.get("origin")
    if origin and urlsplit(origin).hostname != request.url.hostname:
        raise HTTPException(403, f"models cannot be changed by a page of {urlsplit(origin).hostname}")
    if not _is_loopback(request.url.hostname or ""):
        raise HTTPException(403, f"models cannot be changed under the name {request.url.hostname}; use 127.0.0.1")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
