"""What became of the rows of files that were imported: events, or a stated reason."""

from collections.abc import Mapping
from dataclasses import dataclass

from data.printable import printable
from data.units import from_micros

__all__ = ["Fault", "ImportReport"]

_LONGEST_VALUE = 60


@dataclass(frozen=True)
class Fault:
    """Rows of a file that cannot become events, for one reason: how many, and the first with its value."""

    file: str
    row: int
    column: str | None
    reason: str
    value: str | None
    count: int

    def __str__(self) -> str:
        where = f"row {self.row}, column {self.column}" if self.column else f"row {self.row}"
        what = self.reason if self.value is None else f"'{printable(self.value, _LONGEST_VALUE)}' is {self.reason}"
        more = f" ({self.count:,} such rows)" if self.count > 1 else ""
        return f"{self.file}: {printable(where)}: {printable(what)}{more}"


@dataclass(frozen=True)
class ImportReport:
    """Every row of the files is an event, merged into another row's event, dropped as meant, or faulty and left out.

    So `rows == events + merged + sum(dropped.values()) + sum(fault.count for fault in faults)`. `clock_change` counts
    events at local times that clocks repeat or leave out, read as standard time; `undone` describes events that take
    back one which is not in the files, with their numbers. `first_us` and `last_us` are event times in UTC
    microseconds.
    """

    mapping: str
    files: tuple[str, ...]
    rows: int
    events: int
    merged: int
    dropped: Mapping[str, int]
    faults: tuple[Fault, ...]
    clock_change: int
    undone: Mapping[str, int]
    types: Mapping[str, int]
    keys: Mapping[str, int]
    first_us: int
    last_us: int

    def __str__(self) -> str:
        files = self.files[0] if len(self.files) == 1 else f"{len(self.files)} files"
        keys = ", ".join(f"{count:,} {key.removesuffix('_id')}s" for key, count in self.keys.items())
        lines = [
            f"{files} ({self.mapping}): {self.events:,} events from {self.rows:,} rows",
            f"  {keys}, {from_micros(self.first_us):%Y-%m-%d} to {from_micros(self.last_us):%Y-%m-%d}",
            "  " + ", ".join(f"{count:,} {kind}" for kind, count in self.types.items()),
        ]
        if self.merged:
            lines.append(f"  {self.merged:,} rows joined to another of the same event")
        if self.clock_change:
            lines.append(f"  {self.clock_change:,} rows at a time that clocks repeat or leave out: standard time")
        lines += [f"  {count:,} {what}" for what, count in self.undone.items()]
        lines += [f"  {count:,} rows left out: {reason}" for reason, count in self.dropped.items()]
        lines += [f"  left out: {fault}" for fault in self.faults]
        return "\n".join(lines)
