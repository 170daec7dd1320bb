"""The seal beside Feast's registry: the SHA-256 of what was written last, and the names in it.

Feast keeps functions in its registry, pickled and as source, and runs them in every process that opens it. So a file
that was changed since is refused before Feast reads it. The seal also lists what is registered without importing Feast,
which takes seconds.
"""

import hashlib
import time
from pathlib import Path

import msgspec

from data.atomic import write_whole
from data.errors import DataError

__all__ = ["Registered", "read_sealed", "registered", "write_sealed"]

_TRIES, _PAUSE_S = 5, 0.05
"""File and seal are written one after the other; a reader between the two tries again."""


class Registered(msgspec.Struct, frozen=True):
    """What a registry holds: of each feature view and feature service by name, the plan it was made from, if any."""

    views: dict[str, str]
    services: dict[str, str]


class _Seal(msgspec.Struct, frozen=True):
    sha256: tuple[str, ...]
    registered: Registered


def read_sealed(path: Path) -> bytes:
    """Return the registry's bytes.

    Raises FileNotFoundError where there is none, DataError where they were changed since they were written.
    """
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE_S)
        content = path.read_bytes()
        seal = _read(path)
        if seal is not None and _hash(content) in seal.sha256:
            return content
    raise DataError(
        f"Feast's registry {path} was changed since Feast wrote it; it holds functions that would be run, so it is "
        "not opened. `encore features` makes it anew"
    )


def registered(path: Path) -> Registered | None:
    """Return what the registry holds; None where there is none, or one that was changed since it was written."""
    try:
        read_sealed(path)
    except (OSError, DataError):
        return None
    seal = _read(path)
    return seal.registered if seal else None


def write_sealed(path: Path, content: bytes, holds: Registered) -> None:
    """Write the registry and its seal; an interruption leaves the old registry or the new one, sealed."""
    new, before = _hash(content), _read(path)
    old = before.sha256 if before else ()
    write_whole(_seal(path), msgspec.json.encode(_Seal((new, *old[:1]), before.registered if before else holds)))
    write_whole(path, content)
    write_whole(_seal(path), msgspec.json.encode(_Seal((new,), holds)))


def _read(path: Path) -> _Seal | None:
    try:
        return msgspec.json.decode(_seal(path).read_bytes(), type=_Seal)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _seal(path: Path) -> Path:
    return path.with_name(f"{path.name}.seal")


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
