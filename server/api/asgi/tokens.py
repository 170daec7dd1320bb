"""Bearer tokens of an OpenID Connect issuer: signature, issuer, audience and times are checked once for each token."""

from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import jwt

from data.clock import Clock, wall_clock
from data.errors import TokenError
from data.printable import printable
from data.units import MICROS
from server.api.asgi.key_set import KeySet
from server.oidc import SKEW_US, Bearer, Oidc, highest_role

__all__ = ["Tokens"]

_ALGORITHMS = {
    "RSA": frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    "EC P-256": frozenset({"ES256"}),
    "EC P-384": frozenset({"ES384"}),
    "EC P-521": frozenset({"ES512"}),
    "OKP Ed25519": frozenset({"EdDSA"}),
}
"""The signature algorithms by kind of key. The key decides, not the token; `none` and shared secrets are excluded."""

_LEAST_RSA_BITS = 2048

_LONGEST = 8 * 1024
"""The largest token, bytes."""

_MOST_KEPT = 4096
_KEPT_US = 300 * MICROS
"""The most cached tokens, and the age, µs, after which one is checked again, since a key may be withdrawn."""

_LONGEST_NAME = 100


class Tokens:
    """Tokens of one issuer, for one audience. For one event loop, or one thread."""

    def __init__(self, oidc: Oidc, clock: Clock = wall_clock) -> None:
        self._oidc = oidc
        self._clock = clock
        self._keys = KeySet(oidc)
        self._cache = OrderedDict[bytes, tuple[int, Bearer]]()

    def known(self, token: bytes) -> Bearer | None:
        """Return the bearer of a recently checked token; None for any other."""
        cached = self._cache.get(sha256(token).digest())
        return cached[1] if cached is not None and self._clock() < cached[0] else None

    async def check(self, token: bytes) -> Bearer:
        """Return the bearer of a token.

        Raises TokenError if it is not a valid token of this issuer for this server, UnavailableError if that cannot be
        checked.
        """
        header = _header_of(token)
        await self._keys.refresh(header.get("kid"))
        return self._checked(token, header)

    def check_now(self, token: bytes) -> Bearer:
        """Do as `check`, for callers without an event loop."""
        header = _header_of(token)
        self._keys.refresh_now(header.get("kid"))
        return self._checked(token, header)

    def _checked(self, token: bytes, header: Mapping[str, Any]) -> Bearer:
        oidc = self._oidc
        try:
            claims = jwt.decode(
                token,
                _key_for(header, self._keys.find(header.get("kid"))),
                algorithms=[header["alg"]],
                audience=oidc.audience,
                issuer=oidc.issuer,
                # Times are compared below, by this object's clock.
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.PyJWTError as error:
            raise TokenError(f"the token is not accepted: {printable(error, 200)}") from None
        now = self._clock()
        bearer = self._bearer(claims)
        if bearer.has_ended(now):
            raise TokenError(bearer.refusal("score", now))
        for name in ("nbf", "iat"):
            if name in claims and _time(claims, name) > now + SKEW_US:
                raise TokenError(f"the token of {bearer.name} is of the future ({name}); look at both clocks")
        self._cache[sha256(token).digest()] = min(now + _KEPT_US, bearer.until_us + SKEW_US), bearer
        while len(self._cache) > _MOST_KEPT:
            self._cache.popitem(last=False)
        return bearer

    def _bearer(self, claims: Mapping[str, Any]) -> Bearer:
        oidc = self._oidc
        names = _names(_claim(claims, oidc.claim))
        described = f"its claim {oidc.claim} holds {printable(', '.join(names) or 'nothing', 200)}"
        described += f"; this server knows {', '.join(oidc.roles)}"
        name = f"oidc:{printable(claims['sub'], _LONGEST_NAME)}"
        return Bearer(name, highest_role(names, oidc.roles), _time(claims, "exp"), described)


def _header_of(token: bytes) -> Mapping[str, Any]:
    """Return the header of a token, unverified."""
    if len(token) > _LONGEST:
        raise TokenError(f"a token may have {_LONGEST:,} bytes")
    try:
        header: dict[str, Any] = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise TokenError(f"the token is not accepted: {printable(error, 200)}") from None
    return header


def _key_for(header: Mapping[str, Any], key: Mapping[str, Any] | None) -> Any:
    """Return the public key that a token names, for the algorithm that it names only."""
    key_name = printable(header.get("kid") or "the only one", 100)
    if key is None:
        raise TokenError(f"the token is not accepted: its issuer has no key {key_name}")
    kind = f"{key.get('kty')} {key['crv']}" if "crv" in key else str(key.get("kty"))
    algorithm = header.get("alg")
    allowed = _ALGORITHMS.get(kind, frozenset())
    if algorithm not in allowed or key.get("alg", algorithm) != algorithm or key.get("use", "sig") != "sig":
        raise TokenError(f"the token is not accepted: it is not signed as its issuer's key {key_name} signs")
    public_key = jwt.PyJWK(dict(key), algorithm).key
    if kind == "RSA" and public_key.key_size < _LEAST_RSA_BITS:
        raise TokenError(f"the token is not accepted: its issuer's key {key_name} has less than {_LEAST_RSA_BITS} bits")
    return public_key


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its name, or by a dotted path of names."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _names(value: Any) -> list[str]:
    """Return the names in a claim: a list, or a text separated by spaces, like scopes."""
    if isinstance(value, str):
        return value.split()
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def _time(claims: Mapping[str, Any], name: str) -> int:
    """Return a time of a token, UTC µs."""
    seconds = claims[name]
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 1e11:
        raise TokenError(f"the token is not accepted: its {name} is no time")
    return int(seconds * MICROS)
