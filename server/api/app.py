"""The ASGI app: its parts are created when it starts, and closed when it stops."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.routing import Router
from starlette.types import ASGIApp

from data.clock import Clock
from data.errors import ConfigurationError
from server.api.asgi.callers import Callers
from server.api.asgi.doors import Doors, refuse_open_doors
from server.api.asgi.envelope import Envelope
from server.api.asgi.guard import Guard
from server.api.asking import asking_of
from server.api.problems import install_problems
from server.api.routes import audit_log, docs, features, health, interventions, metrics, models, privacy, what_if
from server.api.scoring_app import V1, ScoringApp, scoring_router
from server.api.served import Served
from server.process.child import end_with_parent
from server.process.collector import settle_collector
from server.redis.connections import connect_redis
from server.settings import Settings, read_settings

__all__ = ["app_from_environment", "create_app"]

_log = logging.getLogger(__name__)

_DESCRIPTION = """\
How likely is it that a shopper buys, comes back, or whatever a project's targets ask? Features are computed at the
moment of asking, from states that a stream keeps up to date.
"""


def create_app(
    settings: Settings, *, clock: Clock | None = None, model_check_s: float = 1.0, settle: bool = False
) -> FastAPI:
    """Return the app for these settings. It reads, connects and starts nothing before its lifespan begins.

    `clock` replaces the one in the settings. The registry is checked every `model_check_s` seconds for a new champion.
    `settle` is for a process that only serves (`settle_collector`). Raises ConfigurationError if it would listen for
    other machines without requiring a key.
    """
    refuse_open_doors(settings, "API_HOST", settings.api_host, "API")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with connect_redis(settings) as client:
            served = Served(settings, client, clock=clock, model_check_s=model_check_s)
            async with served.on(app.state):
                if settle:
                    settle_collector()
                yield

    app = _App(
        title="Encore",
        description=_DESCRIPTION,
        version=version("encore-features"),
        lifespan=lifespan,
        docs_url=None,  # `routes.docs` serves the page, with local scripts
        redoc_url=None,
        # `Tracing` and `Telemetry` record more, and FastAPI's own check costs every request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    install_problems(app)
    asking = asking_of(settings.declared.schema)
    scoring = scoring_router(asking)
    app.add_middleware(ScoringApp, guard=Guard(Callers.of(settings), Doors.of(settings)), router=scoring)
    if settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.known_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
            expose_headers=["X-Request-ID", "X-Model-Version", "X-Feature-Plan", "Retry-After"],
        )
    if settings.otlp_endpoint:
        from server.api.tracing import Tracing  # noqa: PLC0415 - the extra `tracing`

        app.add_middleware(Tracing, endpoint=settings.otlp_endpoint)
    app.add_middleware(Envelope)
    app.include_router(scoring)
    app.include_router(what_if.router_of(asking))
    for routes in (features, health, metrics, models, privacy, interventions, audit_log, docs):
        app.include_router(routes.router)
    # The same routes under a versioned prefix. Their list is copied, so that it does not contain this mount.
    app.mount(V1, Router(routes=list(app.router.routes)))
    return app


class _App(FastAPI):
    """FastAPI with our middleware outside of its own, which saves a twentieth of the time of an answer.

    The outermost layer must handle every error.
    """

    def build_middleware_stack(self) -> ASGIApp:
        layers, self.user_middleware = self.user_middleware, []
        stack = super().build_middleware_stack()
        for layer, args, settings in reversed(layers):
            stack = layer(stack, *args, **settings)
        return stack


def app_from_environment() -> FastAPI:
    """Return the app for this process's environment: a worker of `encore serve --workers`.

    Raises ConfigurationError in a server that was started by hand, and so lacks the limits of requests.
    """
    end_with_parent()
    settings = read_settings()
    if settings.shared_meters is None:
        raise ConfigurationError(
            "the API's limits of a connection (64 KiB of head, 15 s for a request, 30 s for a reader) are `encore "
            "serve`'s: start it by that, or from Python by uvicorn.run(create_app(read_settings()), http=PatientHttp)"
        )
    return create_app(settings, settle=True)
