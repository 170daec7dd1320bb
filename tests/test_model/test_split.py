"""The parts lie in time order, a horizon apart, and dates that make no sense are refused."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data.errors import ConfigurationError
from data.units import DAY_US
from model.examples.split import Periods, split_by_time

DAYS = np.arange(0, 250, dtype=np.int64) * DAY_US


@given(
    times=st.lists(st.integers(0, 200 * DAY_US), min_size=1, max_size=60),
    horizon=st.integers(1, 60 * DAY_US),
)
@example(times=[0, 2], horizon=1)
def test_every_label_is_settled_before_the_test_starts(times: list[int], horizon: int) -> None:
    ordered = np.sort(np.array(times, np.int64))
    split = split_by_time(ordered, horizon)
    train, validation, test = ordered[split.train], ordered[split.validation], ordered[split.test]
    assert split.gap_us <= horizon
    if split.note == "":
        assert split.gap_us == horizon
        if len(train) and len(validation):
            assert train[-1] + horizon <= validation[0]
    learned = np.concatenate([train, validation])
    if len(learned) and len(test):
        assert learned[-1] + split.gap_us <= test[0]
    if len(train) and len(validation):
        assert train[-1] < validation[0]
    assert ordered[-1] in test or split.gap_us == 0


def test_the_parts_share_what_the_gaps_leave() -> None:
    """250 days, horizon 10: 230 days are shared 70 : 15 : 15, and training leaves out 30 days of warm-up."""
    split = split_by_time(DAYS, 10 * DAY_US)
    sizes = [part.stop - part.start for part in (split.train, split.validation, split.test)]
    assert split.note == ""
    assert sizes == pytest.approx([161 - 30, 34.5, 34.5], abs=1)


def test_a_short_history_shrinks_the_gaps_and_says_so() -> None:
    split = split_by_time(DAYS[:120], 30 * DAY_US)
    assert split.gap_us == 30 * DAY_US
    assert "begins 15.6 days after training, not a horizon; the test is a whole horizon away" in split.note
    split = split_by_time(DAYS[:61], 30 * DAY_US)
    assert split.gap_us == pytest.approx(61 / 3 * DAY_US, rel=0.02)
    assert "60.0 days" in split.note
    assert "the metrics may flatter" in split.note


def test_the_dates_given_are_kept_and_a_horizon_lies_before_the_test() -> None:
    """
    day 10                     ≤ 140          150         170
        train, gap, validation │ a horizon of 10 │ test    │
    """
    periods = Periods(10 * DAY_US, 145 * DAY_US, 150 * DAY_US, 170 * DAY_US)
    split = split_by_time(DAYS, 10 * DAY_US, periods)
    assert (split.train.start, split.validation.stop) == (10, 140)
    assert split.test == slice(150, 170)
    assert split.validation.start - split.train.stop == 10
    only_end = split_by_time(DAYS, 10 * DAY_US, Periods(train_end_us=100 * DAY_US))
    assert only_end.train.start == 30
    assert (only_end.validation.stop, only_end.test.start) == (100, 110)
    only_test = split_by_time(DAYS, 10 * DAY_US, Periods(test_start_us=200 * DAY_US))
    assert (only_test.validation.stop, only_test.test) == (190, slice(200, 250))


def test_dates_out_of_order_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="test-start 1970-01-02 00:00 does not lie after train-end 1970-01-03"):
        Periods(train_end_us=2 * DAY_US, test_start_us=DAY_US)
    with pytest.raises(ConfigurationError, match=r"test-end .* does not lie after train-start"):
        Periods(train_start_us=2 * DAY_US, test_end_us=2 * DAY_US)
    assert Periods(train_end_us=DAY_US, test_start_us=DAY_US).train_start_us is None
