"""A linear model or a small neural network as numbers, with the preparation of its inputs.

Features are counts, amounts and days, mostly small, sometimes very large or missing. Each becomes two inputs: its
logarithm (signed, so that 0 stays 0), standardized by the training data, 0 if missing; and whether it is missing.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["FARTHEST", "Network", "Scaling", "signed_log"]

FARTHEST = 8.0
"""Inputs are clipped at this many standard deviations from the mean."""


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of each feature's logarithm in the training data, and whether absence is an input.

    All are of shape [features]; `tells` is 1, or 0 if the feature was always or never missing.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    tells: NDArray[np.float64]

    @classmethod
    def of(cls, rows: NDArray[np.float32]) -> Self:
        """Return the scaling of training rows; a feature that is constant or always missing becomes 0."""
        logs = signed_log(rows)
        is_present = ~np.isnan(logs)
        count = np.maximum(is_present.sum(axis=0), 1)
        mean = np.where(is_present, logs, 0.0).sum(axis=0) / count
        deviation = np.sqrt((np.where(is_present, logs - mean, 0.0) ** 2).sum(axis=0) / count)
        tells = np.asarray(is_present.any(axis=0) & ~is_present.all(axis=0), np.float64)
        return cls(mean, np.where(deviation > 1e-9, deviation, np.inf), tells)

    def inputs(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the network's inputs, shape [n, 2 * features]: scaled logarithms, then whether each is missing."""
        missing = np.isnan(rows)
        scaled = np.clip((signed_log(rows) - self.mean) / self.deviation, -FARTHEST, FARTHEST)
        return np.concatenate([np.where(missing, 0.0, scaled), missing * self.tells], axis=1)


def signed_log(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return log(1 + |x|) with x's sign; NaN stays NaN."""
    values = rows.astype(np.float64)
    logs: NDArray[np.float64] = np.sign(values) * np.log(1 + np.abs(values))
    return logs


@dataclass(frozen=True)
class Network:
    """Layers of shape [inputs, outputs] with a bias each, ReLU between them; the last has one output, the score.

    A linear model is a network of one layer. `reference` is the mean of the training inputs, shape [2 * features], to
    which contributions are relative.
    """

    scaling: Scaling
    weights: tuple[NDArray[np.float64], ...]
    biases: tuple[NDArray[np.float64], ...]
    reference: NDArray[np.float64]

    def score(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the scores, shape [n], of rows of shape [n, features]."""
        return self._levels(self.scaling.inputs(rows))[-1][:, 0]

    def base(self) -> float:
        """Return the score of `reference`."""
        return float(self._levels(self.reference[None, :])[-1][0, 0])

    def shares(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return each feature's contribution, shape [n, features]; a row's contributions sum to score - base.

        By DeepLIFT's rescale rule (Shrikumar et al., 2017): a ReLU passes on the ratio of the difference from the
        reference after it to the difference before it. For one layer, a contribution is weight times difference.
        """
        inputs = self.scaling.inputs(rows)
        levels, references = self._levels(inputs), self._levels(self.reference[None, :])
        multipliers = np.broadcast_to(self.weights[-1][:, 0], (len(rows), len(self.weights[-1])))
        for layer in range(len(self.weights) - 2, -1, -1):
            before = levels[layer] - references[layer]
            after = np.maximum(levels[layer], 0) - np.maximum(references[layer], 0)
            is_small = np.abs(before) < 1e-12
            ratio = np.where(is_small, levels[layer] > 0, after / np.where(is_small, 1.0, before))
            multipliers = (multipliers * ratio) @ self.weights[layer].T
        shares = multipliers * (inputs - self.reference)
        width = rows.shape[1]
        combined: NDArray[np.float64] = shares[:, :width] + shares[:, width:]
        return combined

    def _levels(self, inputs: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Return each layer's output before its ReLU."""
        levels = []
        for weights, bias in zip(self.weights, self.biases, strict=True):
            levels.append(inputs @ weights + bias)
            inputs = np.maximum(levels[-1], 0)
        return levels
