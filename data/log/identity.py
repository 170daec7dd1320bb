"""The identity of a log: an id that is made with it, by which what was derived from it elsewhere is recognized."""

import time
from pathlib import Path

import msgspec

from data.atomic import write_first
from data.errors import DataError
from data.filesystem.folder import Folder
from data.filesystem.storage import Storage

__all__ = ["Identity", "make_identity", "read_identity"]

_NAME = "identity.json"

_SETTLE_S = 2.0


class Identity(msgspec.Struct, frozen=True):
    """`id` is random; `project` is the name under which states, groups and topics of this log are found."""

    id: str
    project: str


def read_identity(root: Path | Storage) -> Identity | None:
    """Return the identity of the log in `root`; None where it has none yet. Raises DataError where it is damaged."""
    place: Storage = Folder(root) if isinstance(root, Path) else root
    if place.mark(_NAME) is None:
        return None
    path = place.local(_NAME)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Identity)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DataError(
            f"event log: {path} cannot be read ({error}); restore it from a copy: by it the states in Redis are known "
            "to be this log's"
        ) from error


def make_identity(root: Path | Storage, identity: Identity) -> Identity:
    """Give the log an identity where it has none; return the one it has: the first writer decides."""
    content = msgspec.json.encode(identity)
    place: Storage = Folder(root) if isinstance(root, Path) else root
    if not place.is_remote:
        place.put(_NAME, lambda path: write_first(path, content))
    elif place.mark(_NAME) is None:
        place.put(_NAME, lambda path: path.write_bytes(content))
        time.sleep(_SETTLE_S)  # a put there replaces a concurrent one: then all read the last one
    return read_identity(place) or identity
