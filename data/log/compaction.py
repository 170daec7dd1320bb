"""Compaction of the event log: small files are joined into larger ones while workers and readers go on.

Which files to join follows from their names. A joined file is put in place atomically; readers prefer it from then on,
and its parts are kept for a while for readers that listed them before. Two compactions at once make the same files, or
overlapping ones, of which readers take every offset once.
"""

from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from typing import Any, NamedTuple

import pyarrow as pa

from data.errors import GoneError
from data.filesystem.storage import Storage
from data.log.event_table import united
from data.log.log_file import read_columns, read_rows, write_file
from data.log.segments import Coverage, ReadSegment, Segment

__all__ = ["Compacted", "compact_partition", "delete_leftovers", "runs_to_join"]

_FEWEST = 16
"""The least number of files that are worth joining."""

_GROWTH = 4
"""Least ratio of a joined file's offsets to those of its widest part; an event is rewritten a dozen times at most."""

_WIDEST = 2_000_000
"""Number of offsets from which on a file is not joined any more."""

_LIMITS = [16**power for power in range(1, 7)]


class Compacted(NamedTuple):
    """Numbers of files that a compaction joined, made and deleted."""

    joined: int = 0
    made: int = 0
    deleted: int = 0

    def __add__(self, other: object) -> "Compacted":
        if not isinstance(other, Compacted):
            return NotImplemented
        return Compacted(self.joined + other.joined, self.made + other.made, self.deleted + other.deleted)


def compact_partition(folder: Storage, coverage: Coverage, before_s: float) -> Compacted:
    """Delete parts of files that were joined before `before_s` (Unix time), and join runs that are worth it.

    Raises DataError where a part cannot be read; it stays as it is.
    """
    deleted = sum(
        _is_older(folder, whole.name, before_s) and folder.delete(part.name) for part, whole in coverage.spare
    )
    runs = runs_to_join(coverage)
    joined = [len(run) for run in runs if _join(folder, run)]
    return Compacted(sum(joined), len(joined), deleted)


def delete_leftovers(folder: Storage, names: list[str], before_s: float) -> int:
    """Delete unfinished files, by `names`, of writers that died before `before_s` (Unix time); return their number."""
    return sum(_is_older(folder, name, before_s) and folder.delete(name) for name in names)


def runs_to_join(coverage: Coverage) -> list[list[Segment]]:
    """Return disjoint runs of adjacent segments that are worth joining into one file each.

    A run has at least 16 segments or two million offsets, and at least four times the offsets of its widest segment, so
    that a large file is not rewritten for a few small ones. Narrow segments come first: below 16 offsets, below 256,
    and so on. A segment of the old naming that has unknown offsets beside it, or nothing after it, is in no run: only
    its name records that they are unknown.
    """
    runs = []
    stretches = list(_stretches(coverage))
    for limit in _LIMITS:
        waiting: list[list[ReadSegment]] = []
        for stretch in stretches:
            beside = False  # whether the piece before this one is left too
            for is_run, piece in _pieces(stretch, limit):
                if is_run:
                    runs.append([segment for segment, _ in piece])
                elif beside:
                    waiting[-1] += piece
                else:
                    waiting.append(piece)
                beside = not is_run
        stretches = waiting
    return runs


def _pieces(stretch: list[ReadSegment], limit: int) -> Iterator[tuple[bool, list[ReadSegment]]]:
    """Split a stretch into pieces, each with whether to join it; segments of `limit` offsets or more are left alone."""
    for is_below, group in groupby(stretch, lambda item: item[0].stop - item[0].first < limit):
        if not is_below:
            yield False, list(group)
            continue
        piece: list[ReadSegment] = []
        widest = total = 0
        for item in group:
            width = item[0].stop - item[1]
            piece.append(item)
            widest, total = max(widest, width), total + width
            if total >= _WIDEST:
                yield total >= _GROWTH * widest, piece
                piece, widest, total = [], 0, 0
        if piece:
            yield len(piece) >= _FEWEST and total >= _GROWTH * widest, piece


def _stretches(coverage: Coverage) -> Iterator[list[ReadSegment]]:
    """Yield runs of segments without a gap, narrower than the widest that is kept, with known offsets at both ends."""
    end = coverage.consumed[-1].stop if coverage.consumed else 0
    open_at = {gap.start for gap in coverage.unknown} | {end}
    open_to = {gap.stop for gap in coverage.unknown}
    stretch: list[ReadSegment] = []
    for item in coverage.read:
        segment, start = item
        settled = segment.kind != "old" or (segment.stop not in open_at and segment.first not in open_to)
        fits = settled and segment.stop - segment.first < _WIDEST
        if stretch and not (fits and start == stretch[-1][0].stop):
            yield stretch
            stretch = []
        if fits:
            stretch.append(item)
    if stretch:
        yield stretch


def _join(folder: Storage, run: list[Segment]) -> bool:
    """Write one file of the run's rows; return False where another compaction has deleted a part."""
    whole = Segment(run[0].partition, run[0].first, run[-1].stop)
    with suppress(GoneError):
        columns = united(read_columns(folder.local(segment.name)) for segment in run)
        folder.put(whole.name, lambda path: write_file(path, _rows(folder, run, columns), columns))
        return True
    return False


def _rows(folder: Storage, run: list[Segment], columns: pa.Schema) -> Iterator[pa.Table]:
    start = run[0].first
    for segment in run:
        for table in read_rows(folder.local(segment.name), start):
            yield pa.Table.from_arrays([_column(table, field) for field in columns], schema=columns)
        start = segment.stop


def _column(table: pa.Table, field: pa.Field) -> Any:
    if field.name not in table.column_names:
        return pa.nulls(table.num_rows, field.type)
    return table.column(field.name).cast(field.type)


def _is_older(folder: Storage, name: str, before_s: float) -> bool:
    mark = folder.mark(name)
    return mark is not None and mark.modified_ns <= before_s * 1e9
