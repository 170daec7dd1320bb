"""From an estimator's score to a probability, by a curve that keeps explanations exact.

Platt's sigmoid (Platt, 1999): log-odds = slope * score + intercept. The log-odds are an affine function of a score that
is a sum, so each term's share of the score, times the slope, is its share of the log-odds.
"""

import numpy as np
from numpy.typing import NDArray

from model.artifact.metadata import Calibration

__all__ = ["carry_over", "fit_sigmoid", "log_odds", "probabilities"]

_STEPS = 100
_CLOSE = 1e-10
_HALVINGS = 40


def log_odds(calibration: Calibration, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds of yes, shape [n], of the estimator's scores, shape [n]."""
    return calibration.slope * scores + calibration.intercept


def probabilities(calibration: Calibration, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of yes, shape [n], of the estimator's scores, shape [n]."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -log_odds(calibration, scores))))


def fit_sigmoid(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> Calibration:
    """The sigmoid of greatest likelihood for scores and labels of shape [n], both classes present, by Newton's method.

    The labels are drawn in as Platt does, to (yes + 1) / (yes + 2) and 1 / (no + 2), so that a perfect separation has
    an end. The slope is never below 0: where scores rank no better than chance, every probability is the base rate.
    """
    yes = int(labels.sum())
    no = len(labels) - yes
    wanted = np.where(labels == 1, (yes + 1) / (yes + 2), 1 / (no + 2))
    center, scale = float(scores.mean()), float(scores.std())
    flat = Calibration(slope=0.0, intercept=float(np.log((yes + 1) / (no + 1))))
    if not scale > 0:
        return flat
    design = np.column_stack([(scores - center) / scale, np.ones_like(scores)])
    weights = np.array([0.0, flat.intercept])
    for _ in range(_STEPS):
        found = np.exp(-np.logaddexp(0.0, -design @ weights))
        gradient = design.T @ (found - wanted)
        curvature = (design * (found * (1 - found))[:, None]).T @ design + np.eye(2) * 1e-9
        step = np.linalg.solve(curvature, gradient)
        # Whole steps run to and fro, for ever, where a few scores are much higher than most; the loss is convex.
        for _ in range(_HALVINGS):
            if _loss(design @ (weights - step), wanted) <= _loss(design @ weights, wanted):
                break
            step /= 2
        weights -= step
        if float(np.abs(step).max()) < _CLOSE:
            break
    if weights[0] <= 0:
        return flat
    slope = float(weights[0] / scale)
    return Calibration(slope=slope, intercept=float(weights[1] - slope * center))


def carry_over(calibration: Calibration, held_out: NDArray[np.float64], refitted: NDArray[np.float64]) -> Calibration:
    """The calibration of a model that was fitted again, to the examples too that its first fit was calibrated on.

    `held_out` are the first fit's scores of those examples, `refitted` the second's, both of shape [n]. The second's
    log-odds get the mean and the deviation that the first's have: with more to learn from, scores spread further, and
    of examples that were learned from no slope can be told.
    """
    deviation = float(refitted.std())
    slope = calibration.slope * float(held_out.std()) / deviation if deviation > 0 else 0.0
    mean = float(log_odds(calibration, held_out).mean())
    return Calibration(slope=slope, intercept=mean - slope * float(refitted.mean()))


def _loss(margins: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    """The negative log-likelihood."""
    return float(np.sum(np.logaddexp(0.0, margins) - wanted * margins))
