"""The calibration of scores to probabilities by a sigmoid, under which explanations stay exact.

Platt's sigmoid (Platt, 1999): log-odds = slope * score + intercept. The log-odds are an affine function of a score that
is a sum, so each term's contribution to the log-odds is its contribution to the score, times the slope.
"""

import numpy as np
from numpy.typing import NDArray

from model.calibration import Calibration

__all__ = ["log_odds", "probabilities"]


def log_odds(calibration: Calibration, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log-odds of yes, shape [n], for the estimator's scores, shape [n]."""
    return calibration.slope * scores + calibration.intercept


def probabilities(calibration: Calibration, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities of yes, shape [n], for the estimator's scores, shape [n]."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -log_odds(calibration, scores))))
