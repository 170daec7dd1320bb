"""Who works in a home: all that do say so, and work that two must not do together is one process's at a time."""

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


def enter_home(settings: Settings, what: str) -> None:
    """Register this process, which is `what`, in the home until it ends; do nothing where the home is read-only."""
    folder = _processes(settings)
    name = uuid.uuid4().hex
    with suppress(OSError):
        lock = open_lock(folder / f".{name}", wait=False)
        lock.write(f"{what} (process {os.getpid()})".encode())
        lock.flush()
        (folder / f".{name}").rename(folder / name)  # seen by others only once it is held
        atexit.register(lock.close)  # which holds it until then
        processes_in(settings)  # which forgets those that have ended


def processes_in(settings: Settings) -> list[str]:
    """Return the running processes that work in the home."""
    folder, found = _processes(settings), []
    for path in sorted(folder.glob("[!.]*")) if folder.exists() else ():
        try:
            with open_lock(path, wait=False):
                path.unlink(missing_ok=True)
        except BlockingIOError:
            found.append(path.read_text(errors="replace"))
    return found


def _processes(settings: Settings) -> Path:
    return settings.run / "processes"
