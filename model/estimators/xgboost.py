"""Gradient-boosted trees of XGBoost."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import treelite

from model.estimators.base import Labels, Library, Range, Rows, Scores
from model.estimators.tree_reader import read_trees
from model.numbers.trees import Trees

__all__ = ["XgBoost"]


class XgBoost:
    """XGBoost; the score is the margin, which XGBoost sums in float32."""

    name: ClassVar[str] = "xgboost"
    library: ClassVar[Library] = Library("xgboost", extra="boost")
    defaults: ClassVar[Mapping[str, Any]] = {
        "n_estimators": 200,
        "learning_rate": 0.05,
        "max_depth": 4,
        "min_child_weight": 20,
        "reg_lambda": 5.0,
        "subsample": 0.8,
        "colsample_bytree": 0.5,
    }
    space: ClassVar[Mapping[str, Range]] = {
        "n_estimators": Range(50, 500, whole=True),
        "learning_rate": Range(0.01, 0.2),
        "max_depth": Range(2, 8, log=False, whole=True),
        "min_child_weight": Range(1, 200),
        "reg_lambda": Range(0.1, 100),
    }

    def __init__(self, seed: int, parameters: Mapping[str, Any]) -> None:
        from xgboost import XGBClassifier  # noqa: PLC0415 - it may not be installed

        self.parameters = parameters
        self.model = XGBClassifier(random_state=seed, tree_method="hist", **parameters)

    def fit(self, rows: Rows, labels: Labels) -> Self:
        """Fit the trees; see `Estimator`."""
        self.model.fit(rows, labels)
        return self

    def score(self, rows: Rows) -> Scores:
        """Return the margin; see `Estimator`."""
        return np.asarray(self.model.predict(rows, output_margin=True), np.float64)

    def numbers(self) -> Trees:
        """Return the trees; see `Estimator`."""
        return read_trees(treelite.frontend.from_xgboost(self.model.get_booster()))
