"""Logistic regression on the logarithms of the features."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from sklearn import linear_model

from model.estimators.base import SCIKIT_LEARN, Labels, Library, Range, Rows, Scores, fit_quietly
from model.numbers.network import Network, Scaling

__all__ = ["LogisticRegression"]


class LogisticRegression:
    """Logistic regression as a network of one layer; the score is the log-odds."""

    name: ClassVar[str] = "logistic_regression"
    library: ClassVar[Library] = SCIKIT_LEARN
    defaults: ClassVar[Mapping[str, Any]] = {"C": 0.01, "max_iter": 500}
    space: ClassVar[Mapping[str, Range]] = {"C": Range(1e-4, 10)}

    def __init__(self, seed: int, parameters: Mapping[str, Any]) -> None:
        self.parameters = parameters
        self.model = linear_model.LogisticRegression(random_state=seed, **parameters)

    def fit(self, rows: Rows, labels: Labels) -> Self:
        """Fit scaling and weights; see `Estimator`."""
        self._scaling = Scaling.of(rows)
        inputs = self._scaling.inputs(rows)
        fit_quietly(self.model, inputs, labels)
        self._reference = inputs.mean(axis=0)
        return self

    def score(self, rows: Rows) -> Scores:
        """Return the log-odds; see `Estimator`."""
        return np.asarray(self.model.decision_function(self._scaling.inputs(rows)), np.float64)

    def numbers(self) -> Network:
        """Return the layer; see `Estimator`."""
        weights, bias = self.model.coef_.T.copy(), self.model.intercept_.copy()
        return Network(self._scaling, (weights,), (bias,), self._reference)
