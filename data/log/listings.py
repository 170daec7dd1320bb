"""Listings of a source's files, in a storage whose listings may lag behind what was written.

What was consumed stays consumed: compaction and removal keep the offsets in the names. So a listing that accounts for
less than an earlier one, or than this process has written, is outdated and read again; one with a hole may be.
"""

import time

from data.errors import UnavailableError
from data.filesystem.storage import Storage
from data.log.segments import Coverage, cover_all, segments_of

__all__ = ["Listings"]

_LAG_S = 15.0
_HOLE_S = 3.0
_AGAIN_S = 0.25


class Listings:
    """Remembers, by source and partition, the end of the consumed offsets, and the holes before it."""

    def __init__(self) -> None:
        self._ends: dict[tuple[str, int], int] = {}
        self._holes: dict[str, list[tuple[int, range]]] = {}

    def coverage(self, source: str, storage: Storage) -> dict[int, Coverage]:
        """Return what the files of a source account for, by partition.

        Raises UnavailableError where the storage keeps omitting what was there.
        """
        if not storage.is_remote:
            return cover_all(segments_of(storage.names()))
        begun_s = time.monotonic()
        while True:
            coverages = cover_all(segments_of(storage.names()))
            waited_s = time.monotonic() - begun_s
            lacks = self._lacks(source, coverages)
            holes = [(number, hole) for number, coverage in coverages.items() for hole in coverage.holes]
            new_hole = any(hole not in self._holes.get(source, ()) for hole in holes)
            if not lacks and (not new_hole or waited_s >= _HOLE_S):
                break
            if lacks and waited_s >= _LAG_S:
                raise UnavailableError(
                    f"event log: {storage} does not list {lacks}, which was there: its lists lag behind, or somebody "
                    "deleted files; try again, and see `encore log check`"
                )
            time.sleep(_AGAIN_S)
        self._holes[source] = holes
        for number, coverage in coverages.items():
            self.note(source, number, coverage.consumed[-1].stop if coverage.consumed else 0)
        return coverages

    def note(self, source: str, partition: int, stop: int) -> None:
        """Note that the offsets before `stop` are accounted for, or are holes."""
        self._ends[source, partition] = max(stop, self._ends.get((source, partition), 0))

    def forget(self, source: str) -> None:
        """Forget a source, which is replaced."""
        self._ends = {key: stop for key, stop in self._ends.items() if key[0] != source}
        self._holes.pop(source, None)

    def _lacks(self, source: str, coverages: dict[int, Coverage]) -> str:
        for (name, partition), stop in self._ends.items():
            consumed = coverages[partition].consumed if partition in coverages else []
            if name == source and (not consumed or consumed[-1].stop < stop):
                return f"partition {partition} up to offset {stop - 1}"
        return ""
