"""Mutual exclusion of processes on one home."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from data.errors import ConfigurationError
from data.lock import open_lock
from server.settings import Settings

__all__ = ["hold", "only_one"]


def only_one(settings: Settings, name: str, does: str) -> AbstractContextManager[None]:
    """Hold a lock of the home. Raises `ConfigurationError` where another process has it."""
    return hold(settings.run / f"{name}.lock", lambda _: f"another process {does} in {settings.home}; wait for its end")


@contextmanager
def hold(path: Path, refusal: Callable[[str], str]) -> Iterator[None]:
    """Hold a lock file, which records the process's id.

    Raises `ConfigurationError` where another process holds it, with the words of `refusal`, which gets that process's
    id.
    """
    try:
        lock = open_lock(path, wait=False)
    except BlockingIOError as error:
        raise ConfigurationError(refusal(path.read_text().strip() or "unknown")) from error
    with lock:
        lock.truncate(0)
        lock.write(str(os.getpid()).encode())
        lock.flush()
        yield
