"""Work in a thread beside a test."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["in_background"]


@contextmanager
def in_background(work: Callable[[threading.Event], object]) -> Iterator[None]:
    """Do `work` until the block ends, which sets the event that it is given; what it raises is raised at the end."""
    stop, errors = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            work(stop)
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits for this one
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()
        if errors:
            raise errors[0]
