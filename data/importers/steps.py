"""Progress of an import: its steps, and within a long one the share that DuckDB has done."""

import threading
from collections.abc import Callable
from types import TracebackType

import duckdb

__all__ = ["Steps"]

_EVERY_S = 5.0


class Steps:
    """Reports each step that it is called with and, while it is open, every few seconds DuckDB's progress."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, tell: Callable[[str], None], *, every_s: float = _EVERY_S
    ) -> None:
        self._connection = connection
        self._tell = tell
        self._every_s = every_s
        self._step = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="import progress")

    def __call__(self, step: str) -> None:
        """Begin a step."""
        self._step = step
        self._tell(step)

    def __enter__(self) -> "Steps":
        self._connection.execute("SET enable_progress_bar = true; SET enable_progress_bar_print = false")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(self._every_s):
            if (percent := self._connection.query_progress()) > 0:
                self._tell(f"{self._step}: {percent:.0f} %")
