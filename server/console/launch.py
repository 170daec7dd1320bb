"""Start the console's web server, on this machine only and without outside connections."""

import importlib.util
from pathlib import Path
from typing import Any

from data.addresses import is_loopback
from data.errors import MissingExtraError
from server.process.server_process import require_free_port
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

    Raises ConfigurationError where the extra `console` is not installed or the port is taken.
    """
    if not is_installed():
        raise MissingExtraError(f"console: {LACK}", "console")
    require_free_port("console (CONSOLE_PORT)", settings.console_host, settings.console_port)
    from streamlit.web import bootstrap  # noqa: PLC0415 - an extra, and slow to import

    options = streamlit_options(settings)
    bootstrap.load_config_options(options)
    bootstrap.run(str(_APP), False, [], options)


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
    if is_loopback(settings.console_host):
        # Against DNS rebinding: a foreign page whose name resolves to this machine is refused.
        options["server_allowedHosts"] = ["127.0.0.1", "localhost", "[::1]"]
    for kind, theme in _THEMES.items():
        options |= {f"theme_{kind}_{name}": value for name, value in theme.items()}
    return options
