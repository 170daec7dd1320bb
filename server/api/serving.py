"""Our servers as processes: bounded and patient as `PatientHttp` is. The API is one, or several that share a port."""

from typing import Any, Literal

import uvicorn

from server.api.app import create_app
from server.api.asgi.patient_http import PatientHttp
from server.logs import log_config
from server.scoring.telemetry import empty_meters
from server.settings import Settings, environment_of, hand_on

__all__ = ["serve_api", "serve_app"]

_DRAIN_S = 10
"""How long requests that are being answered may take to end when the server is stopped."""


_STARTS_S = 120
"""How long a worker may be silent before it is replaced: one that starts imports for seconds, without a word."""


def serve_api(settings: Settings, workers: int = 1) -> None:
    """Serve until a signal says stop: no new connections then, and what was asked is answered."""
    app = create_app(settings, settle=True)  # a wrong setting is told here, once, and not by every worker
    if workers > 1:
        meters = settings.run / "meters"
        empty_meters(meters)
        # Workers are new processes, which find their settings where this one found them. The second variable is
        # prometheus_client's. Feast sets it too wherever it is imported, so ours alone says that meters are shared.
        shared = {"ENCORE_SHARED_METERS": str(meters), "PROMETHEUS_MULTIPROC_DIR": str(meters)}
        hand_on(environment_of(settings) | shared)
    serve_app(
        app if workers == 1 else "server.api.app:app_from_environment",
        settings,
        host=settings.api_host,
        port=settings.api_port,
        factory=workers > 1,
        workers=workers,
        timeout_worker_healthcheck=_STARTS_S,
    )


def serve_app(
    app: Any, settings: Settings, *, host: str, port: int, ws: Literal["none", "auto"] = "none", **options: Any
) -> None:
    """Serve an ASGI app until a signal says stop. `options` are further ones of uvicorn's."""
    uvicorn.run(
        app,
        host=host,
        port=port,
        http=PatientHttp,
        ws=ws,
        proxy_headers=False,  # who asks is told by the connection, not by what the caller says of itself
        access_log=False,
        log_config=log_config(settings.log_format),
        timeout_graceful_shutdown=_DRAIN_S,
        server_header=False,
        **options,
    )
