"""Start the console's web server, on this machine only and without outside connections."""

import importlib.util
from pathlib import Path
from typing import Any

from data.errors import MissingExtraError
from server.settings import Settings

__all__ = ["LACK", "UPLOAD_MB", "is_installed", "run_console", "streamlit_options"]

_APP = Path(__file__).parent / "app.py"

LACK = "Streamlit is not installed"

UPLOAD_MB = 10
"""The largest file that the batch page accepts, in megabytes."""

_THEMES = {
    "light": {
        "primaryColor": "#0066A1",
        "backgroundColor": "#FFFFFF",
        "secondaryBackgroundColor": "#F2F5F8",
        "textColor": "#1B2733",
        "linkColor": "#005A8C",
        "borderColor": "#D5DDE5",
    },
    "dark": {
        "primaryColor": "#56B4E9",
        "backgroundColor": "#12181F",
        "secondaryBackgroundColor": "#1C252F",
        "textColor": "#E6ECF2",
        "linkColor": "#7CC7F2",
        "borderColor": "#33404D",
    },
}


def is_installed() -> bool:
    """Return whether the extra `console` is installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("streamlit", "plotly"))


def run_console(settings: Settings) -> None:
    """Serve the console at `settings.console_host` and `console_port` until a signal.

    Raises ConfigurationError where the extra `console` is not installed, the port is taken, or it would listen for
    other machines without requiring a key.
    """
    if not is_installed():
        raise MissingExtraError(f"console: {LACK}", "console")
    from starlette.middleware import Middleware  # noqa: PLC0415 - `encore up` asks `is_installed` alone
    from streamlit.starlette import App  # noqa: PLC0415 - an extra, and slow to import
    from streamlit.web import bootstrap  # noqa: PLC0415 - the same

    from server.api.asgi.doors import BehindDoors, Doors, refuse_open_doors  # noqa: PLC0415
    from server.api.serving import serve_app  # noqa: PLC0415

    refuse_open_doors(settings, "CONSOLE_HOST", settings.console_host, "console")
    bootstrap.load_config_options(streamlit_options(settings))
    # Streamlit itself allows pages of any port of this machine, and asks an internet service for its own address.
    app = App(_APP, middleware=[Middleware(BehindDoors, doors=Doors.of(settings))])
    host, port = settings.console_host, settings.console_port
    serve_app("console (CONSOLE_PORT)", app, settings, host=host, port=port, ws="auto")


def streamlit_options(settings: Settings) -> dict[str, Any]:
    """Return Streamlit's settings by flag name, which override files and environment."""
    options: dict[str, Any] = {
        "server_address": settings.console_host,
        "server_port": settings.console_port,
        "server_headless": True,
        "server_fileWatcherType": "none",
        "server_maxUploadSize": UPLOAD_MB,
        "server_enableCORS": True,
        "server_enableXsrfProtection": True,
        "browser_gatherUsageStats": False,
        "client_showErrorDetails": "none",
        "client_toolbarMode": "viewer",
        "logger_hideWelcomeMessage": True,
        "theme_showSidebarBorder": True,
        "theme_metricValueFontSize": "1.4rem",
        "theme_headingFontSizes": ["2rem", "1.5rem", "1.25rem"],
        "theme_paddingTop": "1rem",
    }
    for kind, theme in _THEMES.items():
        options |= {f"theme_{kind}_{name}": value for name, value in theme.items()}
    return options
