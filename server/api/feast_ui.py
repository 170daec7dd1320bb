"""Feast's UI over a home's registry: read-only, with the API's keys and its checks of Host and Origin.

Feast's UI comes with a REST interface that reads features and files, and changes the registry. Only the lists that the
page shows are served.
"""

import base64
import binascii
from typing import Any

from fastapi import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.asgi.callers import Callers
from server.api.asgi.doors import Doors, refuse_open_doors, route_path
from server.api.asgi.secret import secret_of
from server.api.problems import problem
from server.api.serving import serve_app
from server.jobs.feast_repo import open_store
from server.settings import Settings

__all__ = ["ReadOnly", "serve_feast_ui"]

_SHOWN = frozenset(
    {
        "data_sources",
        "entities",
        "feature_services",
        "feature_views",
        "features",
        "label_views",
        "labels",
        "lineage",
        "metrics",
        "permissions",
        "projects",
        "saved_datasets",
        "search",
        "version",
    }
)
"""Resources of Feast's REST interface that the page shows."""

_NO_LISTS = frozenset({"data", "jobs"})
"""Parts of `saved_datasets` that open files or start jobs."""

_HIDDEN = frozenset({"docs", "redoc", "openapi.json"})
"""Feast's description of its interface, whose scripts come from a CDN."""


class ReadOnly:
    """ASGI middleware that passes on permitted requests for the page and its lists."""

    def __init__(self, app: ASGIApp, callers: Callers, doors: Doors) -> None:
        self._app = app
        self._callers = callers
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        refusal = await self._refuse(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    async def _refuse(self, scope: Scope) -> Response | None:
        refusal = self._doors.refuse(scope)
        if refusal is not None:
            return refusal
        path = route_path(scope)
        if path != "/health" and (why := await self._callers.refusal(_presented_key(scope), "read")):
            return problem(
                401,
                f"{why}: in a browser as the password, else in the header X-API-Key",
                headers={"WWW-Authenticate": 'Basic realm="Encore", charset="UTF-8"'},
            )
        if scope["method"] not in {"GET", "HEAD"}:
            return problem(
                405, "the registry is only read here; `encore features` writes it", headers={"Allow": "GET, HEAD"}
            )
        return None if _is_shown(path) else problem(404, "the Feast UI shows what is registered, and nothing else")


def serve_feast_ui(settings: Settings) -> None:
    """Serve the UI at `feast_ui_host` and `feast_ui_port` until a signal.

    Raises ConfigurationError if the port is taken, or it would listen for other machines without requiring a key.
    """
    refuse_open_doors(settings, "FEAST_UI_HOST", settings.feast_ui_host, "Feast UI")
    store = open_store(settings)
    from feast.ui_server import get_app  # noqa: PLC0415 - it takes seconds

    app: Any = get_app(store, store.project)
    guarded = ReadOnly(app, Callers.of(settings), Doors.of(settings))
    serve_app("Feast UI (FEAST_UI_PORT)", guarded, settings, host=settings.feast_ui_host, port=settings.feast_ui_port)


def _is_shown(path: str) -> bool:
    parts = [part for part in path.split("/") if part]
    if parts[:1] != ["api"]:
        return not _HIDDEN.intersection(parts[:1])
    if parts[1:2] != ["v1"]:
        return len(parts) == 2 and parts[1].startswith("mlflow-")  # nothing, without MLflow in Feast's configuration
    shown, rest = parts[2:3], parts[3:4]
    return bool(_SHOWN.intersection(shown)) and not (shown == ["saved_datasets"] and _NO_LISTS.intersection(rest))


def _presented_key(scope: Scope) -> bytes:
    """Return the key in a request's headers; browsers send it as the password of basic authentication."""
    secret = secret_of(scope)
    authorization = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    if secret or authorization[:6].lower() != b"basic ":
        return secret
    try:
        return base64.b64decode(authorization[6:], validate=True).partition(b":")[2]
    except binascii.Error:
        return b""
