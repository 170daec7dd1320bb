"""`/metrics` and `/health` of worker, monitor and producer, with the API's checks (`Doors`), keys and limits."""

import logging
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from data.errors import ConfigurationError
from server.api.asgi.callers import Callers
from server.api.asgi.doors import Doors, refuse_open_doors
from server.api.asgi.patient_http import PatientHttp
from server.api.asgi.secret import secret_of
from server.api.problems import problem, unauthenticated
from server.meters.part import Meters, Part, exposed
from server.process.server_process import require_free_port
from server.settings import Settings

__all__ = ["part_app", "part_served"]

logger = logging.getLogger(__name__)

_OPEN = "/health"

_ENDS_S = 10.0
"""Time limit for pending requests when the part ends, s."""


@contextmanager
def part_served(
    settings: Settings, variable: str, port: int, part: Part, others: Sequence[Meters] = ()
) -> Iterator[None]:
    """Serve a part's metrics and health on a thread while the block runs; with port 0, do nothing.

    `variable` is the setting that names the port. If the port is taken, such as by another `encore produce`, a warning
    is logged and the block runs without the server. Raises ConfigurationError if other machines could connect without a
    key.
    """
    if not port:
        yield
        return
    host, what = settings.metrics_host, f"metrics of the {part.name}"
    refuse_open_doors(settings, "ENCORE_METRICS_HOST", host, what)
    try:
        require_free_port(f"{what} ({variable})", host, port)
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (ConfigurationError, OSError) as error:
        logger.warning("not watched: %s", error)
        yield
        return
    server = uvicorn.Server(
        uvicorn.Config(
            part_app(settings, part, others),
            host=host,
            port=port,
            http=PatientHttp,
            ws="none",
            lifespan="off",
            proxy_headers=False,  # the client is the peer of the connection, whatever headers say
            server_header=False,
            access_log=False,
            log_config=None,
        )
    )
    thread = threading.Thread(target=server.run, args=([listening],), name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(_ENDS_S)
        listening.close()


def part_app(settings: Settings, part: Part, others: Sequence[Meters] = ()) -> ASGIApp:
    """Return the app that serves a part's metrics and health."""

    def metrics(_: Request) -> Response:
        return Response(exposed(part, others), media_type=CONTENT_TYPE_LATEST)

    def health(_: Request) -> Response:
        standing = part.standstill()
        content = {"status": "unavailable" if standing else "ok", "problems": [standing] if standing else []}
        return JSONResponse(content, 503 if standing else 200)

    return Starlette(
        routes=[Route("/metrics", metrics), Route(_OPEN, health)],
        middleware=[Middleware(_Guarded, callers=Callers.of(settings), doors=Doors.of(settings))],
        exception_handlers={HTTPException: _answer_error},
    )


class _Guarded:
    """ASGI middleware with the API's rules: `Doors` and, except for health, a key with the role `read`."""

    def __init__(self, app: ASGIApp, callers: Callers, doors: Doors) -> None:
        self._app = app
        self._callers = callers
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        refusal = self._doors.refuse(scope) or await self._refuse(scope)
        await (refusal or self._app)(scope, receive, send)

    async def _refuse(self, scope: Scope) -> Response | None:
        if scope["path"] == _OPEN:
            return None
        secret = secret_of(scope)
        if why := await self._callers.refusal(secret, "read"):
            if self._callers.known(secret) is not None and not await self._callers.refusal(secret, "score"):
                return problem(403, why)
            return unauthenticated(why)
        return None


async def _answer_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 404:
        return problem(404, "a part answers GET /metrics and GET /health")
    return problem(error.status_code, str(error.detail), headers=error.headers)
