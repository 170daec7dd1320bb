"""Counts of what became of a file's rows when it was imported."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data.units import from_micros

__all__ = ["ImportReport"]


@dataclass(frozen=True)
class ImportReport:
    """Every row of the file is an event, merged into another row's event, or dropped for one reason.

    So `rows == events + merged + sum(dropped.values())`. `first_us` and `last_us` are event times in UTC microseconds.
    """

    format: str
    path: Path
    rows: int
    events: int
    merged: int
    dropped: Mapping[str, int]
    users: int
    products: int
    first_us: int
    last_us: int

    def __str__(self) -> str:
        lines = [
            f"{self.path} ({self.format}): {self.events:,} events from {self.rows:,} rows",
            f"  {self.users:,} users, {self.products:,} products, "
            f"{from_micros(self.first_us):%Y-%m-%d} to {from_micros(self.last_us):%Y-%m-%d}",
        ]
        if self.merged:
            lines.append(f"  {self.merged:,} rows joined to another of the same purchase")
        lines += [f"  {count:,} rows left out: {reason}" for reason, count in self.dropped.items()]
        return "\n".join(lines)
