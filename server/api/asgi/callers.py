"""Who calls: the bearer of one of the server's keys, or of a token of its issuer; anybody where neither is needed."""

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
    """One who asks, and what it may do."""

    @property
    def name(self) -> str:
        """What it is called, in limits, logs and messages."""

    def has_ended(self, now_us: int) -> bool:
        """Return whether its key or token has ended."""

    def refusal(self, role: Role, now_us: int) -> str:
        """Return why it may not do what takes a role; empty where it may."""


NOBODY = ApiKey("anonymous", "")
"""The caller where neither keys nor tokens are asked for."""


class Callers:
    """Those who may call: by `keys`, by `tokens`; where there are neither, everybody."""

    def __init__(self, keys: Sequence[ApiKey], tokens: "Tokens | None" = None) -> None:
        self._keys = keys
        self._tokens = tokens
        self.required = bool(keys) or tokens is not None
        """Whether a caller has to say who it is."""

    @classmethod
    def of(cls, settings: Settings, clock: Clock = wall_clock) -> Self:
        """Return those that the settings name."""
        if settings.oidc is None:
            return cls(settings.keys)
        try:
            from server.api.asgi.tokens import Tokens  # noqa: PLC0415 - the extra `oidc`
        except ModuleNotFoundError as error:
            raise MissingExtraError("ENCORE_OIDC_ISSUER: PyJWT is not installed", "oidc") from error
        return cls(settings.keys, Tokens(settings.oidc, clock))

    def known(self, secret: bytes) -> Caller | None:
        """Return the bearer of a key, or of a token that was checked lately; None for any other."""
        if not self.required:
            return NOBODY
        if self._tokens is not None and _looks_like_token(secret):
            return self._tokens.known(secret)
        return find_key(self._keys, secret)

    async def check(self, secret: bytes) -> Caller | None:
        """Return the bearer of a token; None for what is none.

        Raises TokenError for a token that is refused, UnavailableError where it cannot be checked now.
        """
        if self._tokens is None or not _looks_like_token(secret):
            return None
        return await self._tokens.check(secret)

    async def refusal(self, secret: bytes, role: Role, clock: Clock = wall_clock) -> str:
        """Return why a caller may not do what takes a role; empty where it may."""
        try:
            caller = self.known(secret) or await self.check(secret)
        except EncoreError as error:
            return str(error)
        return caller.refusal(role, clock()) if caller else self.wanted

    def refusal_now(self, secret: bytes, role: Role, clock: Clock = wall_clock) -> str:
        """Return why a caller may not do what takes a role, for servers without an event loop; empty where it may."""
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
        """What a caller who sends nothing is told."""
        if self._tokens is None:
            return "a valid API key is needed"
        return "a token of the server's issuer is needed" + (", or a valid API key" if self._keys else "")


def _looks_like_token(secret: bytes) -> bool:
    """Return whether this has a token's form (RFC 7515), three parts between dots: no key of ours has a dot."""
    return secret.count(b".") == 2
