"""How good a model is: metrics of scores against labels, and the threshold that turns a score into a decision."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    precision_recall_curve,
    precision_recall_fscore_support,
    roc_auc_score,
)

from model.metadata import Metrics

__all__ = ["best_f1_threshold", "evaluate"]


def best_f1_threshold(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    """The score at or above which "yes" has the highest F1; of equals the lowest. Both of shape [n], both classes."""
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    # The curve's last point (precision 1, recall 0) belongs to no threshold.
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    return float(thresholds[np.argmax(f1[:-1])])


def evaluate(
    labels: NDArray[np.int64], scores: NDArray[np.float64], threshold: float, *, probabilities: bool = True
) -> Metrics:
    """Metrics of scores against labels, both of shape [n] and both classes present; a score ≥ `threshold` means yes.

    The Brier score is left out (null) when the scores are not `probabilities`.
    """
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, scores >= threshold, average="binary", zero_division=0.0
    )
    return Metrics(
        roc_auc=float(roc_auc_score(labels, scores)),
        pr_auc=float(average_precision_score(labels, scores)),
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        brier=float(brier_score_loss(labels, scores)) if probabilities else None,
    )
