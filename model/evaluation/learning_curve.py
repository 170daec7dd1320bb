"""The learning curve: a model's ranking of the test after learning from a shorter, newest part of the history."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from data.units import DAY_US
from model.estimators.base import Estimator
from model.evaluation.ranking import roc_auc
from model.examples.training_set import TrainingSet
from model.metrics import LearningPoint

__all__ = ["learning_curve"]

_SHARES = (0.125, 0.25, 0.5)
"""Shares of the training period, counted from its end; the whole period is the model itself."""

_LEAST_ROWS = 200


def learning_curve(
    examples: TrainingSet,
    learn: NDArray[np.int64],
    test: NDArray[np.int64],
    fit: Callable[[NDArray[np.int64]], Estimator],
    whole: Estimator,
) -> list[LearningPoint]:
    """Return a point per share of the training period, the last of `whole`, which learned from all of `learn`.

    `learn` and `test` are indices of examples, ascending in time; `fit` returns a new model of the given ones. Shares
    with fewer than 200 examples, or with one class only, are left out.
    """
    times = examples.times_us[learn]
    first, last = int(times[0]), int(times[-1])
    points = []
    for share in _SHARES:
        start = last - round((last - first) * share)
        newest = learn[times >= start]
        labels = examples.labels[newest]
        if len(newest) >= _LEAST_ROWS and labels.min() < labels.max():
            points.append(_point(examples, newest, test, fit(newest)))
    return [*points, _point(examples, learn, test, whole)]


def _point(
    examples: TrainingSet, learned: NDArray[np.int64], test: NDArray[np.int64], model: Estimator
) -> LearningPoint:
    labels, scores = examples.labels[test], model.score(examples.rows[test])
    times = examples.times_us[learned]
    return LearningPoint(
        days=round((int(times[-1]) - int(times[0])) / DAY_US, 2),
        rows=len(learned),
        roc_auc=roc_auc(labels, scores),
        pr_auc=float(average_precision_score(labels, scores)),
    )
