"""The split by time keeps a horizon between its parts, or says that it could not."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.split import split_by_time

DAY_US = 86_400_000_000


@given(
    times=st.lists(st.integers(0, 200 * DAY_US), min_size=1, max_size=60),
    horizon=st.integers(1, 60 * DAY_US),
)
def test_every_label_is_settled_before_the_next_part_starts(times: list[int], horizon: int) -> None:
    ordered = np.sort(np.array(times, np.int64))
    split = split_by_time(ordered, horizon)
    assert (split.gap_us == horizon) == (split.note == "")
    train, validation, test = ordered[split.train], ordered[split.validation], ordered[split.test]
    rest = np.concatenate([validation, test])
    if len(train) and len(rest):
        assert train[-1] + split.gap_us < rest[0] or split.gap_us == 0
    if len(validation) and len(test):
        assert validation[-1] + split.gap_us < test[0]
    assert ordered[-1] in test


def test_the_parts_share_what_the_gaps_leave() -> None:
    """160 days, horizon 30: 100 days are shared 70 : 15 : 15, and the gaps lie from day 70 and from day 115."""
    split = split_by_time(np.arange(0, 161, dtype=np.int64) * DAY_US, 30 * DAY_US)
    assert (split.train, split.validation, split.test) == (slice(0, 70), slice(100, 115), slice(145, 161))
    assert split.note == ""


def test_a_short_history_shrinks_the_gap_and_says_so() -> None:
    split = split_by_time(np.arange(0, 61, dtype=np.int64) * DAY_US, 30 * DAY_US)
    assert split.gap_us == 20 * DAY_US
    assert "60.0 days" in split.note
    assert "shrinks to 20.0 days" in split.note
