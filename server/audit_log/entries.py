"""The lines of the audit log: JSON, appended, never altered, and bounded.

    audit-log/
        changes.jsonl           the newest lines
        changes.000001.jsonl    those before, the lowest number oldest; the oldest file goes when there are too many

A change is a line when it begins and one when it ends, which repeats the first: of what was killed, the first stays.
"""

import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from data.lock import file_lock
from data.printable import printable

__all__ = ["MOST_BYTES", "MOST_FILES", "MOST_LINE", "AuditLog", "Entry", "Found", "Hidden", "Moved", "State", "new_id"]

MOST_BYTES = 10_000_000
"""Of a file; the next line begins another one."""

MOST_FILES = 10
"""Files that are kept."""

MOST_LINE = 16_000
"""Bytes of a line, at most: what a command was given, and what changed, is cut."""

_LONGEST, _MOST_FIELDS = 200, 40
_LONGEST_ERROR = 500

State = Literal["begun", "done", "refused", "failed", "interrupted"]


class Moved(msgspec.Struct, frozen=True):
    """One thing of a home, before and after a change; None where there was none."""

    before: str | None
    after: str | None


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change: when it began (`at`, RFC 3339, UTC), `who` made it, and by which command (`what`).

    `through` is the route of the API that it came through. `given` is what the command was given, `changed` what
    differed after it, and `noted` what it said of itself. A change whose state is still `begun` was killed, or goes on.
    """

    id: str
    at: str
    who: str
    what: str
    through: str = ""
    given: dict[str, str] = {}
    state: State = "begun"
    seconds: float | None = None
    changed: dict[str, Moved] = {}
    noted: dict[str, str] = {}
    error: str = ""


class Found(NamedTuple):
    """Entries, the oldest first, and the number of lines among them that cannot be read."""

    entries: list[Entry]
    unreadable: int


class Hidden:
    """What a line may not hold: these secrets, and what addresses carry beside host and path."""

    _USER = re.compile(r"(?<=://)[^/@\s]*@")
    _QUERY = re.compile(r"(://[^\s?#]+)[?#]\S*")

    def __init__(self, known: Sequence[str] = ()) -> None:
        self._known = sorted((one for one in known if len(one) > 3), key=len, reverse=True)

    def __call__(self, text: object, longest: int = _LONGEST) -> str:
        """Return a text in one bounded line, without secrets."""
        shown = str(text)
        for secret in self._known:
            shown = shown.replace(secret, "***")
        shown = self._QUERY.sub(r"\1", self._USER.sub("", shown))
        return printable(shown[: longest + 1], longest)  # the first cut is quick, whatever the length

    def fields(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Return values as texts, at most so many."""
        return {self(name): self(value) for name, value in list(values.items())[:_MOST_FIELDS]}

    def moved(self, before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, Moved]:
        """Return what differs."""
        names = [name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)]

        def one(found: Mapping[str, str], name: str) -> str | None:
            return self(found[name]) if name in found else None

        return {self(name): Moved(one(before, name), one(after, name)) for name in names[:_MOST_FIELDS]}

    def error(self, error: BaseException) -> str:
        """Return what an error says, or what it is."""
        return self(str(error) or type(error).__name__, _LONGEST_ERROR)


class AuditLog:
    """The audit log in one folder, which the first line makes. Safe for several processes."""

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES, most_files: int = MOST_FILES) -> None:
        self.folder = folder
        self._most_bytes = most_bytes
        self._most_files = most_files

    @property
    def _newest(self) -> Path:
        return self.folder / "changes.jsonl"

    def record(self, entry: Entry) -> None:
        """Append an entry, and have the disk hold it. Raises OSError where it cannot be written."""
        line = msgspec.json.encode(entry)
        if len(line) > MOST_LINE:
            line = msgspec.json.encode(msgspec.structs.replace(entry, given={}, changed={}, noted={}))
        with file_lock(self.folder / ".lock"):
            self._turn()
            with self._newest.open("a+b") as file:
                end = file.seek(0, os.SEEK_END)
                if end:
                    file.seek(end - 1)
                    line = line if file.read(1) == b"\n" else b"\n" + line  # a process died within a line
                file.write(line + b"\n")
                file.flush()
                os.fsync(file.fileno())

    def read(self, last: int) -> Found:
        """Return the last changes, each as it is known by now."""
        found: dict[str, Entry] = {}
        unreadable = 0
        for line in self._backwards():
            try:
                entry = msgspec.json.decode(line, type=Entry)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                unreadable += 1
                continue
            if entry.id not in found:
                if len(found) == last:
                    break
                found[entry.id] = entry
            elif entry.state == "begun":
                found[entry.id] = found.pop(entry.id)  # by when it began
        return Found(list(reversed(found.values())), unreadable)

    def _backwards(self) -> Iterator[bytes]:
        for path in [self._newest, *reversed(self._older())]:
            if path.exists():
                yield from reversed(path.read_bytes().splitlines())

    def _older(self) -> list[Path]:
        return sorted(self.folder.glob("changes.*.jsonl"))

    def _turn(self) -> None:
        """Begin another file where this one is full."""
        if not self._newest.exists() or self._newest.stat().st_size < self._most_bytes:
            return
        older = self._older()
        number = 1 + int(older[-1].name.split(".")[1]) if older else 1
        self._newest.rename(self.folder / f"changes.{number:06d}.jsonl")
        for path in older[: max(0, len(older) + 2 - self._most_files)]:
            path.unlink()


def new_id() -> str:
    """Return an id that no other change has."""
    return secrets.token_hex(8)
