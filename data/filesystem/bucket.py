"""A storage in an object store, under a prefix of a bucket.

A put is atomic: an object is there whole, or as it was before. Objects are read as copies on this machine, made at
first use, and again where the time or size of the object has changed. A copy is deleted when its object is gone and it
was not used for an hour.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from pyarrow import fs

from data.atomic import whole_file
from data.errors import GoneError, UnavailableError
from data.filesystem.lease import lease
from data.filesystem.place import Place
from data.filesystem.storage import Mark

__all__ = ["Bucket"]

_KEPT_S = 3600.0
"""How long a copy is kept after its last use when its object is gone."""

_TICK_S = 0.2

_LOCKS = ".locks"


class Bucket:
    """Implements `data.filesystem.storage.Storage`.

    `prefix` begins the names of its files in the place, and ends with a slash or is empty. `copies` is the folder of
    the copies, which processes of this machine may share.
    """

    look_every_s = 2.0
    is_remote = True

    def __init__(self, place: Place, copies: Path, prefix: str = "", marks: dict[str, Mark] | None = None) -> None:
        self.copies = copies
        self._place = place
        self._prefix = prefix
        self._marks: dict[str, Mark] = {} if marks is None else marks
        """Marks of files as of the last look at them; shared by all storages of a place."""

    def __str__(self) -> str:
        return f"{self._place}/{self._prefix}".rstrip("/")

    def __truediv__(self, name: str) -> "Bucket":
        return Bucket(self._place, self.copies / name, f"{self._prefix}{name}/", self._marks)

    def folders(self) -> list[str]:
        """Return the names of the storages within this one, sorted."""
        infos = self._place.infos(self._prefix)
        return sorted(info.base_name for info in infos if info.type == fs.FileType.Directory)

    def names(self) -> list[str]:
        """Return the names of files; copies of others are dropped."""
        return list(self.marks())

    def marks(self) -> dict[str, Mark]:
        """Return the marks of files, by name; copies of others are dropped."""
        infos = self._place.infos(self._prefix)
        marks = {info.base_name: _mark(info) for info in infos if info.type == fs.FileType.File}
        for name, mark in marks.items():
            self._marks[self._prefix + name] = mark
        self._drop_others(marks)
        return marks

    def path(self, name: str) -> Path:
        """Return the path of the copy of a file, which need not be there."""
        return self.copies / name

    def local(self, name: str) -> Path:
        """Return the path of a copy of a file as it was at the last look at it, or as it is now."""
        mark = self._marks.get(self._prefix + name) or self.mark(name)
        if mark is None:
            raise GoneError(f"{self}/{name} is gone (compacted, or deleted); run again")
        path = self.path(name)
        with suppress(FileNotFoundError):
            status = path.stat()
            if (status.st_mtime_ns, status.st_size) == mark[:2]:
                os.utime(path, ns=(time.time_ns(), mark.modified_ns))  # the time of its last use
                return path
        return self._copy(name, mark)

    def mark(self, name: str) -> Mark | None:
        """Return the mark of a file as it is now; None where there is none."""
        info = self._place.info(self._prefix + name)
        if info is None:
            self._marks.pop(self._prefix + name, None)
            return None
        mark = self._marks[self._prefix + name] = _mark(info)
        return mark

    def put(self, name: str, write: Callable[[Path], object]) -> Path:
        """Let `write` make a file on this machine, and upload it; its mark differs from the replaced file's."""
        before = self.mark(name)
        with self._scratch() as scratch:
            path = scratch / name
            write(path)
            self._put(name, path)
            # Readers tell versions apart by time and size; some stores count time in seconds.
            while before is not None and self.mark(name) == before:
                time.sleep(_TICK_S)
                self._put(name, path)
        self.path(name).unlink(missing_ok=True)  # the copy of the replaced file
        return self.path(name)

    def delete(self, name: str) -> bool:
        """Delete a file, and its copy on this machine; return whether it was there."""
        self._marks.pop(self._prefix + name, None)
        self.path(name).unlink(missing_ok=True)
        return self._place.delete(self._prefix + name)

    def bytes(self) -> int:
        """Return the size of all files together, at any depth."""
        return sum(info.size or 0 for info in self._place.infos(self._prefix, recursive=True))

    def make(self) -> bool:
        """Do nothing: it exists as soon as it has a file, so concurrent callers agree."""
        return True

    def lock(self, name: str, *, shared: bool = False, wait: bool = True) -> AbstractContextManager[object]:
        """Hold a lock against all machines that use this bucket; it expires some time after its process ends."""
        return lease(self / _LOCKS / name, shared=shared, wait=wait)

    def scratch(self, name: str) -> AbstractContextManager[Path]:  # noqa: ARG002 - it need not be near
        """Yield an empty folder on this machine."""
        return self._scratch()

    def replace(self, name: str, scratch: Path, *, unfinished: str) -> None:
        """Replace the content by the files of a folder; `unfinished` exists in the meantime."""
        within = self / name
        within.put(unfinished, Path.touch)
        for old in within.names():
            if old != unfinished:
                within.delete(old)
        for path in sorted(scratch.iterdir()):
            within.put(path.name, path.rename)
        within.delete(unfinished)

    def _put(self, name: str, path: Path) -> None:
        """Put a file. Raises UnavailableError where the store then holds something else."""
        sent = self._place.send(path, self._prefix + name)
        mark = self.mark(name)
        if mark is None or mark.size != sent.size:
            raise UnavailableError(
                f"{self}/{name}: {sent.size} bytes were sent, and {mark.size if mark else 'nothing'} is there; "
                "somebody else writes it, or the store loses what it confirms"
            )

    def _copy(self, name: str, mark: Mark) -> Path:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):
            with whole_file(path) as scratch:
                size = self._place.fetch(self._prefix + name, scratch).size
                os.utime(scratch, ns=(time.time_ns(), mark.modified_ns if size == mark.size else 0))
            if size == mark.size:
                return path
            mark = self.mark(name) or mark  # it was replaced since it was listed
        path.unlink(missing_ok=True)
        raise UnavailableError(f"{self}/{name}: its size is said to be {mark.size}, and is {size}; try again")

    def _drop_others(self, marks: dict[str, Mark]) -> None:
        """Delete copies of files that are gone or were replaced, unless they were used lately."""
        before_s = time.time() - _KEPT_S
        with suppress(FileNotFoundError), os.scandir(self.copies) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    is_old = (status.st_mtime_ns, status.st_size) != marks.get(entry.name, (0, 0))[:2]
                    if is_old and status.st_atime < before_s and entry.is_file():
                        Path(entry.path).unlink()

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        self.copies.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".put-", dir=self.copies) as folder:
            yield Path(folder)


def _mark(info: Any) -> Mark:
    return Mark(info.mtime_ns or 0, info.size or 0)
