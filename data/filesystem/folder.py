"""A storage that is a folder of this machine's file system."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from data.atomic import replace_folder, scratch_folder
from data.filesystem.storage import Mark
from data.lock import file_lock

__all__ = ["Folder"]


class Folder:
    """Implements `data.filesystem.storage.Storage`; files are to be written atomically (`data.atomic`)."""

    look_every_s = 0.0
    is_remote = False

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def __truediv__(self, name: str) -> "Folder":
        return Folder(self.root / name)

    def folders(self) -> list[str]:
        """Return the names of the folders in it, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(path.name for path in self.root.iterdir() if path.is_dir())

    def names(self) -> Iterator[str]:
        """Yield the names of the files in it; folders, and pipes, which would block a reader, are left out."""
        try:
            with os.scandir(self.root) as entries:
                for entry in entries:
                    if entry.is_file():
                        yield entry.name
        except FileNotFoundError:
            return

    def marks(self) -> dict[str, Mark]:
        """Return the marks of all files, by name."""
        marks = {name: self.mark(name) for name in self.names()}
        return {name: mark for name, mark in marks.items() if mark is not None}

    def path(self, name: str) -> Path:
        """Return the path of a file."""
        return self.root / name

    local = path

    def mark(self, name: str) -> Mark | None:
        """Return the mark of a file; None where there is none."""
        try:
            status = (self.root / name).stat()
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return Mark(status.st_mtime_ns, status.st_size, status.st_ino)

    def put(self, name: str, write: Callable[[Path], object]) -> Path:
        """Let `write` make a file in its place; its folder is made first."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
        return path

    def delete(self, name: str) -> bool:
        """Delete a file; return whether it was there."""
        try:
            (self.root / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def bytes(self) -> int:
        """Return the size of all files together, at any depth; files deleted meanwhile do not count."""
        total = 0
        for where, _, names in os.walk(self.root):
            for name in names:
                with suppress(FileNotFoundError):
                    total += Path(where, name).stat().st_size
        return total

    def make(self) -> bool:
        """Make the folder; return False where it exists."""
        try:
            self.root.mkdir(parents=True)
        except FileExistsError:
            return False
        return True

    def lock(self, name: str, *, shared: bool = False, wait: bool = True) -> AbstractContextManager[object]:
        """Hold a lock of the file system, which ends with its process."""
        return file_lock(self.root / name, shared=shared, wait=wait)

    def scratch(self, name: str) -> AbstractContextManager[Path]:
        """Yield an empty folder beside those that it can replace."""
        return scratch_folder(self.root / name)

    def replace(self, name: str, scratch: Path, *, unfinished: str) -> None:  # noqa: ARG002 - renames need no marker
        """Replace a folder in it by the scratch folder."""
        replace_folder(scratch, self.root / name)
