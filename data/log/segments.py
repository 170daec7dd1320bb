"""Segments of the event log: what a file's name says, which files to read, and which offsets no file accounts for.

    0003-000000000120..000000000181.parquet        partition 3, offsets 120 to 180 were consumed: each is a row or a
                                                   dead letter
    0003-000000000181..000000000200.lost.parquet   offsets 181 to 199 are known to be lost; no rows
    0003-000000000200-000000000260.parquet         named by the first and the last row, as before: whether offsets
                                                   beside them were dead letters is in no name

All of it follows from names: nothing here opens a file.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Literal, NamedTuple

import msgspec

__all__ = ["Coverage", "Hole", "ReadSegment", "Segment", "cover", "cover_all", "segments_of", "unfinished_of"]

Kind = Literal["consumed", "old", "lost"]

_NAMES = re.compile(r"(?<![^/])(\d{4,})-(\d{12,})(\.\.|-)(\d{12,})(\.lost)?\.parquet(?![^/])")


class Hole(NamedTuple):
    """Offsets of a source's partition that no file of the log accounts for."""

    source: str
    partition: int
    offsets: range

    def __str__(self) -> str:
        return f"{self.source} partition {self.partition} offsets {self.offsets.start} to {self.offsets.stop - 1}"


class Segment(msgspec.Struct, frozen=True, gc=False):
    """One file as its name describes it: offsets of a partition from `first` up to, not including, `stop`."""

    partition: int
    first: int
    stop: int
    kind: Kind = "consumed"

    @property
    def name(self) -> str:
        """Name of the file."""
        if self.kind == "old":
            return f"{self.partition:04d}-{self.first:012d}-{self.stop - 1:012d}.parquet"
        lost = ".lost" if self.kind == "lost" else ""
        return f"{self.partition:04d}-{self.first:012d}..{self.stop:012d}{lost}.parquet"


def segments_of(names: Iterable[str]) -> list[Segment]:
    """Return the segments that these file names describe; other names are ignored."""
    # One pass of the pattern over all names, which is fast for very many files; no name has a slash in it.
    segments = []
    for partition, first, dots, stop, lost in _NAMES.findall("/".join(names)):
        if dots == "..":
            segment = Segment(int(partition), int(first), int(stop), "lost" if lost else "consumed")
        elif lost:
            continue
        else:
            segment = Segment(int(partition), int(first), int(stop) + 1, "old")
        if segment.first < segment.stop:
            segments.append(segment)
    return segments


def unfinished_of(names: Iterable[str]) -> list[str]:
    """Return those names that a segment's file has while it is being written: `.NAME.SUFFIX`."""
    return [name for name in names if name[0] == "." and segments_of([name[1:].rpartition(".")[0]])]


ReadSegment = tuple[Segment, int]
"""A segment to read, and the offset before which its rows are in segments before it."""


class Coverage(NamedTuple):
    """What the files of one partition account for.

    `read`: the segments to read, in order.
    `spare`: segments that lie within another one, which is the second of each pair; nobody reads them.
    `consumed`: offsets accounted for, in maximal ranges, those in `lost` among them.
    `holes`: other offsets before the last consumed one, except the `unknown`, which are beside a file of the old naming
    and may be dead letters.
    """

    read: list[ReadSegment]
    spare: list[tuple[Segment, Segment]]
    consumed: list[range]
    lost: list[range]
    holes: list[range]
    unknown: list[range]

    def holes_among(self, offsets: range) -> list[range]:
        """Return the holes that lie, at least in part, among these offsets (step 1)."""
        return [hole for hole in self.holes if _meet(hole, offsets)]

    def read_among(self, offsets: range) -> list[ReadSegment]:
        """Return the segments to read for these offsets (step 1)."""
        return [item for item in self.read if _meet(range(item[1], item[0].stop), offsets)]


def _meet(left: range, right: range) -> bool:
    return max(left.start, right.start) < min(left.stop, right.stop)


def cover_all(segments: Iterable[Segment]) -> dict[int, Coverage]:
    """Return what these segments of one source account for, by partition in ascending order."""
    by_partition: dict[int, list[Segment]] = {}
    for segment in segments:
        by_partition.setdefault(segment.partition, []).append(segment)
    return {partition: cover(by_partition[partition]) for partition in sorted(by_partition)}


def cover(segments: Iterable[Segment]) -> Coverage:
    """Return what these segments of one partition account for. Offsets of a partition begin at 0."""
    ordered = list(segments)
    # By first offset, then widest first, then by kind, consumed before lost before old. Three sorts by a field are
    # faster than one by a tuple.
    ordered.sort(key=attrgetter("kind"))
    ordered.sort(key=attrgetter("stop"), reverse=True)
    ordered.sort(key=attrgetter("first"))
    read: list[ReadSegment] = []
    spare: list[tuple[Segment, Segment]] = []
    kept: list[range] = []
    start = stop = 0  # of the range being extended
    for segment in ordered:
        first, end = segment.first, segment.stop
        if segment.kind == "lost":
            continue
        if end <= stop:
            spare.append((segment, read[-1][0]))
            continue
        if first > stop:
            if stop:
                kept.append(range(start, stop))
            start = stop = first
        read.append((segment, stop))
        stop = end
    if stop:
        kept.append(range(start, stop))
    marks = [segment for segment in ordered if segment.kind == "lost"]
    consumed, lost = kept, []
    if marks:
        consumed = _merged([*kept, *(range(mark.first, mark.stop) for mark in marks)])
        lost = _gaps(kept, consumed)
        firsts = [segment.first for segment, _ in read]
        for mark in marks:
            place = bisect_right(firsts, mark.first) - 1
            if place >= 0 and read[place][0].stop >= mark.stop:
                spare.append((mark, read[place][0]))
    holes: list[range] = []
    unknown: list[range] = []
    missing = _gaps(consumed, [range(consumed[-1].stop)]) if consumed else []
    if missing:
        old = [segment for segment, _ in read if segment.kind == "old"]
        starts, stops = {segment.first for segment in old}, {segment.stop for segment in old}
        for gap in missing:
            (unknown if gap.stop in starts or gap.start in stops else holes).append(gap)
    return Coverage(read, spare, consumed, lost, holes, unknown)


def _merged(ranges: Iterable[range]) -> list[range]:
    """Return the union of ranges, as maximal ranges."""
    merged: list[range] = []
    for span in sorted(ranges, key=attrgetter("start")):
        if merged and span.start <= merged[-1].stop:
            if span.stop > merged[-1].stop:
                merged[-1] = range(merged[-1].start, span.stop)
        else:
            merged.append(span)
    return merged


def _gaps(inner: Sequence[range], outer: Sequence[range]) -> list[range]:
    """Return what is in `outer` and not in `inner`; both are maximal ranges in ascending order."""
    gaps = []
    place = 0
    for span in outer:
        start = span.start
        while place < len(inner) and inner[place].start < span.stop:
            if inner[place].start > start:
                gaps.append(range(start, inner[place].start))
            start = max(start, inner[place].stop)
            place += 1
        if start < span.stop:
            gaps.append(range(start, span.stop))
    return gaps
