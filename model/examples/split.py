"""Split into train, validation and test by time, so that a model is evaluated on later, unseen examples."""

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
    """Start and end of training and of the test, UTC microseconds; ends are exclusive, None means open."""

    train_start_us: int | None = None
    train_end_us: int | None = None
    test_start_us: int | None = None
    test_end_us: int | None = None

    def __post_init__(self) -> None:
        names = ("train-start", "train-end", "test-start", "test-end")
        times = (self.train_start_us, self.train_end_us, self.test_start_us, self.test_end_us)
        boundaries = [(name, time) for name, time in zip(names, times, strict=True) if time is not None]
        for (earlier, start), (later, end) in pairwise(boundaries):
            if end < start or (end == start and (earlier, later) != ("train-end", "test-start")):
                raise ConfigurationError(
                    f"{later} {from_micros(end):%Y-%m-%d %H:%M} does not lie after {earlier} "
                    f"{from_micros(start):%Y-%m-%d %H:%M}; give the dates in order"
                )


@dataclass(frozen=True, slots=True)
class Split:
    """Three slices of examples in time order, and the gap before the test in microseconds.

    `note` is empty if both gaps are a whole horizon, otherwise it says what was reduced.
    """

    train: slice
    validation: slice
    test: slice
    gap_us: int
    note: str


def split_by_time(times_us: NDArray[np.int64], horizon_us: int, periods: Periods | None = None) -> Split:
    """Split ascending times (UTC microseconds, shape [n]), by default into 70, 15 and 15 percent beside the gaps.

        warm-up   train      gap       validation   gap       test
        ·········├─────────┤·········├────────────┤·········├──────────┤

    In the warm-up, 30 days and at most a third of the training time, the longest window extends before the first event:
    such values differ from all later ones, so these examples are left out. There is none if `periods` sets the start of
    training.

    A gap is one horizon, so that every label of a part is known before the next part's first example. If `periods` sets
    the start of the test, the gap before it is always whole, and training ends a horizon before it, or earlier if set.
    Otherwise the gap shrinks to a third of the time covered if this is less than three horizons. The gap before the
    validation, which affects calibration and threshold only, is at most a fifth of the training time. `note` says what
    shrank. A part may be empty.
    """
    bounds = periods or Periods()
    first = int(times_us[0]) if bounds.train_start_us is None else bounds.train_start_us
    end = int(times_us[-1]) + 1 if bounds.test_end_us is None else bounds.test_end_us
    gap = horizon_us
    if bounds.test_start_us is not None:
        test = bounds.test_start_us
    elif bounds.train_end_us is not None:
        test = bounds.train_end_us + gap
    else:
        gap = min(horizon_us, (end - first) // 3)
        test_us = (end - first - gap - min(horizon_us, (end - first - gap) // 6)) * 15 // 100
        test = end - max(test_us, min(gap, 1))  # at least the newest example, if the time covered is microseconds
    learn_end = test - gap if bounds.train_end_us is None else min(bounds.train_end_us, test - gap)
    learn = max(learn_end - first, 0)
    small_gap = min(horizon_us, learn // 5)
    validation = learn_end - (learn - small_gap) * 15 // 85
    warm_up = min(_WARM_UP_US, learn // 3) if bounds.train_start_us is None else 0
    edges = [first + warm_up, validation - small_gap, validation, learn_end, test, end]
    places = np.searchsorted(times_us, edges).tolist()
    train, held_out, tested = (slice(*places[at : at + 2]) for at in (0, 2, 4))
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
    return Split(train, held_out, tested, gap, note)
