"""Whose a log is: an id that is made with it, by which what was made of it elsewhere is known to be its own."""

from pathlib import Path

import msgspec

from data.atomic import write_first
from data.errors import DataError

__all__ = ["Identity", "make_identity", "read_identity"]

_NAME = "identity.json"


class Identity(msgspec.Struct, frozen=True):
    """`id` is random; `project` is the name under which states, groups and topics of this log are found."""

    id: str
    project: str


def read_identity(root: Path) -> Identity | None:
    """Return the identity of the log in `root`; None where it has none yet. Raises DataError where it is damaged."""
    path = root / _NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Identity)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DataError(
            f"event log: {path} cannot be read ({error}); restore it from a copy: by it the states in Redis are known "
            "to be this log's"
        ) from error


def make_identity(root: Path, identity: Identity) -> Identity:
    """Give the log an identity, where it has none; return the one it has: whoever comes first decides."""
    write_first(root / _NAME, msgspec.json.encode(identity))
    return read_identity(root) or identity
