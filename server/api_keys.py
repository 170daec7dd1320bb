"""API keys. Settings hold each key's name and SHA-256, never the key; a key is 256 random bits.

A fast hash is enough for a secret that cannot be guessed; slow hashes are for passwords.
"""

import hmac
import re
import secrets
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from data.atomic import write_first

__all__ = ["ApiKey", "find_key", "kept_key", "make_key", "parse_keys"]

_KEY = re.compile(r"([a-z][a-z0-9_-]{0,31}):([0-9a-f]{64})(:admin)?")


class ApiKey(NamedTuple):
    """A caller's key: with `admin` it may also change models."""

    name: str
    sha256: str
    admin: bool = False

    def __str__(self) -> str:
        return f"{self.name}:{self.sha256}" + (":admin" if self.admin else "")


def make_key(name: str, *, admin: bool = False) -> tuple[str, ApiKey]:
    """Return a new key: the secret for its bearer, and the part that the settings keep."""
    secret = secrets.token_urlsafe(32)
    return secret, parse_keys(f"{name}:{sha256(secret.encode()).hexdigest()}" + (":admin" if admin else ""))[0]


def kept_key(path: Path, name: str) -> ApiKey:
    """Return the administrator's key whose secret is in a file readable by its owner only; made where there is none.

    Raises OSError where it can be neither read nor made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        secret, _ = make_key(name, admin=True)
        write_first(path, f"{secret}\n".encode(), mode=0o600)
    return ApiKey(name, sha256(path.read_bytes().strip()).hexdigest(), admin=True)


def parse_keys(text: str) -> tuple[ApiKey, ...]:
    """Parse keys from settings: `name:sha256` or `name:sha256:admin`, separated by commas. Raises ValueError."""
    keys = []
    for one in filter(None, (part.strip() for part in text.split(","))):
        match = _KEY.fullmatch(one)
        if match is None:
            raise ValueError("a key is name:sha256 or name:sha256:admin; `encore key NAME` makes one")
        keys.append(ApiKey(match[1], match[2], match[3] is not None))
    if len({key.name for key in keys}) < len(keys):
        raise ValueError("two keys have one name")
    return tuple(keys)


def find_key(keys: Sequence[ApiKey], secret: bytes) -> ApiKey | None:
    """Return the key of a secret, or None, in constant time: every key's hash is compared in full."""
    if not secret:
        return None
    digest = sha256(secret).hexdigest()
    found = None
    for key in keys:
        if hmac.compare_digest(key.sha256, digest):
            found = key
    return found
