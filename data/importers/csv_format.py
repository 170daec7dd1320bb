"""What an importer has to say about its CSV file; all the rest is done by `import_file`."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CsvFormat"]


@dataclass(frozen=True)
class CsvFormat:
    """A public data set's CSV, described in DuckDB's SQL.

    `columns` is the header, in order, with the type of each column. A row for which a condition in `wrong` holds (or is
    unknown) makes the whole file unreadable: (column, condition, what the column should be). A row for which one in
    `dropped` holds is left out and counted under its reason, the first that fits: (reason, condition). Rows equal to
    an earlier one are left out too. `events` selects from what is left, the table `kept` (with `line`, the row's
    number): the columns of an event, but `timestamp_us` in place of `timestamp`, and `line`.
    """

    name: str
    columns: Mapping[str, str]
    wrong: tuple[tuple[str, str, str], ...]
    dropped: tuple[tuple[str, str], ...]
    events: str
