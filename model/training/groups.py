"""The worth of groups of features, by permutation: how much worse models of earlier periods rank without them."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from model.estimators.base import Estimator
from model.examples.training_set import TrainingSet
from model.training.tuning import Fold, sampled

__all__ = ["group_falls"]

_MOST_ROWS = 10_000


def group_falls(
    examples: TrainingSet,
    folds: Sequence[Fold],
    groups: Mapping[str, str],
    fit: Callable[[NDArray[np.int64]], Estimator],
    *,
    seed: int,
) -> dict[str, list[float]]:
    """Return, by group, the decrease of PR AUC in each fold's evaluation part when the group's features are shuffled.

    A group's features are shuffled together, which preserves their dependence; the largest mean decrease comes first.
    `groups` has the group of each feature; `fit` returns a new model of the given examples. Decreases are divided by
    the base rate.
    """
    random = np.random.default_rng(seed)
    columns: dict[str, list[int]] = {}
    for place, name in enumerate(examples.features):
        columns.setdefault(groups[name], []).append(place)
    falls: dict[str, list[float]] = {group: [] for group in columns}
    for fold in folds:
        learn, later = (sampled(side, random, _MOST_ROWS) for side in fold)
        model, rows, labels = fit(learn), examples.rows[later], examples.labels[later]
        whole = average_precision_score(labels, model.score(rows))
        for group, places in columns.items():
            shuffled = rows.copy()
            shuffled[:, places] = rows[random.permutation(len(rows))][:, places]
            fall = whole - average_precision_score(labels, model.score(shuffled))
            falls[group].append(float(fall / labels.mean()))
    return dict(sorted(falls.items(), key=lambda item: -sum(item[1])))
