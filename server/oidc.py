"""Tokens of an OpenID Connect issuer: their settings and their bearers."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from data.units import MICROS, from_micros
from server.api_keys import ROLES, Role, lacks

__all__ = ["SKEW_US", "Bearer", "Oidc", "highest_role", "parse_roles"]

SKEW_US = 60 * MICROS
"""Tolerated difference between the issuer's clock and this machine's, µs."""


class Oidc(NamedTuple):
    """An issuer whose tokens are accepted where they are for `audience`.

    `keys` is the address or file of its public keys; empty: as its discovery document says. `claim` names the claim
    that lists a bearer's roles in the issuer's terms, and `roles` maps these to roles of this server.
    """

    issuer: str
    audience: str
    keys: str
    claim: str
    roles: Mapping[str, Role]


class Bearer(NamedTuple):
    """A caller by its token: the subject, the highest of its roles, and when the token ends, UTC µs.

    `role` is None if the claim lists no role known to this server; `claimed` says what it lists.
    """

    name: str
    role: Role | None
    until_us: int
    claimed: str = ""

    def has_ended(self, now_us: int) -> bool:
        """Return whether the token has ended, with tolerance for clock skew."""
        return now_us > self.until_us + SKEW_US

    def refusal(self, role: Role, now_us: int) -> str:
        """Return why the token does not grant a role; empty if it does."""
        if self.has_ended(now_us):
            return f"the token of {self.name} ended at {from_micros(self.until_us):%Y-%m-%dT%H:%M:%SZ}; get another"
        if self.role is None:
            return f"the token of {self.name} gives it no role here: {self.claimed}"
        if lacks(self.role, role):
            return f"the token of {self.name} gives it the role {self.role}, and this needs {role}"
        return ""


def parse_roles(text: str) -> dict[str, Role]:
    """Parse `theirs=ours,...`: a mapping of the issuer's roles to ours; if empty, names are the same.

    Raises ValueError.
    """
    mapping: dict[str, Role] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        issuer_role, _, role_name = (part.strip() for part in entry.rpartition("="))
        role = next((role for role in ROLES if role == role_name), None)
        if not issuer_role or role is None:
            raise ValueError(f"{entry!r} is not a role of the issuer, =, and one of {', '.join(ROLES)}")
        if issuer_role in mapping:
            raise ValueError(f"the issuer's role {issuer_role!r} is given twice")
        mapping[issuer_role] = role
    return mapping or {role: role for role in ROLES}


def highest_role(names: Iterable[str], roles: Mapping[str, Role]) -> Role | None:
    """Return the highest role that the issuer's roles `names` map to; None if none of them is mapped."""
    granted = {roles[name] for name in names if name in roles}
    return next((role for role in reversed(ROLES) if role in granted), None)
