"""The description of a data set's CSV file, from which `import_file` does all the work."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CsvFormat"]


@dataclass(frozen=True)
class CsvFormat:
    """A public data set's CSV, described in DuckDB's SQL.

    `columns` is the header, in order, with the type of each column. `wrong` holds (column, condition, expected): a row
    for which a condition holds or is null makes the file unreadable. `dropped` holds (reason, condition): a row is
    dropped, and counted under the first reason whose condition holds. Rows equal to an earlier row are dropped too.
    `events` selects from the remaining rows (table `kept`, with `line`, the row's number) the columns of an event, with
    `timestamp_us` instead of `timestamp`, and `line`.
    """

    name: str
    columns: Mapping[str, str]
    wrong: tuple[tuple[str, str, str], ...]
    dropped: tuple[tuple[str, str], ...]
    events: str
