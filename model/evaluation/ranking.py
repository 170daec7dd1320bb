"""Ranking metrics by counting; in sklearn.metrics, checking the arguments takes ten times as long."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Labels", "Ranked", "Scores", "roc_auc"]

Labels = NDArray[np.int64]
Scores = NDArray[np.float64]


class Ranked(NamedTuple):
    """Examples sorted by score, so that a resample is only a count per example, without sorting again."""

    order: NDArray[np.int64]  # indices of the examples by ascending score
    labels: Labels  # by descending score
    ends: NDArray[np.int64]  # last positions of runs of equal scores, by descending score

    @classmethod
    def of(cls, labels: Labels, scores: Scores | NDArray[np.float32]) -> Self:
        """Sort examples by score."""
        order = np.argsort(scores, kind="stable")
        falling = scores[order][::-1]
        ends = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(falling) - 1)  # minus infinities are equal
        return cls(order, labels[order][::-1], ends)

    def resampled(self, times: NDArray[np.int64]) -> dict[str, float]:
        """Return ROC AUC (Mann-Whitney statistic, ties count half) and average precision as scikit-learn does."""
        counts = times[self.order][::-1]
        yes = np.cumsum(counts * self.labels)[self.ends].astype(np.float64)
        every = np.cumsum(counts)[self.ends].astype(np.float64)
        no = every - yes
        new_yes, new_no = np.diff(yes, prepend=0.0), np.diff(no, prepend=0.0)
        below = no[-1] - no + new_no / 2
        precision = yes / np.maximum(every, 1)
        return {
            "roc_auc": float(new_yes @ below / (yes[-1] * no[-1])),
            "pr_auc": float(new_yes @ precision / yes[-1]),
        }


def roc_auc(labels: Labels, scores: Scores | NDArray[np.float32]) -> float:
    """Return the probability that a yes scores above a no, counting ties half (Hanley and McNeil, 1982).

    `labels` are 0 or 1, and `scores` without NaN, both of shape [n]. NaN if all labels are the same.
    """
    if not 0 < labels.sum() < len(labels):
        return float("nan")
    return Ranked.of(labels, scores).resampled(np.ones(len(labels), np.int64))["roc_auc"]
