"""The public keys of an OpenID Connect issuer: had when first needed, and again when a token names one that is new."""

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
"""Between one look and the next, whatever callers send; a failed look counts."""

_FRESH_S, _STALE_S = 3600.0, 24 * 3600.0
"""Keys are had anew after an hour; where that fails they hold for a day: a key that was withdrawn is one no more."""


class KeySet:
    """The keys of one issuer, by id. One look at a time, and few looks, whatever tokens callers invent."""

    def __init__(self, oidc: Oidc) -> None:
        self._oidc = oidc
        self._keys: list[dict[str, Any]] = []
        self._had_s = float("-inf")
        self._looked_s = float("-inf")
        self._failure = ""
        self._looking: asyncio.Task[None] | None = None

    def find(self, kid: str | None) -> dict[str, Any] | None:
        """Return the key of an id, or the only one where a token names none; None where there is no such key."""
        if kid is None:
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.get("kid") == kid), None)

    async def refresh(self, kid: str | None) -> None:
        """Have the keys anew, if they are old or lack this one and it is not too soon.

        Raises UnavailableError where there are none that hold.
        """
        if self._is_due(kid):
            if self._looking is None:
                self._looking = asyncio.ensure_future(run_sync(self._look))
                self._looking.add_done_callback(self._looked)
            await asyncio.shield(self._looking)
        self._require()

    def refresh_now(self, kid: str | None) -> None:
        """Do as `refresh`, for callers without an event loop."""
        if self._is_due(kid):
            self._look()
        self._require()

    def _looked(self, _: object) -> None:
        self._looking = None

    def _is_due(self, kid: str | None) -> bool:
        now = monotonic()
        lacks = now - self._had_s > _FRESH_S or self.find(kid) is None
        return lacks and now - self._looked_s > _PAUSE_S

    def _require(self) -> None:
        if monotonic() - self._had_s > _STALE_S:
            self._keys = []
            raise UnavailableError(
                f"tokens cannot be checked: {self._failure or 'the keys of their issuer are not known yet'}; the "
                "server's ENCORE_OIDC_ISSUER and ENCORE_OIDC_KEYS say where they are"
            )

    def _look(self) -> None:
        self._looked_s = monotonic()
        try:
            found = self._fetch(self._place())
            keys = found.get("keys") if isinstance(found, dict) else None
            if not isinstance(keys, list):
                raise ValueError("what is there is no set of keys (RFC 7517)")
            self._keys = [key for key in keys[:_MOST_KEYS] if isinstance(key, dict)]
        except (OSError, ValueError, RecursionError) as error:
            self._failure = f"the keys of {self._oidc.issuer} cannot be had ({error})"
            _log.warning("%s", self._failure)
        else:
            self._had_s, self._failure = monotonic(), ""

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
    """Follows no redirect: keys come from where the settings, or the issuer, say."""

    def redirect_request(self, *_: Any) -> None:
        """Return nothing, by which the redirect is an error."""
