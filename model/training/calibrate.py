"""Calibration by a sigmoid: fitted on held-out examples, then carried over to the model's second fit."""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from model.calibration import Calibration
from model.numbers.calibration import log_odds

__all__ = ["carry_over", "fit_sigmoid"]


def fit_sigmoid(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> Calibration:
    """Fit a sigmoid by maximum likelihood to scores and labels of shape [n] with both classes.

    Labels are smoothed as by Platt, to (yes + 1) / (yes + 2) and 1 / (no + 2), so that the fit is finite for a perfect
    separation. The slope is never below 0: if scores rank no better than chance, every probability is the base rate.
    """
    yes = int(labels.sum())
    no = len(labels) - yes
    center, scale = float(scores.mean()), float(scores.std())
    if scale > 0:
        soft_labels = np.where(labels == 1, (yes + 1) / (yes + 2), 1 / (no + 2))
        # An example with the soft label 0.9 is a yes of weight 0.9 and a no of weight 0.1.
        line = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10).fit(
            np.tile((scores - center) / scale, 2)[:, None],
            np.repeat([1, 0], len(scores)),
            sample_weight=np.concatenate([soft_labels, 1 - soft_labels]),
        )
        slope = float(line.coef_[0, 0]) / scale
        if slope > 0:
            return Calibration(slope=slope, intercept=float(line.intercept_[0]) - slope * center)
    return Calibration(slope=0.0, intercept=float(np.log((yes + 1) / (no + 1))))


def carry_over(calibration: Calibration, held_out: NDArray[np.float64], refitted: NDArray[np.float64]) -> Calibration:
    """Return the calibration of a refitted model, which also learned from the examples of its first calibration.

    `held_out` are the first fit's scores of those examples, `refitted` the second's, both of shape [n]. The second's
    log-odds get the mean and the standard deviation of the first's: with more training examples, scores spread
    further, and a slope cannot be fitted on training examples.
    """
    deviation = float(refitted.std())
    slope = calibration.slope * float(held_out.std()) / deviation if deviation > 0 else 0.0
    mean = float(log_odds(calibration, held_out).mean())
    return Calibration(slope=slope, intercept=mean - slope * float(refitted.mean()))
