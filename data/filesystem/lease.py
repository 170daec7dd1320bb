"""A lock among machines that share nothing but a storage: each holder has a file there, and looks at the others.

To take the lock, a process puts a file and then lists: of two that do so at once, at least the later sees the other.
One that wants to share the lock gives way to an exclusive one; an exclusive one that sees another exclusive one
withdraws and tries again. A holder renews its file every minute. A file that was not renewed for ten minutes, by the
storage's times, is that of a dead process.
"""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data.errors import GoneError, UnavailableError
from data.filesystem.storage import Storage
from data.jitter import jitter

__all__ = ["lease"]

_RENEW_S = 60.0
_DEAD_S = 600.0
_WAIT_S = (0.2, 1.0)
_PATIENCE_S = 900.0

_SHARED = "shared"
_ALONE = "alone"


@contextmanager
def lease(storage: Storage, *, shared: bool, wait: bool) -> Iterator[None]:
    """Hold the lock whose files are in a storage, within a `with` block.

    Raises BlockingIOError where another process holds it and `wait` is False, UnavailableError where it stays held.
    """
    own_name = f"{_SHARED if shared else _ALONE}-{uuid.uuid4().hex}"
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        storage.put(own_name, _touch)
        others = _others(storage, own_name)
        rivals = [name for name in others if not shared or name.startswith(_ALONE)]
        if not rivals:
            break
        # An exclusive one keeps its file in sight of those that share the lock: no more of them come.
        if shared or not wait or any(name.startswith(_ALONE) for name in rivals):
            storage.delete(own_name)
        if not wait:
            raise BlockingIOError(f"{storage} is held by another process")
        if time.monotonic() > deadline_s:
            storage.delete(own_name)
            raise UnavailableError(f"{storage} is held by {', '.join(rivals)}; look what runs there")
        time.sleep(jitter(*_WAIT_S))
    done = threading.Event()
    keeper = threading.Thread(target=_renew, args=(storage, own_name, done), name="lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()
        storage.delete(own_name)


def _others(storage: Storage, own_name: str) -> list[str]:
    """Return the files of other live holders; delete those of dead ones."""
    names = [name for name in storage.names() if name != own_name]
    own_mark = storage.mark(own_name) if names else None
    living = []
    for name in names:
        mark = storage.mark(name)
        if mark is None or own_mark is None:
            continue
        if own_mark.modified_ns - mark.modified_ns > _DEAD_S * 1e9:
            storage.delete(name)
        else:
            living.append(name)
    return living


def _renew(storage: Storage, own_name: str, done: threading.Event) -> None:
    while not done.wait(_RENEW_S):
        with suppress(UnavailableError, GoneError):  # tried again in a minute
            storage.put(own_name, _touch)


def _touch(path: Path) -> None:
    path.touch()
