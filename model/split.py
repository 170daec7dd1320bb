"""Train, validation and test by time, so that a model is judged on a future it has not seen."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Split", "split_by_time"]

_DAY_US = 86_400e6


@dataclass(frozen=True, slots=True)
class Split:
    """Three slices of examples in time order, and the gap between them in microseconds.

    `note` is empty when the gap is a whole horizon, else it says what was given up.
    """

    train: slice
    validation: slice
    test: slice
    gap_us: int
    note: str


def split_by_time(times_us: NDArray[np.int64], horizon_us: int) -> Split:
    """Divide ascending times (UTC microseconds, shape [n]) into 70, 15 and 15 percent of the time they cover.

        train            gap       validation   gap       test
        ├───────────────┤·········├────────────┤·········├──────────┤
                         ≥ gap_us               ≥ gap_us

    The gap is one horizon: every label of a part is settled before the next part's first example. The two gaps may
    take two thirds of the time covered; where that is less than two horizons, the gap shrinks to a third, and `note`
    says so. A part may come out empty.
    """
    first, last = int(times_us[0]), int(times_us[-1])
    gap = min(horizon_us, (last - first) // 3)
    kept = last - first - 2 * gap
    validation = first + kept * 70 // 100 + gap
    test = last - kept * 15 // 100
    train_end, validation_start, validation_end, test_start = np.searchsorted(
        times_us, [validation - gap, validation, test - gap, test]
    ).tolist()
    note = ""
    if gap < horizon_us:
        note = (
            f"the examples cover {(last - first) / _DAY_US:.1f} days, less than three horizons of "
            f"{horizon_us / _DAY_US:g} days, so the gap between train, validation and test shrinks to "
            f"{gap / _DAY_US:.1f} days: the last labels of a part overlap the next, and the metrics may flatter"
        )
    return Split(
        slice(0, train_end), slice(validation_start, validation_end), slice(test_start, len(times_us)), gap, note
    )
