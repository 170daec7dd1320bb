"""The threshold that turns a probability into a decision, chosen by a policy.

f1                      the highest F1 (the default)
precision=0.6           the highest recall at a precision of at least 0.6
recall=0.99             the highest precision at a recall of at least 0.99
cost=0,1,5,0            the least cost, for true negative, false positive, false negative, true positive
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from data.errors import ConfigurationError

__all__ = ["ThresholdPolicy"]


@dataclass(frozen=True, slots=True)
class ThresholdPolicy:
    """The rule by which a threshold is chosen: a `kind` and its numbers."""

    kind: str = "f1"
    numbers: tuple[float, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a policy, such as `precision=0.6`. Raises ConfigurationError for anything else."""
        kind, _, rest = text.strip().partition("=")
        try:
            numbers = tuple(float(number) for number in rest.split(",")) if rest else ()
        except ValueError:
            numbers = (float("nan"),)
        shares = len(numbers) == 1 and 0 < numbers[0] <= 1
        costs = len(numbers) == 4 and all(np.isfinite(numbers))
        if (kind == "f1" and not rest) or (kind in {"precision", "recall"} and shares) or (kind == "cost" and costs):
            return cls(kind, numbers)
        raise ConfigurationError(
            f"threshold {text!r} is no policy; give f1, precision=0.6, recall=0.99, or the costs of a true negative, "
            "false positive, false negative and true positive: cost=0,1,5,0"
        )

    def __str__(self) -> str:
        return self.kind + ("=" + ",".join(f"{number:g}" for number in self.numbers) if self.numbers else "")

    def choose(self, labels: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
        """Return the threshold for labels and scores of shape [n] with both classes; the lowest of equally good ones.

        If no threshold reaches the required precision, the one with the highest precision is chosen.
        """
        values, yes, true = _counts(labels, scores)
        return float(values[int(np.argmax(_WORTH[self.kind](yes, true, labels, self.numbers)))])


_Whole = NDArray[np.int64]


def _counts(labels: _Whole, scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], _Whole, _Whole]:
    """Return the distinct scores, ascending, and for each the numbers of examples and of 1s at or above it."""
    values, first = np.unique(np.sort(scores), return_index=True)
    ones = np.append(np.cumsum(labels[np.argsort(scores, kind="stable")][::-1])[::-1], 0)
    return values, len(scores) - first, ones[first]


def _f1(yes: _Whole, true: _Whole, labels: _Whole, _: tuple[float, ...]) -> NDArray[np.float64]:
    return np.asarray(2 * true / (yes + labels.sum()))


def _recall_at_precision(yes: _Whole, true: _Whole, _: _Whole, numbers: tuple[float, ...]) -> NDArray[np.float64]:
    precision = true / yes
    return np.where(precision >= numbers[0], 1.0 + true, precision)


def _precision_at_recall(yes: _Whole, true: _Whole, labels: _Whole, numbers: tuple[float, ...]) -> NDArray[np.float64]:
    return np.where(true >= numbers[0] * labels.sum(), true / yes, -1.0)


def _saving(yes: _Whole, true: _Whole, labels: _Whole, numbers: tuple[float, ...]) -> NDArray[np.float64]:
    true_negative, false_positive, false_negative, true_positive = numbers
    missed = labels.sum() - true
    spared = len(labels) - yes - missed
    cost = true_negative * spared + false_positive * (yes - true) + false_negative * missed + true_positive * true
    return np.asarray(-cost, np.float64)


_WORTH: dict[str, Callable[[_Whole, _Whole, _Whole, tuple[float, ...]], NDArray[np.float64]]] = {
    "f1": _f1,
    "precision": _recall_at_precision,
    "recall": _precision_at_recall,
    "cost": _saving,
}
