"""`/metrics` and `/health` of worker, monitor and producer, with the API's doors, keys and limits."""

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
from server.api.problems import problem
from server.meters.part import Meters, Part, exposed
from server.process.server_process import require_free_port
from server.settings import Settings

__all__ = ["part_app", "part_served"]

logger = logging.getLogger(__name__)

_OPEN = "/health"

_ENDS_S = 10.0
"""Time limit for a scrape that is being answered when the part ends."""


@contextmanager
def part_served(
    settings: Settings, variable: str, port: int, part: Part, others: Sequence[Meters] = ()
) -> Iterator[None]:
    """Serve what a part says of itself, on a thread, while the block runs; with port 0 not at all.

    `variable` is the setting that names the port. Where another program has it, a warning says so and the work goes on:
    a second `encore produce` in the environment of the first. Raises ConfigurationError where other machines could come
    without a key.
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
            proxy_headers=False,  # the client is the connection's, not what a header says
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
    """Return the app that says what a part does, and whether it goes on."""

    def metrics(_: Request) -> Response:
        return Response(exposed(part, others), media_type=CONTENT_TYPE_LATEST)

    def health(_: Request) -> Response:
        standing = part.standstill()
        told = {"status": "unavailable" if standing else "ok", "problems": [standing] if standing else []}
        return JSONResponse(told, 503 if standing else 200)

    return Starlette(
        routes=[Route("/metrics", metrics), Route(_OPEN, health)],
        middleware=[Middleware(_Guarded, callers=Callers.of(settings), doors=Doors.of(settings))],
        exception_handlers={HTTPException: _tell},
    )


class _Guarded:
    """ASGI middleware with the API's rules: its doors and, but for health, a key that may read."""

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
            told = f"{why}, in the header X-API-Key or as Authorization: Bearer"
            return problem(401, told, headers={"WWW-Authenticate": "Bearer"})
        return None


async def _tell(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 404:
        return problem(404, "a part answers GET /metrics and GET /health")
    return problem(error.status_code, str(error.detail), headers=error.headers)
