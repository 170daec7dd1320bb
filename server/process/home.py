"""Processes of a home: each registers itself, and locks keep exclusive work to one process at a time."""

import atexit
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from data.errors import ConfigurationError
from data.lock import open_lock
from server.settings import Settings

__all__ = ["enter_home", "hold", "only_one", "processes_in"]


def only_one(settings: Settings, name: str, action: str) -> AbstractContextManager[None]:
    """Hold a lock of the home. Raises `ConfigurationError` if another process has it."""
    refusal = f"another process {action} in {settings.home}; wait for its end"
    return hold(settings.run / f"{name}.lock", lambda _: refusal)


@contextmanager
def hold(path: Path, refusal: Callable[[str], str]) -> Iterator[None]:
    """Hold a lock file, which records the process's id.

    Raises `ConfigurationError` if another process holds it, with the message that `refusal` makes of that process's
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


def enter_home(settings: Settings, description: str) -> None:
    """Register this process in the home until it ends, with a description; do nothing if the home is read-only."""
    folder = _processes(settings)
    name = uuid.uuid4().hex
    with suppress(OSError):
        lock = open_lock(folder / f".{name}", wait=False)
        lock.write(f"{description} (process {os.getpid()})".encode())
        lock.flush()
        (folder / f".{name}").rename(folder / name)  # visible to others only when it is locked
        atexit.register(lock.close)  # keeps it open, and locked, until then
        processes_in(settings)  # removes those that have ended


def processes_in(settings: Settings) -> list[str]:
    """Return the running processes that work in the home."""
    folder, running = _processes(settings), []
    for path in sorted(folder.glob("[!.]*")) if folder.exists() else ():
        try:
            with open_lock(path, wait=False):
                path.unlink(missing_ok=True)
        except BlockingIOError:
            running.append(path.read_text(errors="replace"))
    return running


def _processes(settings: Settings) -> Path:
    return settings.run / "processes"
