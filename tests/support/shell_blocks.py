"""What documents tell a reader to type: the shell blocks of a page, and the commands of a block."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Block", "blocks"]

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("**/README.md"))
    if not path.relative_to(ROOT).is_relative_to("docs/adr")
)
"""Every document that says how things are now."""


@dataclass(frozen=True)
class Block:
    """A block of a page: the `place`-th of its shell blocks, counted from 1."""

    page: str
    place: int
    commands: tuple[str, ...]


def blocks(page: str) -> list[Block]:
    """The blocks of a page that a shell reads, `console` and `sh`."""
    found = re.findall(r"^```(?:console|sh|bash)\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    return [Block(page, place, _commands(block)) for place, block in enumerate(found, 1)]


def _commands(block: str) -> tuple[str, ...]:
    """The commands of a block. Where one begins with `$ `, a line without that is output, unless a command goes on."""
    commands: list[str] = []
    prompted = "$ " in {line[:2] for line in block.splitlines()}
    for line in block.splitlines():
        if commands and _goes_on(commands[-1]):
            commands[-1] += f"\n{line}"
        elif not prompted or line.startswith("$ "):
            commands.append(line.removeprefix("$ "))
    return tuple(command for command in commands if command.strip())


def _goes_on(command: str) -> bool:
    if command.endswith("\\"):
        return True
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return True
    return False
