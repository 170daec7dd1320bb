"""What the names of the log's files say: what to read, what is missing, and what is worth joining."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from thorough import examples

from data.log.compaction import runs_to_join
from data.log.segments import Kind, Segment, cover, segments_of

KINDS: tuple[Kind, ...] = ("consumed", "old", "lost")


@st.composite
def segments(draw: st.DrawFn) -> list[Segment]:
    """Some files of one partition: overlapping, twice, with gaps, of all namings."""
    drawn = draw(
        st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12), st.sampled_from(KINDS)), min_size=1, max_size=10)
    )
    return [Segment(0, first, first + width, kind) for first, width, kind in drawn]


@given(st.integers(0, 12_345), st.integers(0, 10**14), st.integers(1, 10**13), st.sampled_from(KINDS))
def test_a_name_says_all(partition: int, first: int, width: int, kind: str) -> None:
    segment = Segment(partition, first, first + width, kind)  # type: ignore[arg-type]
    assert segments_of(["notes.txt", segment.name, f".{segment.name}.12ab"]) == [segment]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x0000-000000000000..000000000001.parquet",
        "0000-000000000000..000000000001.parquet.part",
        "000-000000000000..000000000001.parquet",
        "0000-000000000000..000000000000.parquet",
        "0000-000000000005-000000000004.parquet",
        "0000-000000000000-000000000004.lost.parquet",
        "0000-000000000000.000000000001.parquet",
        "0000-000000000000..000000000001.parquet\n0000-000000000000..000000000001.parquet",
    ],
)
def test_other_names_are_passed_over(name: str) -> None:
    assert segments_of([name]) == []


@pytest.mark.long
@examples(500)
@given(segments())
def test_every_offset_is_read_once_lost_unknown_or_a_hole(found: list[Segment]) -> None:
    """Against plain counting, offset by offset."""
    coverage = cover(found)
    rows = {offset for one in found if one.kind != "lost" for offset in range(one.first, one.stop)}
    marked = {offset for one in found if one.kind == "lost" for offset in range(one.first, one.stop)} - rows
    read = [offset for segment, start in coverage.read for offset in range(start, segment.stop)]
    assert read == sorted(rows)
    assert _offsets(coverage.lost) == sorted(marked)
    assert _offsets(coverage.consumed) == sorted(rows | marked)
    missing = sorted(set(range(max(rows | marked))) - rows - marked)
    assert sorted(_offsets(coverage.holes) + _offsets(coverage.unknown)) == missing
    chosen = [segment for segment, _ in coverage.read]
    old = [segment for segment in chosen if segment.kind == "old"]
    for gap in coverage.holes + coverage.unknown:
        beside = any(segment.first == gap.stop or segment.stop == gap.start for segment in old)
        assert beside == (gap in coverage.unknown)
    for part, whole in coverage.spare:
        assert whole in chosen
        assert whole.kind != "lost"
        assert whole.first <= part.first < part.stop <= whole.stop
    left = [one for one in found if one not in chosen and one not in [part for part, _ in coverage.spare]]
    assert all(one.kind == "lost" for one in left)


def _offsets(ranges: list[range]) -> list[int]:
    assert all(left.stop < right.start for left, right in pairwise(ranges)), "they are maximal, and in order"
    return [offset for one in ranges for offset in one]


def test_an_old_file_gives_way_to_a_new_one_of_its_range() -> None:
    """The new one's edges are known: what lies beyond them is a hole."""
    old, new = Segment(0, 5, 10, "old"), Segment(0, 5, 10)
    assert cover([old]).unknown == [range(5)]
    coverage = cover([old, new])
    assert (coverage.read, coverage.spare) == ([(new, 5)], [(old, new)])
    assert (coverage.holes, coverage.unknown) == ([range(5)], [])


def adjacent(*widths: int, first: int = 0) -> list[Segment]:
    """Segments one after another."""
    found = []
    for width in widths:
        found.append(Segment(0, first, first + width))
        first += width
    return found


