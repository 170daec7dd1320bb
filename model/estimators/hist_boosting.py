"""Gradient-boosted trees of scikit-learn, on histograms."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import treelite
from sklearn.ensemble import HistGradientBoostingClassifier

from model.estimators.base import SCIKIT_LEARN, Labels, Library, Range, Rows, Scores
from model.estimators.tree_reader import read_trees
from model.numbers.trees import Trees

__all__ = ["HistGradientBoosting"]


class HistGradientBoosting:
    """Histogram gradient boosting of scikit-learn; the score is its decision function."""

    name: ClassVar[str] = "hist_gradient_boosting"
    library: ClassVar[Library] = SCIKIT_LEARN
    defaults: ClassVar[Mapping[str, Any]] = {
        "max_iter": 150,
        "learning_rate": 0.05,
        "max_leaf_nodes": 15,
        "min_samples_leaf": 40,
        "l2_regularization": 5.0,
        "max_features": 0.3,
    }
    space: ClassVar[Mapping[str, Range]] = {
        "max_iter": Range(50, 400, whole=True),
        "learning_rate": Range(0.01, 0.2),
        "max_leaf_nodes": Range(4, 63, whole=True),
        "min_samples_leaf": Range(10, 200, whole=True),
        "l2_regularization": Range(0.1, 100),
    }

    def __init__(self, seed: int, parameters: Mapping[str, Any]) -> None:
        self.parameters = parameters
        self.model = HistGradientBoostingClassifier(early_stopping=False, random_state=seed, **parameters)

    def fit(self, rows: Rows, labels: Labels) -> Self:
        """Fit the trees; see `Estimator`."""
        # scikit-learn 1.9 cannot bin a column without values; a constant one is never split on either.
        self.model.fit(np.where(np.isnan(rows).all(axis=0), np.float32(0), rows), labels)
        return self

    def score(self, rows: Rows) -> Scores:
        """Return the decision function; see `Estimator`."""
        return np.asarray(self.model.decision_function(rows), np.float64)

    def numbers(self) -> Trees:
        """Return the trees; see `Estimator`."""
        return read_trees(treelite.sklearn.import_model(self.model))
