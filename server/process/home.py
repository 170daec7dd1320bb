"""One process at a time for work on a home that two must not do together."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from data.errors import ConfigurationError
from server.settings import Settings

__all__ = ["hold", "only_one"]


def only_one(settings: Settings, name: str, does: str) -> AbstractContextManager[None]:
    """Hold a lock of the home; `ConfigurationError` where another process has it."""
    return hold(settings.run / f"{name}.lock", lambda _: f"another process {does} in {settings.home}; wait for its end")


@contextmanager
def hold(path: Path, refusal: Callable[[str], str]) -> Iterator[None]:
    """Hold a lock file, which then says which process does.

    `ConfigurationError` where another does: in the words of `refusal`, which is given that process's id.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise ConfigurationError(refusal(lock.read().strip() or "unknown")) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
