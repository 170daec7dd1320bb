"""Checks of Host and Origin: the names that a server accepts, and the sites whose pages may use it.

A page of another site can resolve its own name to this machine (DNS rebinding): the browser then sends that name as
Host. It can also send requests here: the browser then names the page's site in Origin, Referer or Sec-Fetch-Site. A
page at another port belongs to another site.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from fastapi import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from data.addresses import is_address, is_loopback
from data.errors import ConfigurationError
from server.api.problems import problem
from server.settings import Settings

__all__ = ["BehindDoors", "Doors", "refuse_open_doors", "route_path"]

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/?#@\[\]\\]+?)\.?(?::(\d{1,5}))?")
_ANY = {"0.0.0.0", "::"}  # noqa: S104 - by which Linux reaches itself
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Doors:
    """The allowed values of Host and Origin. `names` are the server's, beside its address; each may have a port.

    With `any_name`, every Host is allowed over a network, since callers send a key, which pages of other sites lack.
    Over loopback, Host must be this machine's name or one of `names`, with the server's port.
    """

    def __init__(self, names: Sequence[str] = (), origins: Sequence[str] = (), *, any_name: bool = False) -> None:
        self._names = frozenset(name.lower() for name in names)
        self._origins = frozenset(origin.lower() for origin in origins)
        self._any_name = any_name and not names
        self._accepts = lru_cache(maxsize=256)(self._is_own_host)  # almost all requests name one of a few hosts

    @classmethod
    def of(cls, settings: Settings) -> "Doors":
        """Return the doors of a server with these settings."""
        return cls(settings.known_hosts, settings.known_origins, any_name=settings.asks_who)

    def refuse(self, scope: Scope) -> Response | None:
        """Return the response that refuses the request, or None."""
        host, origin = b"", b""
        hosts = 0
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
                hosts += 1
            elif name == b"origin":
                origin = value
        if hosts != 1:
            if hosts or scope["http_version"] != "1.0":
                return problem(400, "a request names its host once, in the header Host")
        elif not self._accepts(host, tuple(scope["server"] or ()), scope["scheme"]):
            shown = host.decode("ascii", "replace")[:100]
            return problem(403, f"this server is not {shown}; ENCORE_HOSTS says what names it has beside its address")
        if origin and not self._is_allowed(origin, host):
            shown = origin.decode("ascii", "replace")[:100]
            return problem(403, f"pages of {shown} may not ask here; ENCORE_CORS names origins whose pages may")
        return None

    def is_own(self, origin: bytes, host: bytes) -> bool:
        """Return whether an origin is that of the server, requested under the name `host`."""
        try:
            return urlsplit(origin.decode("latin-1")).netloc.lower() == host.decode("latin-1").lower() != ""
        except ValueError:
            return False

    def _is_allowed(self, origin: bytes, host: bytes) -> bool:
        return self.is_own(origin, host) or origin.decode("latin-1").lower() in self._origins

    def is_from_elsewhere(self, scope: Scope) -> bool:
        """Return whether the page of another site, outside of ENCORE_CORS, made the browser send the request."""
        headers = {name: value for name, value in scope["headers"] if name in _ORIGIN_HEADERS}
        origin = headers.get(b"origin")
        if origin:
            return not self._is_allowed(origin, headers.get(b"host", b""))
        if headers.get(b"sec-fetch-site", b"none") not in {b"none", b"same-origin"}:
            return True
        referer = headers.get(b"referer", b"")
        return referer != b"" and not self.is_own(referer, headers.get(b"host", b""))

    def _is_own_host(self, host: bytes, server: tuple[str, int | None] | tuple[()], scheme: str) -> bool:
        match = _HOST.fullmatch(host.decode("latin-1").lower())
        if match is None:
            return False
        name, port = match[1], int(match[2] or _PORTS.get(scheme, 0))
        if name in self._names or f"{name}:{port}" in self._names:
            return True
        bare = name.strip("[]")
        own, own_port = server or ("", None)
        if own_port is None:  # a Unix socket, which browsers cannot reach
            return True
        if is_loopback(own) or not is_address(own):
            return port == own_port and (bare == own or (is_loopback(own) and (is_loopback(bare) or bare in _ANY)))
        return self._any_name or is_address(bare) or bare == "localhost"


class BehindDoors:
    """ASGI middleware that applies `Doors` to requests and WebSockets."""

    def __init__(self, app: ASGIApp, doors: Doors) -> None:
        self._app = app
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        refusal = self._doors.refuse(scope) if scope["type"] in {"http", "websocket"} else None
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await refusal(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})  # before acceptance, this is a 403


_ORIGIN_HEADERS = frozenset({b"host", b"origin", b"referer", b"sec-fetch-site"})


def refuse_open_doors(settings: Settings, variable: str, host: str, what: str) -> None:
    """Raise ConfigurationError if `what` would listen for other machines without requiring a key."""
    if settings.asks_who or settings.api_open or is_loopback(host):
        return
    raise ConfigurationError(
        f"{variable} {host}: other machines could use the {what} without a key; make one with `encore key NAME` and "
        "set ENCORE_API_KEYS, or ENCORE_OIDC_ISSUER, or set ENCORE_API_OPEN=true where something else guards the "
        f"{what}"
    )


def route_path(scope: Scope) -> str:
    """Return a request's path within the server, which may be served under a prefix (`root_path`)."""
    path: str = scope["path"]
    prefix: str = scope.get("root_path") or ""
    if prefix and path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in {"", "/"}:
        return path[len(prefix) :] or "/"
    return path
