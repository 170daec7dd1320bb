"""The file that a child process writes its output to, kept short while it runs."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO

from data.atomic import whole_file

__all__ = ["MOST_BYTES", "OutputFile"]

MOST_BYTES = 20_000_000
"""Maximum size of an output file; older output is kept in a second file of at most the same size."""

_TAIL_BYTES = 64 * 1024
_LONGEST_LINE = 500


class OutputFile:
    """An output file of at most `most_bytes`: past that, its content replaces the file beside it named `.1`."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self.path = path
        self.most_bytes = most_bytes
        self._child_offset = 0
        self._was_cut = False

    @property
    def _older(self) -> Path:
        return self.path.with_name(f"{self.path.name}.1")

    def open(self) -> IO[bytes]:
        """Open the file for a new child, to append: otherwise a write after a truncation would leave a hole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.keep_short()
        file = self.path.open("ab")
        self._child_offset, self._was_cut = file.tell(), False
        return file

    def keep_short(self) -> None:
        """Move the content to the older file if it is too large. Output written meanwhile may be lost."""
        try:
            if self.path.stat().st_size <= self.most_bytes:
                return
        except FileNotFoundError:
            return
        with whole_file(self._older) as scratch:
            shutil.copyfile(self.path, scratch)
        with self.path.open("r+b") as file:
            file.truncate(0)
        self._child_offset, self._was_cut = 0, True

    def tail(self, lines: int = 10, *, is_worthy: Callable[[str], bool] = lambda _: True) -> str:
        """Return the last lines that the child wrote, indented; a placeholder if there are none."""
        worthy = [line[:_LONGEST_LINE] for line in self._text().splitlines() if is_worthy(line)]
        return "\n".join(f"  {line}" for line in worthy[-lines:]) or "  (it is empty)"

    def last_line(self) -> str:
        """Return the last line that the child wrote; empty if there is none."""
        return "".join(self._text().splitlines()[-1:])[:_LONGEST_LINE]

    def _text(self) -> str:
        # After a cut the last lines of the child may be in the older file.
        return (_end(self._older, 0) if self._was_cut else "") + _end(self.path, self._child_offset)


def _end(path: Path, begin: int) -> str:
    """Return the last `_TAIL_BYTES` of a file from byte `begin` on; empty if there is no file."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(min(begin, end), end - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
