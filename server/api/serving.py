"""The API as processes: one, or several that share a port and their meters."""

import uvicorn

from server.api.app import create_app
from server.api.asgi.patient_http import PatientHttp
from server.logs import log_config
from server.scoring.telemetry import empty_meters
from server.settings import Settings, environment_of, hand_on

__all__ = ["serve_api"]

_DRAIN_S = 10
"""Time limit for pending requests when the server stops, s."""


def serve_api(settings: Settings, workers: int = 1) -> None:
    """Serve until a signal: then new connections are refused and pending requests are answered."""
    app = create_app(settings, settle=True)  # so that a wrong setting is reported once, and not by every worker
    if workers > 1:
        meters = settings.run / "meters"
        empty_meters(meters)
        # Workers are new processes, which read their settings from the environment. The second variable is
        # prometheus_client's. Feast sets it too wherever it is imported, so only ours means that meters are shared.
        shared = {"ENCORE_SHARED_METERS": str(meters), "PROMETHEUS_MULTIPROC_DIR": str(meters)}
        hand_on(environment_of(settings) | shared)
    uvicorn.run(
        app if workers == 1 else "server.api.app:app_from_environment",
        factory=workers > 1,
        workers=workers,
        host=settings.api_host,
        port=settings.api_port,
        http=PatientHttp,
        access_log=False,
        log_config=log_config(settings.log_format),
        timeout_graceful_shutdown=_DRAIN_S,
        server_header=False,
    )
