"""Checks of external services that the settings name: an MLflow server, and the issuer of tokens."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

from server.api.asgi.key_set import KeySet
from server.doctor.finding import Finding, fail, looked, ok, warn
from server.oidc import Oidc
from server.settings import Settings

__all__ = ["look_at_issuer", "look_at_mlflow", "look_at_services"]

_PATIENCE_S = 3.0


def look_at_services(settings: Settings) -> Iterator[Finding]:
    """Yield whether the services answer."""
    yield from look_at_mlflow(settings.tracking_uri)
    if (oidc := settings.oidc) is not None:
        yield from looked("tokens", lambda: look_at_issuer(oidc))


def look_at_mlflow(uri: str) -> Iterator[Finding]:
    """Yield whether MLflow answers, if the tracking URI is a server's."""
    parts = urlsplit(uri)
    if parts.scheme not in {"http", "https"}:
        return  # a database, which the models were checked against
    address = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"  # no password
    try:
        with urllib.request.urlopen(f"{address}{parts.path.rstrip('/')}/health", timeout=_PATIENCE_S) as answer:  # noqa: S310 - http, see above
            answer.read(100)
        yield ok("MLflow", f"answers at {address}")
    except urllib.error.HTTPError as error:
        level = warn if error.code in {401, 403, 404} else fail  # it answers, but not without credentials
        yield level("MLflow", f"{address} answers {error.code}", "look whether MLFLOW_TRACKING_URI is its address")
    except (OSError, ValueError) as error:
        advice = "the model that answers stays; training and promotion need it: check MLFLOW_TRACKING_URI"
        yield fail("MLflow", f"{address} does not answer ({error})", advice)


def look_at_issuer(oidc: Oidc) -> Iterator[Finding]:
    """Yield whether tokens can be checked: their issuer's keys are fetched as the API fetches them."""
    KeySet(oidc).refresh_now(None)
    yield ok("tokens", f"the keys of {oidc.issuer} are there")
