"""A lock among machines that share nothing but a storage: each holder has a file there, and looks at the others.

Whoever wants the lock puts a file, and then lists: of two who do so at once, at least the later sees the other. One who
shares it gives way to one who wants it alone; one who wants it alone, and sees another such, withdraws and tries again.
A holder renews its file every minute; one that is older than ten, by the storage's own times, is a dead process's.
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

    Raises BlockingIOError where somebody else holds it and `wait` is False, UnavailableError where it is not to be had.
    """
    mine = f"{_SHARED if shared else _ALONE}-{uuid.uuid4().hex}"
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        storage.put(mine, _touch)
        others = _others(storage, mine)
        against = [name for name in others if not shared or name.startswith(_ALONE)]
        if not against:
            break
        # One who wants it alone stays in sight of those who share it: no more of them come.
        if shared or not wait or any(name.startswith(_ALONE) for name in against):
            storage.delete(mine)
        if not wait:
            raise BlockingIOError(f"{storage} is held by another process")
        if time.monotonic() > deadline_s:
            storage.delete(mine)
            raise UnavailableError(f"{storage} is held by {', '.join(against)}; look what runs there")
        time.sleep(jitter(*_WAIT_S))
    done = threading.Event()
    keeper = threading.Thread(target=_renew, args=(storage, mine, done), name="lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()
        storage.delete(mine)


def _others(storage: Storage, mine: str) -> list[str]:
    """Return the files of other holders that live; those of dead ones are deleted."""
    names = [name for name in storage.names() if name != mine]
    own = storage.mark(mine) if names else None
    living = []
    for name in names:
        mark = storage.mark(name)
        if mark is None or own is None:
            continue
        if own.modified_ns - mark.modified_ns > _DEAD_S * 1e9:
            storage.delete(name)
        else:
            living.append(name)
    return living


def _renew(storage: Storage, mine: str, done: threading.Event) -> None:
    while not done.wait(_RENEW_S):
        with suppress(UnavailableError, GoneError):  # a minute later again
            storage.put(mine, _touch)


def _touch(path: Path) -> None:
    path.touch()
