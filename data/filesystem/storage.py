"""A storage of files that may be shared: `data.filesystem.folder` on a disk, `data.filesystem.bucket` elsewhere.

A file is written whole or not at all, and has a name that says what it holds, so that writing it again changes nothing.
`tests/contracts/test_storage_contract.py` tests both kinds.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol, Self

__all__ = ["Mark", "Storage"]


class Mark(NamedTuple):
    """Identifies a version of a file: time of its last change (Unix, ns), size, and inode."""

    modified_ns: int
    size: int
    inode: int = 0


class Storage(Protocol):
    """Files by name, and storages within it. Making one does no I/O; `str` is its address.

    `look_every_s` is how long a listing may be reused, since it costs as much as a write does.
    `is_remote`: files are read as copies, and a list of names may lag behind what was written.

    Raises UnavailableError where it cannot be reached.
    """

    look_every_s: float
    is_remote: bool

    def __truediv__(self, name: str) -> Self:
        """Return a storage within this one."""

    def folders(self) -> list[str]:
        """Return the names of the storages within this one, sorted."""

    def names(self) -> Iterable[str]:
        """Return the names of files, in no order; nothing where there is none yet."""

    def marks(self) -> dict[str, Mark]:
        """Return the marks of all files as they are now, by name."""

    def path(self, name: str) -> Path:
        """Return the path of a file, or of the copy that `local` makes of it."""

    def local(self, name: str) -> Path:
        """Return a path at which a file can be read as it is now. Raises GoneError where it is gone."""

    def mark(self, name: str) -> Mark | None:
        """Return the mark of a file as it is now; None where there is none."""

    def put(self, name: str, write: Callable[[Path], object]) -> Path:
        """Make or replace a file: `write` is called with a path to make it at. Return `path`."""

    def delete(self, name: str) -> bool:
        """Delete a file; return whether it was there."""

    def bytes(self) -> int:
        """Return the size of all files together, at any depth; files deleted meanwhile do not count."""

    def make(self) -> bool:
        """Make its folder; return False where another process has."""

    def lock(self, name: str, *, shared: bool = False, wait: bool = True) -> AbstractContextManager[object]:
        """Hold a lock against all users of this storage, within a `with` block.

        Raises BlockingIOError where another process holds it and `wait` is False.
        """

    def scratch(self, name: str) -> AbstractContextManager[Path]:
        """Yield an empty folder on this machine, whose files `replace` moves here; its name begins with this one."""

    def replace(self, name: str, scratch: Path, *, unfinished: str) -> None:
        """Replace a storage within this one by the files of a scratch folder.

        Where that cannot be done in one step, an empty file called `unfinished` is in it in the meantime.
        """
