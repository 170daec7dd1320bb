"""Tokens of an OpenID Connect issuer: what the settings say of them, and who their bearers are."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from data.units import MICROS, from_micros
from server.api_keys import ROLES, Role, lacks

__all__ = ["SKEW_US", "Bearer", "Oidc", "highest_role", "parse_roles"]

SKEW_US = 60 * MICROS
"""How far an issuer's clock may be from ours."""


class Oidc(NamedTuple):
    """An issuer whose tokens are accepted where they are for `audience`.

    `keys` is the address or file of its public keys; empty: the issuer's own description says where they are. `claim`
    holds a bearer's roles in the issuer's words, and `roles` says what these may do here.
    """

    issuer: str
    audience: str
    keys: str
    claim: str
    roles: Mapping[str, Role]


class Bearer(NamedTuple):
    """A caller by its token: the subject, the highest of its roles, and when the token ends, UTC µs.

    `role` is None where its claim holds none that this server knows; `told` says what it holds.
    """

    name: str
    role: Role | None
    until_us: int
    told: str = ""

    def has_ended(self, now_us: int) -> bool:
        """Return whether the token has ended, by a clock that may be off."""
        return now_us > self.until_us + SKEW_US

    def refusal(self, role: Role, now_us: int) -> str:
        """Return why the caller may not do what takes a role; empty where it may."""
        if self.has_ended(now_us):
            return f"the token of {self.name} ended at {from_micros(self.until_us):%Y-%m-%dT%H:%M:%SZ}; get another"
        if self.role is None:
            return f"the token of {self.name} gives it no role here: {self.told}"
        if lacks(self.role, role):
            return f"the token of {self.name} gives it the role {self.role}, and this needs {role}"
        return ""


def parse_roles(text: str) -> dict[str, Role]:
    """Parse `theirs=ours,...`: what roles of the issuer may do here; by default roles are called as here.

    Raises ValueError.
    """
    found: dict[str, Role] = {}
    for one in filter(None, (part.strip() for part in text.split(","))):
        theirs, _, ours = (part.strip() for part in one.rpartition("="))
        role = next((role for role in ROLES if role == ours), None)
        if not theirs or role is None:
            raise ValueError(f"{one!r} is not a role of the issuer, =, and one of {', '.join(ROLES)}")
        if theirs in found:
            raise ValueError(f"the issuer's role {theirs!r} is given twice")
        found[theirs] = role
    return found or {role: role for role in ROLES}


def highest_role(names: Iterable[str], roles: Mapping[str, Role]) -> Role | None:
    """Return the role that may do most among these of the issuer; None where this server knows none of them."""
    known = {roles[name] for name in names if name in roles}
    return next((role for role in reversed(ROLES) if role in known), None)
