"""The file that a child process writes its output to, kept short while it runs."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO

from data.atomic import whole_file

__all__ = ["MOST_BYTES", "OutputFile"]

MOST_BYTES = 20_000_000
"""Of an output file; what was before is kept in a second one of as much."""

_TAIL_BYTES = 64 * 1024
_LONGEST_LINE = 500


class OutputFile:
    """What is more than `most_bytes` is moved to a file beside it, named `.1`, in the place of what was there."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self.path = path
        self.most_bytes = most_bytes
        self._begun = 0
        self._was_cut = False

    @property
    def _older(self) -> Path:
        return self.path.with_name(f"{self.path.name}.1")

    def open(self) -> IO[bytes]:
        """Open the file for a child that begins now: it appends, or what it writes after a cut would leave a hole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.keep_short()
        file = self.path.open("ab")
        self._begun, self._was_cut = file.tell(), False
        return file

    def keep_short(self) -> None:
        """Move what is there away, where it is too much. What the child writes in this moment may be missing."""
        try:
            if self.path.stat().st_size <= self.most_bytes:
                return
        except FileNotFoundError:
            return
        with whole_file(self._older) as scratch:
            shutil.copyfile(self.path, scratch)
        with self.path.open("r+b") as file:
            file.truncate(0)
        self._begun, self._was_cut = 0, True

    def tail(self, lines: int = 10, *, is_worthy: Callable[[str], bool] = lambda _: True) -> str:
        """Return the last lines that the child wrote, indented; words where there are none."""
        worthy = [line[:_LONGEST_LINE] for line in self._text().splitlines() if is_worthy(line)]
        return "\n".join(f"  {line}" for line in worthy[-lines:]) or "  (it is empty)"

    def last_line(self) -> str:
        """Return the last line that the child wrote; nothing where there is none."""
        return "".join(self._text().splitlines()[-1:])[:_LONGEST_LINE]

    def _text(self) -> str:
        # What was cut last may have been its last words.
        return (_end(self._older, 0) if self._was_cut else "") + _end(self.path, self._begun)


def _end(path: Path, begin: int) -> str:
    """Return the end of what a file holds from the byte `begin` on; nothing where there is no file."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(min(begin, end), end - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
