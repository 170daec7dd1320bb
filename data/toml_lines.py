"""Where in a TOML text something is wrong: its reader keeps no lines, and an error names one."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

__all__ = ["fault_at", "invalid_at", "line_of"]


def fault_at(path: object, text: str, place: Iterable[str | int], what: str) -> str:
    """Return what is wrong with the file, the line and the place, such as `("event", "amount")`."""
    place = tuple(place)
    line = line_of(text, place)
    where = ".".join(map(str, (each + 1 if isinstance(each, int) else each for each in place)))
    return f"{path}{f':{line}' if line else ''}: {f'{where}: ' if where else ''}{what}"


def invalid_at(path: object, text: str, error: msgspec.ValidationError) -> str:
    """Return the same of what msgspec says, whose paths are like `$.drop[0].where`; a field that it quotes is there."""
    what, _, where = str(error).partition(" - at `$")
    place = [int(number) if number else name for name, number in re.findall(r"(\w+)|\[(\d+)\]", where.strip("`"))]
    quoted = re.search(r"unknown field `(.+)`", what)
    return fault_at(path, text, [*place, quoted.group(1)] if quoted else place, what)


def line_of(text: str, place: tuple[Any, ...]) -> int:
    """Return the line that a place is on, such as `("event", "amount")`; 0 where it cannot be told."""
    lines = text.splitlines()
    for names in (place, place[:-1]):
        table = ""
        seen = -1
        for number, line in enumerate(lines, 1):
            if header := re.match(r"\s*\[\[?\s*([\w-]+)\s*\]", line):
                seen = seen + 1 if header.group(1) == table else 0
                table = header.group(1)
                if tuple(names) in {(table,), (table, seen)}:
                    return number
            key = re.match(r"""\s*["']?([^"'=]+?)["']?\s*=""", line)
            if key and names and names in {(table, key.group(1)), (table, seen, key.group(1)), (key.group(1),)}:
                return number
    return 0
