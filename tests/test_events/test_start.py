"""Where a worker begins in a partition: nothing that Kafka dropped, or the log lost, is skipped in silence.

offsets      0         10        20        30
Kafka                       |first ----- end|
"""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import UnavailableError
from events.kafka.connection import Assigned
from events.stream.start import Start, start_of


@pytest.mark.parametrize(
    ("committed", "first", "covered", "expected"),
    [
        (None, 0, [], Start(0)),  # nothing was ever done
        (12, 0, [range(12)], Start(12)),  # the common case
        (20, 20, [range(20)], Start(20)),  # just in time
        (12, 20, [range(12)], Start(20, lost=[range(12, 20)])),  # Kafka dropped what nobody had read
        (12, 20, [range(16)], Start(20, [range(12, 16)], [range(16, 20)])),  # some of it was logged, not committed
        (12, 20, [range(26)], Start(20, [range(12, 20)])),  # all of it was
        (12, 20, [], Start(20, lost=[range(12, 20)], holes=[range(12)])),  # the log is gone as well
        (None, 20, [], Start(20, lost=[range(20)])),  # an old topic that Encore has never read
        (None, 20, [range(12)], Start(20, [range(12)], [range(12, 20)])),  # the group was forgotten, the log tells
        (None, 20, [range(26)], Start(20, [range(20)])),
        (25, 0, [range(10), range(20, 25)], Start(25, refill=[range(10, 20)])),  # a lost file; Kafka has it still
        (25, 15, [range(10), range(20, 25)], Start(25, refill=[range(15, 20)], holes=[range(10, 15)])),  # half of it
        (25, 0, [], Start(25, refill=[range(25)])),  # another home's worker has read it all
    ],
)
def test_where_to_begin(committed: int | None, first: int, covered: list[range], expected: Start) -> None:
    assert listed(start_of(Assigned(0, committed, "id", first, 30), "id", covered)) == listed(expected)


def listed(start: Start) -> list[object]:
    return [start.offset, *map(list, start[1:])]


offsets = st.integers(0, 40)


@given(offsets | st.none(), offsets, st.sets(offsets), st.integers(0, 5))
def test_every_offset_before_the_start_is_accounted_for(
    committed: int | None, first: int, logged: set[int], more: int
) -> None:
    """Each is in the log, and folded again where it may not be; or is named by exactly one of the other three."""
    start = start_of(Assigned(0, committed, "id", first, 40 + more), "id", ranges(logged))
    assert start.offset == max(first, committed or 0)
    replay, lost, refill, holes = (flat(part) for part in start[1:])
    assert replay <= logged
    assert logged & set(range(committed or 0, first)) <= replay, "what Kafka dropped is folded from the log"
    assert sorted([*(logged & set(range(start.offset))), *lost, *refill, *holes]) == list(range(start.offset))
    assert not refill or min(refill) >= first
    assert not holes or max(holes) < first


def ranges(numbers: set[int]) -> list[range]:
    found: list[range] = []
    for number in sorted(numbers):
        if found and found[-1].stop == number:
            found[-1] = range(found[-1].start, number + 1)
        else:
            found.append(range(number, number + 1))
    return found


def flat(parts: Sequence[range]) -> set[int]:
    return {number for part in parts for number in part}


def test_what_was_committed_of_another_topic_of_that_name_does_not_count() -> None:
    assert start_of(Assigned(0, 12, "old", 0, 5), "new", []).offset == 0


def test_what_another_tool_has_committed_is_taken_as_it_is() -> None:
    assert start_of(Assigned(0, 12, "", 0, 30), "id", [range(12)]).offset == 12
    assert start_of(Assigned(0, 12, "", 0, 9), "id", [range(12)]).offset == 12


def test_messages_that_kafka_itself_lost_are_named() -> None:
    with pytest.raises(UnavailableError, match=r"partition 3 ends at offset 9, but was read up to 12.*make the topic"):
        start_of(Assigned(3, 12, "id", 0, 9), "id", [range(12)])
