"""A small neural network on the logarithms of the features."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.neural_network import MLPClassifier

from model.estimators.base import SCIKIT_LEARN, Labels, Library, Range, Rows, Scores, fit_quietly
from model.numbers.network import Network, Scaling

__all__ = ["Mlp"]


class Mlp:
    """A multi-layer perceptron; the score is the log-odds of its probability."""

    name: ClassVar[str] = "mlp"
    library: ClassVar[Library] = SCIKIT_LEARN
    defaults: ClassVar[Mapping[str, Any]] = {
        "hidden_layer_sizes": (32, 16),
        "alpha": 1e-2,
        "learning_rate_init": 1e-3,
        "batch_size": 256,
        "max_iter": 12,
    }
    space: ClassVar[Mapping[str, Range]] = {
        "alpha": Range(1e-4, 1),
        "learning_rate_init": Range(1e-4, 1e-2),
        "max_iter": Range(4, 40, whole=True),
    }

    def __init__(self, seed: int, parameters: Mapping[str, Any]) -> None:
        self.parameters = parameters
        self.model = MLPClassifier(random_state=seed, **parameters)

    def fit(self, rows: Rows, labels: Labels) -> Self:
        """Fit scaling and weights; see `Estimator`."""
        self._scaling = Scaling.of(rows)
        inputs = self._scaling.inputs(rows)
        weights = np.where(labels == 1, len(labels) / (2 * labels.sum()), len(labels) / (2 * (1 - labels).sum()))
        fit_quietly(self.model, inputs, labels, sample_weight=weights)
        self._reference = inputs.mean(axis=0)
        return self

    def score(self, rows: Rows) -> Scores:
        """Return the log-odds; see `Estimator`."""
        # There is no decision function. Probabilities are clipped just below 1, so that log-odds are finite.
        probability = np.clip(self.model.predict_proba(self._scaling.inputs(rows))[:, 1], 1e-300, 1 - 1e-16)
        return np.asarray(np.log(probability) - np.log1p(-probability), np.float64)

    def numbers(self) -> Network:
        """Return the layers; see `Estimator`."""
        return Network(self._scaling, tuple(self.model.coefs_), tuple(self.model.intercepts_), self._reference)
