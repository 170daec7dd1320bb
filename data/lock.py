"""File locks, exclusive or shared. The operating system releases a lock when its process ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["file_lock", "open_lock"]


def open_lock(path: Path, *, shared: bool = False, wait: bool = True) -> IO[bytes]:
    """Return an open file that holds the lock until it is closed, here and in every child that inherits it.

    The file and its folder are made where they are missing. Raises BlockingIOError where another process has the lock
    and `wait` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("ab")
    try:
        _take(lock, shared=shared, wait=wait)
    except BaseException:
        lock.close()
        raise
    return lock


@contextmanager
def file_lock(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[IO[bytes]]:
    """Hold a lock within a `with` block; arguments and errors are those of `open_lock`."""
    with open_lock(path, shared=shared, wait=wait) as lock:
        yield lock


def _take(lock: IO[bytes], *, shared: bool, wait: bool) -> None:
    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    if wait:
        fcntl.flock(lock, operation)
        return
    try:
        fcntl.flock(lock, operation | fcntl.LOCK_NB)
    except OSError as error:  # the error code differs between file systems
        raise BlockingIOError(error.errno, f"{lock.name} is held by another process") from error
