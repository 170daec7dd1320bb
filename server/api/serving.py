"""Serving ASGI apps with the limits of `PatientHttp`: the API by one or several processes, and other apps."""

from contextlib import suppress
from typing import Any, Literal

import uvicorn

from data.errors import UnavailableError
from server.api.app import create_app
from server.api.asgi.patient_http import PatientHttp
from server.audit_log.changes import note_settings
from server.logs import log_config
from server.process.server_process import require_free_port
from server.redis.connections import connect_redis
from server.redis.ownership import require_own
from server.scoring.telemetry import empty_meters
from server.settings import Settings, environment_of, hand_on

__all__ = ["serve_api", "serve_app"]

_DRAIN_S = 10
"""Time limit for pending requests when the server stops, s."""


_STARTS_S = 120
"""Time, s, after which a silent worker is replaced; one that starts is silent while it imports."""


def serve_api(settings: Settings, workers: int = 1) -> None:
    """Serve until a signal; then refuse new connections, and answer pending requests.

    Raises ConfigurationError if the port is taken, or a setting is wrong.
    """
    with suppress(UnavailableError), connect_redis(settings) as client:  # Redis may come later
        require_own(settings, client)
    note_settings(settings)
    app = create_app(settings, settle=True)  # so that a wrong setting is reported once, not by every worker
    if workers > 1:
        meters = settings.run / "meters"
        empty_meters(meters)
        # Workers are new processes, which read their settings from the environment. The second variable is
        # prometheus_client's. Importing Feast sets it too, so only ours means that meters are shared.
        shared = {"ENCORE_SHARED_METERS": str(meters), "PROMETHEUS_MULTIPROC_DIR": str(meters)}
        hand_on(environment_of(settings) | shared)
    serve_app(
        "API (API_PORT)",
        app if workers == 1 else "server.api.app:app_from_environment",
        settings,
        host=settings.api_host,
        port=settings.api_port,
        factory=workers > 1,
        workers=workers,
        timeout_worker_healthcheck=_STARTS_S,
    )


def serve_app(
    what: str,
    app: Any,
    settings: Settings,
    *,
    host: str,
    port: int,
    ws: Literal["none", "auto"] = "none",
    **options: Any,
) -> None:
    """Serve an ASGI app until a signal. `options` are uvicorn's.

    Raises ConfigurationError, which names `what`, if the port is taken or the host is not of this machine.
    """
    require_free_port(what, host, port)  # uvicorn's own error has three lines and another exit code
    uvicorn.run(
        app,
        host=host,
        port=port,
        http=PatientHttp,
        ws=ws,
        proxy_headers=False,  # the client is the peer of the connection, whatever headers say
        access_log=False,
        log_config=log_config(settings.log_format),
        timeout_graceful_shutdown=_DRAIN_S,
        server_header=False,
        **options,
    )
