"""The place in a TOML text where something is wrong: its reader keeps no lines, and an error names one."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

__all__ = ["fault_at", "invalid_at", "line_of"]


def fault_at(path: object, text: str, place: Iterable[str | int], what: str) -> str:
    """Return a message of the file, the line, the place, such as `("event", "amount")`, and what is wrong there."""
    place = tuple(place)
    line = line_of(text, place)
    where = ".".join(map(str, (part + 1 if isinstance(part, int) else part for part in place)))
    return f"{path}{f':{line}' if line else ''}: {f'{where}: ' if where else ''}{what}"


def invalid_at(path: object, text: str, error: msgspec.ValidationError) -> str:
    """Return the same of an error of msgspec, whose path is like `$.drop[0].where`, with a field that it quotes."""
    what, _, where = str(error).partition(" - at `$")
    place = [int(number) if number else name for name, number in re.findall(r"(\w+)|\[(\d+)\]", where.strip("`"))]
    quoted = re.search(r"unknown field `(.+)`", what)
    return fault_at(path, text, [*place, quoted.group(1)] if quoted else place, what)


def line_of(text: str, place: tuple[Any, ...]) -> int:
    """Return the line that a place is on, such as `("event", "amount")`; 0 where it is unknown."""
    lines = text.splitlines()
    for names in (place, place[:-1]):
        table = ""
        position = -1
        for number, line in enumerate(lines, 1):
            if header := re.match(r"\s*\[\[?\s*([\w-]+)\s*\]", line):
                position = position + 1 if header.group(1) == table else 0
                table = header.group(1)
                if tuple(names) in {(table,), (table, position)}:
                    return number
            key = re.match(r"""\s*["']?([^"'=]+?)["']?\s*=""", line)
            if key and names and names in {(table, key.group(1)), (table, position, key.group(1)), (key.group(1),)}:
                return number
    return 0
