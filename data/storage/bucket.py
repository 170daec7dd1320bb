"""A place of files in an object store, under a prefix of a bucket, through `pyarrow.fs`.

A put is atomic: an object is there whole, or as it was before. Objects are read as copies on this machine, made when
somebody asks for one, and made again where the object has another time or size since. A copy goes when its object is
gone and nobody has asked for it for an hour.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from data.atomic import whole_file
from data.errors import GoneError, UnavailableError
from data.storage.lease import lease
from data.storage.place import Mark

__all__ = ["Bucket"]

_KEPT_S = 3600.0
"""How long a copy is kept after it was asked for last, when its object is gone."""

_TICK_S = 0.2

_LOCKS = ".locks"


class Bucket:
    """Implements `data.storage.place.Place`.

    `files` is the store's file system, `root` a bucket and prefix in it, `url` how a person calls that. `copies` is the
    folder of the copies, which processes of this machine may share.
    """

    look_every_s = 2.0
    is_remote = True

    def __init__(self, files: fs.FileSystem, root: str, url: str, copies: Path) -> None:
        self.root = root
        self.copies = copies
        self._files = files
        self._url = url
        self._marks: dict[str, Mark] = {}
        """Of each file, as of the last look at it; shared by all places of a bucket."""

    def __str__(self) -> str:
        return self._url

    def __truediv__(self, name: str) -> "Bucket":
        within = Bucket(self._files, f"{self.root}/{name}", f"{self._url}/{name}", self.copies / name)
        within._marks = self._marks
        return within

    def folders(self) -> list[str]:
        """Return the names of the places within this one, sorted."""
        return sorted(info.base_name for info in self._listed() if info.type == fs.FileType.Directory)

    def names(self) -> list[str]:
        """Return the names of files; copies of others are dropped."""
        found = {info.base_name: _mark(info) for info in self._listed() if info.type == fs.FileType.File}
        for name, mark in found.items():
            self._marks[self._object(name)] = mark
        self._drop_others(found)
        return list(found)

    def path(self, name: str) -> Path:
        """Return the path of the copy of a file, which need not be there."""
        return self.copies / name

    def local(self, name: str) -> Path:
        """Return the path of a copy of a file as it was at the last look at it, or as it is now."""
        mark = self._marks.get(self._object(name)) or self.mark(name)
        if mark is None:
            raise self._gone(name)
        path = self.path(name)
        with suppress(FileNotFoundError):
            found = path.stat()
            if (found.st_mtime_ns, found.st_size) == mark[:2]:
                os.utime(path, ns=(time.time_ns(), mark.modified_ns))  # somebody asked for it
                return path
        return self._copy(name, mark)

    def mark(self, name: str) -> Mark | None:
        """Return the mark of a file as it is now; None where there is none."""
        with self._asking(name):
            info = self._files.get_file_info(self._object(name))
        if info.type != fs.FileType.File:
            self._marks.pop(self._object(name), None)
            self._require_bucket()
            return None
        mark = self._marks[self._object(name)] = _mark(info)
        return mark

    def put(self, name: str, write: Callable[[Path], object]) -> Path:
        """Let `write` make a file on this machine, and put it here. It has another mark than the one before it."""
        before = self.mark(name)
        with self._scratch() as scratch:
            path = scratch / name
            write(path)
            self._put(name, path)
            # By time and size its readers know that it is another one; some stores count time in seconds.
            while before is not None and self.mark(name) == before:
                time.sleep(_TICK_S)
                self._put(name, path)
        self.path(name).unlink(missing_ok=True)  # the copy of the one before
        return self.path(name)

    def delete(self, name: str) -> bool:
        """Delete a file, and its copy on this machine; return whether it was there."""
        self._marks.pop(self._object(name), None)
        self.path(name).unlink(missing_ok=True)
        try:
            with self._asking(name):
                self._files.delete_file(self._object(name))
        except GoneError:
            return False
        return True

    def bytes(self) -> int:
        """Return how large all files are, in whatever depth."""
        return sum(info.size or 0 for info in self._listed(recursive=True))

    def make(self) -> bool:
        """Do nothing: a place is there as soon as it has a file. Two who make one at once make the same."""
        return True

    def lock(self, name: str, *, shared: bool = False, wait: bool = True) -> AbstractContextManager[object]:
        """Hold a lock against all machines that have this bucket; it ends a while after its process has."""
        return lease(self / _LOCKS / name, shared=shared, wait=wait)

    def scratch(self, name: str) -> AbstractContextManager[Path]:  # noqa: ARG002 - it is nowhere near
        """Yield an empty folder on this machine."""
        return self._scratch()

    def replace(self, name: str, scratch: Path, *, unfinished: str) -> None:
        """Replace a place by the files of a folder; `unfinished` is in it from before the first change to the end."""
        place = self / name
        place._put(unfinished, None)  # noqa: SLF001 - our own
        for old in place.names():
            if old != unfinished:
                place.delete(old)
        for path in sorted(scratch.iterdir()):
            place._put(path.name, path)  # noqa: SLF001 - our own
        place.delete(unfinished)

    def _object(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _listed(self, *, recursive: bool = False) -> list[Any]:
        which = fs.FileSelector(self.root, allow_not_found=True, recursive=recursive)
        with self._asking():
            found: list[Any] = self._files.get_file_info(which)
        if not found:
            self._require_bucket()
        return found

    def _require_bucket(self) -> None:
        """Raise UnavailableError where there is no such bucket: to who lists it, that looks like an empty one."""
        bucket = self.root.lstrip("/").split("/", 1)[0]
        with self._asking():
            found = self._files.get_file_info(bucket if not self.root.startswith("/") else "/")
        if found.type == fs.FileType.NotFound:
            raise UnavailableError(f"storage: {self}: there is no bucket {bucket}; make it, or correct ENCORE_STORAGE")

    def _put(self, name: str, path: Path | None) -> None:
        """Put a file (None: an empty one)."""
        size = 0 if path is None else path.stat().st_size
        # In one call, of memory: a stream that breaks off is closed by its destructor, and then is an object.
        content = pa.memory_map(str(path)).read_buffer() if path is not None and size else b""
        with self._asking(name), self._files.open_output_stream(self._object(name)) as stream:
            stream.write(content)
        mark = self.mark(name)
        if mark is None or mark.size != size:
            raise UnavailableError(
                f"storage: {self}/{name}: {size} bytes were put, and {mark.size if mark else 'nothing'} is there; "
                "somebody else writes it, or the store loses what it confirms"
            )

    def _copy(self, name: str, mark: Mark) -> Path:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):
            with self._asking(name), self._files.open_input_file(self._object(name)) as stream:
                content = stream.read_buffer()
            if content.size == mark.size:
                break
            mark = self.mark(name) or mark  # it was replaced since it was listed
        else:
            raise UnavailableError(f"storage: {self}/{name}: its size is said to be {mark.size}, and is {content.size}")
        with whole_file(path) as scratch:
            scratch.write_bytes(content)
            os.utime(scratch, ns=(time.time_ns(), mark.modified_ns))
        return path

    def _drop_others(self, names: dict[str, Mark]) -> None:
        """Delete copies of files that are gone or were replaced, unless somebody asked for them a while ago."""
        before_s = time.time() - _KEPT_S
        with suppress(FileNotFoundError), os.scandir(self.copies) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    found = entry.stat()
                    is_old = (found.st_mtime_ns, found.st_size) != names.get(entry.name, (0, 0))[:2]
                    if is_old and found.st_atime < before_s and entry.is_file():
                        Path(entry.path).unlink()

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        self.copies.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".put-", dir=self.copies) as folder:
            yield Path(folder)

    @contextmanager
    def _asking(self, name: str = "") -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise self._gone(name) from error
        except (OSError, pa.ArrowException) as error:
            where = f"{self}/{name}" if name else str(self)
            raise UnavailableError(
                f"storage: {where}: {' '.join(str(error).split())}; look at ENCORE_STORAGE, at the credentials (AWS_… "
                "or those of your store), and whether the store answers"
            ) from error

    def _gone(self, name: str) -> GoneError:
        return GoneError(f"storage: {self}/{name} is gone (compacted, or deleted); run again")


def _mark(info: Any) -> Mark:
    return Mark(info.mtime_ns or 0, info.size or 0)
