"""One process at a time for work on a home that two must not do together."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from data.errors import ConfigurationError
from server.settings import Settings

__all__ = ["only_one"]


@contextmanager
def only_one(settings: Settings, name: str, does: str) -> Iterator[None]:
    """Hold a lock of the home; `ConfigurationError` where another process has it."""
    settings.run.mkdir(parents=True, exist_ok=True)
    with (settings.run / f"{name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(f"another process {does} in {settings.home}; wait for its end") from error
        yield
