"""Gradient-boosted trees of LightGBM."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import treelite

from model.estimators.base import Labels, Library, Range, Rows, Scores
from model.estimators.tree_reader import read_trees
from model.numbers.trees import Trees

__all__ = ["LightGbm"]


class LightGbm:
    """LightGBM; the score is its raw score.

    LightGBM treats a missing value of a feature that was never missing in training as 0. (It also treats values within
    1e-35 of 0 as 0, which `numbers` ignores, since no feature is so small.)
    """

    name: ClassVar[str] = "lightgbm"
    library: ClassVar[Library] = Library("lightgbm", extra="boost")
    defaults: ClassVar[Mapping[str, Any]] = {
        "n_estimators": 200,
        "learning_rate": 0.05,
        "num_leaves": 15,
        "min_child_samples": 40,
        "reg_lambda": 5.0,
        "colsample_bytree": 0.5,
    }
    space: ClassVar[Mapping[str, Range]] = {
        "n_estimators": Range(50, 500, whole=True),
        "learning_rate": Range(0.01, 0.2),
        "num_leaves": Range(4, 63, whole=True),
        "min_child_samples": Range(10, 200, whole=True),
        "reg_lambda": Range(0.1, 100),
    }

    def __init__(self, seed: int, parameters: Mapping[str, Any]) -> None:
        from lightgbm import LGBMClassifier  # noqa: PLC0415 - it may not be installed

        self.parameters = parameters
        self.model = LGBMClassifier(
            random_state=seed,
            n_jobs=1,  # it asks for as many threads as there are cores, whatever `fit_estimator` allows
            deterministic=True,
            force_row_wise=True,
            verbosity=-1,
            importance_type="gain",
            **parameters,
        )

    def fit(self, rows: Rows, labels: Labels) -> Self:
        """Fit the trees; see `Estimator`."""
        self.model.fit(rows, labels)
        return self

    def score(self, rows: Rows) -> Scores:
        """Return the raw score; see `Estimator`."""
        return np.asarray(self.model.booster_.predict(rows, raw_score=True), np.float64)

    def numbers(self) -> Trees:
        """Return the trees; see `Estimator`."""
        return read_trees(treelite.frontend.from_lightgbm(self.model.booster_))
