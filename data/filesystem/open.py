"""The storage at an address: a folder, or a bucket."""

from functools import lru_cache
from pathlib import Path

from data.filesystem.address import is_remote
from data.filesystem.bucket import Bucket
from data.filesystem.folder import Folder
from data.filesystem.place import open_place
from data.filesystem.storage import Storage

__all__ = ["open_storage"]


@lru_cache
def open_storage(where: str, copies: Path) -> Storage:
    """Return the storage at an address, as `check_storage` returns it: the same object for all callers.

    `copies` is the folder of the copies of a bucket's files. Raises ConfigurationError as `open_place`.
    """
    return Bucket(open_place(where), copies) if is_remote(where) else Folder(Path(where))
