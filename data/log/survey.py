"""A report on the log, partition by partition, with everything that is wrong with it."""

from collections.abc import Callable
from typing import NamedTuple

from data.errors import DataError
from data.log.event_log import EventLog, LogFile

__all__ = ["Surveyed", "survey"]

_REPORT_EVERY = 100
"""How many files are examined between two reports of progress."""


class Surveyed(NamedTuple):
    """One partition of a source: files that are read, their rows, and ranges of offsets.

    `consumed` is what the files account for, `lost` the part of it whose loss was accepted, `unknown` what may be dead
    letters and may be lost, `holes` what is missing. `unreadable` has a line for each file that cannot be read.
    """

    source: str
    partition: int
    files: int
    rows: int
    consumed: list[range]
    lost: list[range]
    unknown: list[range]
    holes: list[range]
    unreadable: list[str]

    @property
    def ok(self) -> bool:
        """Whether readers accept the partition."""
        return not self.holes and not self.unreadable


def survey(log: EventLog, *, pages: bool = False, tell: Callable[[str], None] = lambda _: None) -> list[Surveyed]:
    """Examine every file, and every page of it where `pages`; a damaged log is reported, not refused.

    `tell` receives the progress.
    """
    by_partition: dict[tuple[str, int], list[LogFile]] = {}
    for file in log.listing():
        by_partition.setdefault((file.source, file.segment.partition), []).append(file)
    surveyed = []
    for source in log.sources():
        for partition, coverage in log.coverage(source).items():
            rows, unreadable = 0, []
            files = by_partition.get((source, partition), [])
            for number, file in enumerate(files, 1):
                if number % _REPORT_EVERY == 1:
                    tell(f"{source}, partition {partition}: file {number:,} of {len(files):,}")
                try:
                    file.check(pages=pages)
                    rows += file.count()
                except DataError as error:
                    unreadable.append(str(error))
            _, _, consumed, lost, holes, unknown = coverage
            surveyed.append(Surveyed(source, partition, len(files), rows, consumed, lost, unknown, holes, unreadable))
    return surveyed
