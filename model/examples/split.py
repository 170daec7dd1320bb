"""Train, validation and test split by time, so that a model is evaluated on a future that it has not seen."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data.errors import ConfigurationError
from data.units import DAY_US, from_micros

__all__ = ["Periods", "Split", "split_by_time"]

_WARM_UP_US = 30 * DAY_US


@dataclass(frozen=True, slots=True)
class Periods:
    """Start and end of training and of the test, UTC microseconds; ends are exclusive, None where left open."""

    train_start_us: int | None = None
    train_end_us: int | None = None
    test_start_us: int | None = None
    test_end_us: int | None = None

    def __post_init__(self) -> None:
        names = ("train-start", "train-end", "test-start", "test-end")
        times = (self.train_start_us, self.train_end_us, self.test_start_us, self.test_end_us)
        given = [(name, time) for name, time in zip(names, times, strict=True) if time is not None]
        for (earlier, start), (later, end) in pairwise(given):
            if end < start or (end == start and (earlier, later) != ("train-end", "test-start")):
                raise ConfigurationError(
                    f"{later} {from_micros(end):%Y-%m-%d %H:%M} does not lie after {earlier} "
                    f"{from_micros(start):%Y-%m-%d %H:%M}; give the dates in order"
                )


@dataclass(frozen=True, slots=True)
class Split:
    """Three slices of examples in time order, and the gap before the test in microseconds.

    `note` is empty when both gaps are a whole horizon, else it says what was reduced.
    """

    train: slice
    validation: slice
    test: slice
    gap_us: int
    note: str


def split_by_time(times_us: NDArray[np.int64], horizon_us: int, periods: Periods | None = None) -> Split:
    """Divide ascending times (UTC microseconds, shape [n]), by default 70, 15 and 15 percent of what the gaps leave.

        warm-up   train      gap       validation   gap       test
        ·········├─────────┤·········├────────────┤·········├──────────┤

    In the warm-up, 30 days and at most a third of the time to learn from, the longest window extends before the first
    event: such values differ from all later ones, and are not learned from. Where `periods` says when training starts,
    there is none.

    A gap is one horizon: every label of a part is known before the next part's first example. Before the test it always
    is where `periods` says when the test starts; training then ends a horizon before it, or earlier if asked. Without,
    it shrinks to a third of the time covered where this is less than three horizons. The gap before the validation,
    which affects calibration and threshold only, is at most a fifth of the time to learn from. `note` says what shrank.
    A part may be empty.
    """
    asked = periods or Periods()
    first = int(times_us[0]) if asked.train_start_us is None else asked.train_start_us
    end = int(times_us[-1]) + 1 if asked.test_end_us is None else asked.test_end_us
    gap = horizon_us
    if asked.test_start_us is not None:
        test = asked.test_start_us
    elif asked.train_end_us is not None:
        test = asked.train_end_us + gap
    else:
        gap = min(horizon_us, (end - first) // 3)
        judged_us = (end - first - gap - min(horizon_us, (end - first - gap) // 6)) * 15 // 100
        test = end - max(judged_us, min(gap, 1))  # the newest example, where microseconds are all there is
    learn_end = test - gap if asked.train_end_us is None else min(asked.train_end_us, test - gap)
    learn = max(learn_end - first, 0)
    small_gap = min(horizon_us, learn // 5)
    validation = learn_end - (learn - small_gap) * 15 // 85
    warm_up = min(_WARM_UP_US, learn // 3) if asked.train_start_us is None else 0
    edges = [first + warm_up, validation - small_gap, validation, learn_end, test, end]
    places = np.searchsorted(times_us, edges).tolist()
    train, held_out, judged = (slice(*places[at : at + 2]) for at in (0, 2, 4))
    note = ""
    if gap < horizon_us:
        note = (
            f"the examples cover {(end - first) / DAY_US:.1f} days, less than three horizons of "
            f"{horizon_us / DAY_US:g} days, so the gap before the test shrinks to {gap / DAY_US:.1f} days: the last "
            "labels learned from overlap it, and the metrics may flatter"
        )
    elif small_gap < horizon_us:
        note = (
            f"there are {learn / DAY_US:.1f} days to learn from, so validation, which sets calibration and threshold, "
            f"begins {small_gap / DAY_US:.1f} days after training, not a horizon; the test is a whole horizon away"
        )
    return Split(train, held_out, judged, gap, note)
