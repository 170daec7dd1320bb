"""Write a file or a folder whole, or not at all: beside its place first, then put there in one step."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replace_folder", "scratch_folder", "whole_file", "whole_folder", "write_first", "write_whole"]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A scratch file to write, which then takes the place of `path`; removed on an error. The folder must exist."""
    scratch = _beside(path)
    try:
        yield scratch
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as scratch:
        scratch.write_bytes(content)


def write_first(path: Path, content: bytes) -> bool:
    """Write a file in one step, and make its folder; False where there is one already, which stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = _beside(path)
    try:
        scratch.write_bytes(content)
        path.hardlink_to(scratch)
    except FileExistsError:
        return False
    finally:
        scratch.unlink(missing_ok=True)
    return True


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A scratch folder to fill, which then becomes `folder`; removed on an error.

    Raises FileExistsError where `folder` is there already, with something in it.
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
    """A folder to fill and to move away, beside a path; removed on an error. The parent folder is made."""
    beside.parent.mkdir(parents=True, exist_ok=True)
    scratch = _beside(beside)
    scratch.mkdir()
    try:
        yield scratch
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def replace_folder(scratch: Path, folder: Path) -> None:
    """Put a filled folder in the place of another, if there is one: in two steps, as no system has it in one."""
    old = scratch.with_name(f"{scratch.name}.old")
    if folder.exists():
        folder.rename(old)
    scratch.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _beside(path: Path) -> Path:
    """A hidden name beside a path that nobody else uses."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")
