"""The public keys of an OpenID Connect issuer, fetched on first use, and again when a token names an unknown key."""

import asyncio
import json
import logging
import urllib.error
import urllib.request
from pathlib import Path
from time import monotonic
from typing import Any

from anyio.to_thread import run_sync

from data.addresses import is_private_url
from data.errors import UnavailableError
from server.oidc import Oidc

__all__ = ["KeySet"]

_log = logging.getLogger(__name__)

_TIMEOUT_S = 5.0
_MOST_BYTES = 512 * 1024
_MOST_KEYS = 100
_PAUSE_S = 10.0
"""The shortest interval of fetches, s, whatever callers send; a failed fetch counts."""

_FRESH_S, _STALE_S = 3600.0, 24 * 3600.0
"""Ages of keys, s: they are fetched again after an hour, and expire after a day, since a key may be withdrawn."""


class KeySet:
    """The keys of one issuer, by id. Fetches are not concurrent, and are few, whatever tokens callers invent."""

    def __init__(self, oidc: Oidc) -> None:
        self._oidc = oidc
        self._keys: list[dict[str, Any]] = []
        self._fetched_s = float("-inf")
        self._tried_s = float("-inf")
        self._failure = ""
        self._fetching: asyncio.Task[None] | None = None

    def find(self, kid: str | None) -> dict[str, Any] | None:
        """Return the key with an id, or the only key if a token names none; None if there is no such key."""
        if kid is None:
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.get("kid") == kid), None)

    async def refresh(self, kid: str | None) -> None:
        """Fetch the keys if they are old or lack this one, unless the last attempt was too recent.

        Raises UnavailableError if there are no unexpired keys.
        """
        if self._is_due(kid):
            if self._fetching is None:
                self._fetching = asyncio.ensure_future(run_sync(self._fetch_keys))
                self._fetching.add_done_callback(self._on_fetched)
            await asyncio.shield(self._fetching)
        self._require()

    def refresh_now(self, kid: str | None) -> None:
        """Do as `refresh`, for callers without an event loop."""
        if self._is_due(kid):
            self._fetch_keys()
        self._require()

    def _on_fetched(self, _: object) -> None:
        self._fetching = None

    def _is_due(self, kid: str | None) -> bool:
        now = monotonic()
        is_needed = now - self._fetched_s > _FRESH_S or self.find(kid) is None
        return is_needed and now - self._tried_s > _PAUSE_S

    def _require(self) -> None:
        if monotonic() - self._fetched_s > _STALE_S:
            self._keys = []
            raise UnavailableError(
                f"tokens cannot be checked: {self._failure or 'the keys of their issuer are not known yet'}; the "
                "server's ENCORE_OIDC_ISSUER and ENCORE_OIDC_KEYS say where they are"
            )

    def _fetch_keys(self) -> None:
        self._tried_s = monotonic()
        try:
            content = self._fetch(self._place())
            keys = content.get("keys") if isinstance(content, dict) else None
            if not isinstance(keys, list):
                raise ValueError("what is there is no set of keys (RFC 7517)")
            self._keys = [key for key in keys[:_MOST_KEYS] if isinstance(key, dict)]
        except (OSError, ValueError, RecursionError) as error:
            self._failure = f"the keys of {self._oidc.issuer} cannot be had ({error})"
            _log.warning("%s", self._failure)
        else:
            self._fetched_s, self._failure = monotonic(), ""

    def _place(self) -> str:
        if self._oidc.keys:
            return self._oidc.keys
        described = self._fetch(f"{self._oidc.issuer.rstrip('/')}/.well-known/openid-configuration")
        place = described.get("jwks_uri") if isinstance(described, dict) else None
        if not isinstance(place, str) or described.get("issuer") != self._oidc.issuer:
            raise ValueError("its description is of another issuer, or names no jwks_uri")
        if not is_private_url(place):
            raise ValueError("its description names a jwks_uri that is not https://")
        return place

    def _fetch(self, place: str) -> Any:
        if "://" not in place:
            with Path(place).open("rb") as file:
                return json.loads(file.read(_MOST_BYTES))
        opener = urllib.request.build_opener(_Straight)
        with opener.open(place, timeout=_TIMEOUT_S) as answer:
            return json.loads(answer.read(_MOST_BYTES))


class _Straight(urllib.request.HTTPRedirectHandler):
    """Follows no redirects: keys must come from the address in the settings or from the issuer."""

    def redirect_request(self, *_: Any) -> None:
        """Return None, which makes a redirect an error."""
