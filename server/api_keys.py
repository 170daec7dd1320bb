"""API keys. Settings hold each key's name and SHA-256, never the key; a key is 256 random bits.

    score ⊂ read ⊂ operate ⊂ admin    a key's role may do all that those before it may

A fast hash is enough for a secret that cannot be guessed; slow hashes are for passwords.
"""

import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple, cast, get_args

from data.atomic import write_first
from data.units import MICROS

__all__ = ["ROLES", "ApiKey", "Role", "find_key", "kept_key", "lacks", "make_key", "parse_keys"]

Role = Literal["score", "read", "operate", "admin"]
"""What a caller may do: `score` asks for scores only, `read` reads all, `operate` changes models, `admin` user data."""

ROLES: tuple[Role, ...] = get_args(Role)

_KEY = re.compile(rf"([a-z][a-z0-9_-]{{0,31}}):([0-9a-f]{{64}})(?::({'|'.join(ROLES)}))?(?::(\d{{4}}-\d\d-\d\d))?")


class ApiKey(NamedTuple):
    """The name, SHA-256 and role of a key, and the last day (UTC) on which it is valid; None: no end."""

    name: str
    sha256: str
    role: Role = "read"
    until: date | None = None

    def __str__(self) -> str:
        return ":".join((self.name, self.sha256, self.role, *([self.until.isoformat()] if self.until else [])))

    def has_ended(self, now_us: int) -> bool:
        """Return whether the last day is over."""
        return self.until is not None and datetime.fromtimestamp(now_us / MICROS, UTC).date() > self.until

    def refusal(self, role: Role, now_us: int) -> str:
        """Return why the key does not grant a role; empty if it does."""
        if self.has_ended(now_us):
            return f"the key {self.name} ended with {self.until} (UTC); `encore key NAME --until DAY` makes another"
        if lacks(self.role, role):
            needed = f"this needs {role}; `encore key NAME --role {role}` makes one"
            return f"the key {self.name} has the role {self.role}, and {needed}"
        return ""


def lacks(role: Role, needed: Role) -> bool:
    """Return whether a role is below the needed one."""
    return ROLES.index(role) < ROLES.index(needed)


def make_key(name: str, role: Role = "read", until: date | None = None) -> tuple[str, ApiKey]:
    """Return a new key: the secret for its bearer, and the part that the settings keep. Raises ValueError."""
    secret = secrets.token_urlsafe(32)
    (key,) = parse_keys(str(ApiKey(name, sha256(secret.encode()).hexdigest(), role, until)))
    return secret, key


def kept_key(path: Path, name: str) -> ApiKey:
    """Return the administrator's key whose secret is in a file that only its owner can read; create a missing file.

    Raises OSError if the file can neither be read nor created.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        secret, _ = make_key(name, "admin")
        write_first(path, f"{secret}\n".encode(), mode=0o600)
    return ApiKey(name, sha256(path.read_bytes().strip()).hexdigest(), "admin")


def parse_keys(text: str) -> tuple[ApiKey, ...]:
    """Parse keys from settings: `name:sha256[:role][:last day]`, separated by commas. Raises ValueError."""
    keys = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        match = _KEY.fullmatch(entry)
        if match is None:
            raise ValueError(
                f"a key is name:sha256, then :role ({', '.join(ROLES)}) and :YYYY-MM-DD, its last day, where it has "
                "them; `encore key NAME` makes one"
            )
        name, digest, role, until = match.groups()
        try:
            last_day = date.fromisoformat(until) if until else None
        except ValueError:
            raise ValueError(f"the key {name} ends with {until}, which is no day") from None
        keys.append(ApiKey(name, digest, cast("Role", role or "read"), last_day))
    if len({key.name for key in keys}) < len(keys):
        raise ValueError("two keys have one name")
    return tuple(keys)


def find_key(keys: Sequence[ApiKey], secret: bytes) -> ApiKey | None:
    """Return the key of a secret, or None, in constant time: every key's hash is compared in full.

    `ApiKey.refusal` says what the key permits.
    """
    if not secret:
        return None
    digest = sha256(secret).hexdigest()
    matching_key = None
    for key in keys:
        if hmac.compare_digest(key.sha256, digest):
            matching_key = key
    return matching_key
