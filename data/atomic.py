"""Atomic writes: a file or folder is written beside its destination and renamed into place."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replace_folder", "scratch_folder", "whole_file", "whole_folder", "write_first", "write_whole"]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a scratch file that replaces `path` when the block ends, and is deleted on an error.

    The parent folder must exist.
    """
    scratch = _beside(path)
    try:
        yield scratch
        scratch.replace(path)
    except BaseException as error:
        scratch.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # some libraries leave it out
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write a file atomically, and make its parent folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as scratch:
        scratch.write_bytes(content)


def write_first(path: Path, content: bytes, *, mode: int = 0o666) -> bool:
    """Write a file atomically, and make its folder; if the file exists, change nothing and return False.

    `mode` is its permissions, before the process' umask.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = _beside(path)
    try:
        scratch.touch(mode, exist_ok=False)
        scratch.write_bytes(content)
        path.hardlink_to(scratch)
    except FileExistsError:
        return False
    finally:
        scratch.unlink(missing_ok=True)
    return True


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a scratch folder that becomes `folder` when the block ends, and is deleted on an error.

    Raises FileExistsError where `folder` exists and is not empty.
    """
    with scratch_folder(folder) as scratch:
        yield scratch
        try:
            scratch.rename(folder)
        except OSError as error:
            if not folder.exists():
                raise
            raise FileExistsError(f"{folder} is there already") from error


@contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """Yield an empty folder beside a path, deleted on an error; its parent folder is made."""
    beside.parent.mkdir(parents=True, exist_ok=True)
    scratch = _beside(beside)
    scratch.mkdir()
    try:
        yield scratch
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def replace_folder(scratch: Path, folder: Path) -> None:
    """Replace `folder` by `scratch`. Two renames: no operating system replaces a folder that is not empty in one."""
    old = scratch.with_name(f"{scratch.name}.old")
    if folder.exists():
        folder.rename(old)
    scratch.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _beside(path: Path) -> Path:
    """Return a unique hidden name in the same folder."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")
