"""A time limit for calls that may hang, so that a page says what is wrong within two seconds."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from data.errors import UnavailableError

__all__ = ["Deadline"]

T = TypeVar("T")


class Deadline:
    """Runs calls one at a time, each in a thread, and waits `limit_s` for it.

    A late call goes on; until it ends, others are refused at once. `reason` is the error's text.
    """

    def __init__(self, reason: str, limit_s: float) -> None:
        self._reason = reason
        self._limit_s = limit_s
        self._free = threading.Lock()
        self._is_late = False

    def __call__(self, call: Callable[[], T]) -> T:
        """Return what a call returns, or raise what it raises. Raises UnavailableError where it takes too long."""
        if not self._free.acquire(timeout=0 if self._is_late else self._limit_s):
            raise UnavailableError(self._reason)
        outcomes: list[Any] = []
        ended = threading.Event()

        def work() -> None:
            try:
                outcomes.append((call(), None))
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                outcomes.append((None, error))
            finally:
                self._is_late = False
                self._free.release()
                ended.set()

        threading.Thread(target=work, name="deadline", daemon=True).start()
        if not ended.wait(self._limit_s):
            self._is_late = not ended.is_set()
            raise UnavailableError(self._reason)
        value, error = outcomes[0]
        if error is not None:
            raise error
        result: T = value
        return result
