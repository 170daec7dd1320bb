"""Lines of a TOML text: its reader keeps none, and an error names one."""

import re
from typing import Any

__all__ = ["line_of"]


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