def joins(found: list[Segment]) -> list[tuple[int, int]]:
    """The ranges that would be joined."""
    return [(run[0].first, run[-1].stop) for run in runs_to_join(cover(found))]


@pytest.mark.parametrize(
    ("widths", "joined"),
    [
        ([10] * 15, []),
        ([10] * 16, [(0, 160)]),
        ([10] * 40, [(0, 400)]),
        ([10, 20] * 8, [(0, 240)]),  # about a border of sizes
        ([1000, *[10] * 15], []),
        ([1000, *[10] * 16], [(1000, 1160)]),  # the large one stays
        ([*[10] * 16, 1000, *[10] * 16], [(0, 160), (1160, 1320)]),
        ([160] * 16, [(0, 2560)]),
        ([*[160] * 16, *[1] * 16], [(2560, 2576), (0, 2560)]),  # both in one pass
        ([900, *[100] * 16], [(900, 2500)]),
        ([400_000] * 5, [(0, 2_000_000)]),
        ([400_000] * 4, []),
        ([1_900_000] * 20, []),
        ([2_000_000] * 40, []),
        ([3_000_000, *[10] * 16], [(3_000_000, 3_000_160)]),
    ],
)
def test_what_is_worth_joining(widths: list[int], joined: list[tuple[int, int]]) -> None:
    assert joins(adjacent(*widths)) == joined


def test_nothing_is_joined_over_a_gap_or_a_loss() -> None:
    left, right = adjacent(*[10] * 10), adjacent(*[10] * 10, first=110)
    assert joins(left + right) == []
    assert joins([*left, Segment(0, 100, 110, "lost"), *right]) == []
    assert joins([*left, Segment(0, 100, 110), *right]) == [(0, 210)]


def test_old_files_are_joined_where_all_beside_them_is_known() -> None:
    old = [Segment(0, one.first, one.stop, "old") for one in adjacent(*[10] * 20)]
    assert joins(old) == [(0, 190)], "what follows the last is not known yet"
    assert joins([*old, *adjacent(10, first=200)]) == [(0, 210)]
    assert joins([*old, *adjacent(10, first=205)]) == [(0, 190)]
    late = [Segment(0, 5 + one.first, 5 + one.stop, "old") for one in adjacent(*[10] * 20)]
    assert joins(late) == [(15, 195)]
    assert joins([*late, *adjacent(5)]) == [(0, 195)]


@pytest.mark.integration
@examples(300)
@given(st.lists(st.integers(1, 5) | st.sampled_from([16, 20, 300, 4000, 70_000]), min_size=1, max_size=120))
def test_compacting_again_and_again_ends_with_few_files_and_few_rewrites(widths: list[int]) -> None:
    """Files come one by one, as a worker writes them; each offset is rewritten a dozen times at most."""
    present: list[Segment] = []
    rewritten: dict[int, int] = {}
    first = 0
    for width in widths:
        present.append(Segment(0, first, first + width))
        first += width
        for run in runs_to_join(cover(present)):
            whole = Segment(0, run[0].first, run[-1].stop)
            assert [one.stop for one in run[:-1]] == [one.first for one in run[1:]]
            assert whole.stop - whole.first >= 4 * max(one.stop - one.first for one in run)
            for one in run:
                rewritten[one.first] = rewritten.get(one.first, 0) + 1
            present = [one for one in present if one not in run] + [whole]
    assert sum(one.stop - one.first for one in present) == first
    assert max(rewritten.values(), default=0) <= 12


@pytest.mark.long
def test_a_steady_stream_is_kept_in_few_files() -> None:
    present: list[Segment] = []
    most = 0
    for number in range(20_000):
        present.append(Segment(0, number * 100, number * 100 + 100))
        if number % 6 == 0:
            for run in runs_to_join(cover(present)):
                present = [one for one in present if one not in run] + [Segment(0, run[0].first, run[-1].stop)]
        most = max(most, len(present))
    assert most < 80
