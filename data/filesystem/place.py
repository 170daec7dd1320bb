"""A folder by its address: a path of this machine, or s3://, gs:// or az:// for one in object storage.

Writes are atomic: by a rename on this machine, as every object is in object storage.
"""

import hashlib
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa
from pyarrow import fs

from data.errors import ConfigurationError, GoneError, UnavailableError
from data.printable import one_line

__all__ = ["Place", "Written", "digest_of", "open_place"]

_SCHEMES = {"s3": "s3", "gs": "gs", "gcs": "gs", "az": "abfss", "abfs": "abfs", "abfss": "abfss"}
_HIDDEN = re.compile(r"(?<=://)[^/@]*@|\?.*")
_PIECE = 8 * 1024 * 1024
"""Bytes of a read, and of a write."""


class Written(NamedTuple):
    """What was written: its SHA-256 in hex, and its size in bytes."""

    sha256: str
    size: int


class Place:
    """One folder. Names are paths within it, with `/` between; a folder in it exists when it holds something.

    Every method raises UnavailableError, in a line, where the storage does not answer or refuses.
    """

    def __init__(self, files: fs.FileSystem, root: str, shown: str) -> None:
        self._files = files
        self._root = root.rstrip("/")
        self._shown = shown
        self._is_local = isinstance(files, fs.LocalFileSystem)

    def __str__(self) -> str:
        return self._shown

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the names and sizes of all files in a folder, and in those within it; none where there is none."""
        with self._translated("be listed"):
            infos = self._files.get_file_info(fs.FileSelector(self._path(folder), recursive=True, allow_not_found=True))
        start = len(self._root) + 1
        files = (info for info in infos if info.type == fs.FileType.File)
        return {info.path[start:]: info.size for info in files if not info.base_name.startswith(".")}

    def infos(self, folder: str, *, recursive: bool = False) -> list[Any]:
        """Return the `pyarrow.fs` information on all that is in a folder: names, kinds, times and sizes."""
        selector = fs.FileSelector(self._path(folder).rstrip("/"), allow_not_found=True, recursive=recursive)
        with self._translated("be listed"):
            infos: list[Any] = self._files.get_file_info(selector)
        if not infos:
            self._require_bucket()
        return infos

    def info(self, name: str) -> Any | None:
        """Return the `pyarrow.fs` information on a file; None where there is none."""
        with self._translated("be read"):
            info = self._files.get_file_info(self._path(name))
        if info.type == fs.FileType.File:
            return info
        self._require_bucket()
        return None

    def read(self, name: str) -> bytes:
        """Return the whole of a file. Raises GoneError where there is none."""
        with self._translated("be read"), self._opened(name) as source:
            content: bytes = source.read()
            return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file."""
        with self._translated("be written"), self._made(name) as target:
            target.write(content)

    def send(self, path: Path, name: str) -> Written:
        """Copy a file of this machine to a name; return what was written."""
        with path.open("rb") as source, self._translated("be written"), self._made(name) as target:
            return _copied(source, target)

    def fetch(self, name: str, path: Path) -> Written:
        """Copy a file to a path of this machine, whose folder exists; return what was written."""
        with path.open("wb") as target, self._translated("be read"), self._opened(name) as source:
            return _copied(source, target)

    def delete(self, name: str) -> bool:
        """Delete a file; return whether there was one."""
        with self._translated("be changed"):
            try:
                self._files.delete_file(self._path(name))
            except FileNotFoundError:
                return False
            return True

    def _require_bucket(self) -> None:
        """Raise UnavailableError where the bucket does not exist: a listing shows it as an empty one."""
        bucket = self._root.partition("/")[0]
        if bucket:
            with self._translated("be read"):
                info = self._files.get_file_info(bucket)
            if info.type == fs.FileType.NotFound:
                raise UnavailableError(f"{self}: there is no bucket {bucket}; make it, or correct the address")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _opened(self, name: str) -> Iterator[Any]:
        try:
            source = self._files.open_input_stream(self._path(name))
        except FileNotFoundError as error:
            raise GoneError(f"{self}: there is no {name}") from error
        with source:
            yield source

    @contextmanager
    def _made(self, name: str) -> Iterator[Any]:
        """Yield a stream to a new file; an error within leaves nothing behind."""
        path = self._path(name)
        folder, _, last = path.rpartition("/")
        scratch = f"{folder}/.{last}.{uuid.uuid4().hex}" if self._is_local else path
        if self._is_local:
            self._files.create_dir(folder, recursive=True)
        try:
            with self._files.open_output_stream(scratch) as target:
                yield target
            if scratch != path:
                self._files.move(scratch, path)
        except BaseException:
            # Closing a stream finishes its object, even if only a part of it was written.
            with suppress(OSError, pa.ArrowException):
                self._files.delete_file(scratch)
            raise

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        """Turn errors of the file system into UnavailableError; `what` completes "cannot ..."."""
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            reason = one_line(getattr(error, "strerror", None) or error, 500)
            raise UnavailableError(
                f"{self} cannot {what} ({reason}); see that it is there, and that this user, or the credentials "
                "in the environment, may do so"
            ) from error


def open_place(address: str) -> Place:
    """Return the folder of an address. Object storage takes credentials as its own tools do, from the environment.

    Raises ConfigurationError for another kind of address.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        path = str(Path(address).absolute())
        return Place(fs.LocalFileSystem(), path, path)
    shown = _HIDDEN.sub("", address)
    if scheme not in _SCHEMES:
        raise ConfigurationError(f"{shown}: not a folder, nor an address of s3://, gs:// or az://")
    try:
        files, root = fs.FileSystem.from_uri(f"{_SCHEMES[scheme]}://{rest}")
    except (OSError, pa.ArrowException, ValueError) as error:
        raise ConfigurationError(f"{shown}: no address of object storage ({error}); write {_example(scheme)}") from None
    if not root.strip("/"):
        raise ConfigurationError(f"{shown}: it names no bucket; write {_example(scheme)}")
    return Place(files, root, shown)


def digest_of(path: Path) -> Written:
    """Return the SHA-256 of a file of this machine, and its bytes."""
    with path.open("rb") as source:
        return _copied(source, None)


def _copied(source: Any, target: IO[bytes] | Any | None) -> Written:
    digest, size = hashlib.sha256(), 0
    while piece := source.read(_PIECE):
        digest.update(piece)
        size += len(piece)
        if target is not None:
            target.write(piece)
    return Written(digest.hexdigest(), size)


def _example(scheme: str) -> str:
    return "az://account@container/folder" if _SCHEMES[scheme] != scheme else f"{scheme}://bucket/folder"
