"""Callers of the API: bearers of a key of the server or of a token of its issuer; anybody if neither is required."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, Self

from data.clock import Clock, wall_clock
from data.errors import EncoreError, MissingExtraError
from server.api_keys import ApiKey, Role, find_key
from server.settings import Settings

if TYPE_CHECKING:
    from server.api.asgi.tokens import Tokens

__all__ = ["NOBODY", "Caller", "Callers"]


class Caller(Protocol):
    """A caller and its permissions."""

    @property
    def name(self) -> str:
        """Name in limits, logs and messages."""

    def has_ended(self, now_us: int) -> bool:
        """Return whether its key or token has expired at a time, UTC µs."""

    def refusal(self, role: Role, now_us: int) -> str:
        """Return why it lacks a role; empty if it has the role."""


NOBODY = ApiKey("anonymous", "")
"""The caller if neither keys nor tokens are required."""


class Callers:
    """The permitted callers: by `keys` and by `tokens`; everybody if there are neither."""

    def __init__(self, keys: Sequence[ApiKey], tokens: "Tokens | None" = None) -> None:
        self._keys = keys
        self._tokens = tokens
        self.required = bool(keys) or tokens is not None
        """Whether callers must authenticate."""

    @classmethod
    def of(cls, settings: Settings, clock: Clock = wall_clock) -> Self:
        """Return the callers that the settings permit."""
        if settings.oidc is None:
            return cls(settings.keys)
        try:
            from server.api.asgi.tokens import Tokens  # noqa: PLC0415 - the extra `oidc`
        except ModuleNotFoundError as error:
            raise MissingExtraError("ENCORE_OIDC_ISSUER: PyJWT is not installed", "oidc") from error
        return cls(settings.keys, Tokens(settings.oidc, clock))

    def known(self, secret: bytes) -> Caller | None:
        """Return the bearer of a key, or of a recently checked token; None for any other secret."""
        if not self.required:
            return NOBODY
        if self._tokens is not None and _looks_like_token(secret):
            return self._tokens.known(secret)
        return find_key(self._keys, secret)

    async def check(self, secret: bytes) -> Caller | None:
        """Return the bearer of a token; None if the secret does not look like a token.

        Raises TokenError for a refused token, UnavailableError if it cannot be checked now.
        """
        if self._tokens is None or not _looks_like_token(secret):
            return None
        return await self._tokens.check(secret)

    async def refusal(self, secret: bytes, role: Role, clock: Clock = wall_clock) -> str:
        """Return why a caller lacks a role; empty if it has the role."""
        try:
            caller = self.known(secret) or await self.check(secret)
        except EncoreError as error:
            return str(error)
        return caller.refusal(role, clock()) if caller else self.wanted

    def refusal_now(self, secret: bytes, role: Role, clock: Clock = wall_clock) -> str:
        """Do as `refusal`, for servers without an event loop."""
        caller: Caller | None
        try:
            caller = self.known(secret)
            if caller is None and self._tokens is not None and _looks_like_token(secret):
                caller = self._tokens.check_now(secret)
        except EncoreError as error:
            return str(error)
        return caller.refusal(role, clock()) if caller else self.wanted

    @property
    def wanted(self) -> str:
        """The message for a caller who sends no key."""
        if self._tokens is None:
            return "a valid API key is needed"
        return "a token of the server's issuer is needed" + (", or a valid API key" if self._keys else "")


def _looks_like_token(secret: bytes) -> bool:
    """Return whether a secret has the form of a token (RFC 7515), three parts between dots; keys have no dots."""
    return secret.count(b".") == 2
