"""The interface of all estimators: parameters with defaults and ranges, fit, score, and the learned numbers."""

import importlib
import importlib.util
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from data.errors import MissingExtraError
from model.numbers.blend import Blend
from model.numbers.network import Network
from model.numbers.trees import Trees

__all__ = ["SCIKIT_LEARN", "Estimator", "Labels", "Library", "Range", "Rows", "Scores", "fit_quietly"]

Rows = NDArray[np.float32]
"""Features of examples, shape [n, features]; NaN is missing."""

Labels = NDArray[np.int64]
"""Labels of examples, 1 (yes) or 0, shape [n]."""

Scores = NDArray[np.float64]
"""Scores of examples, real numbers, shape [n]; higher means more likely yes."""


@dataclass(frozen=True)
class Library:
    """A package by its import name, and this project's extra that installs it (None: always installed)."""

    module: str
    extra: str | None = None

    def installed(self) -> bool:
        """Return whether it can be imported."""
        return self.extra is None or importlib.util.find_spec(self.module) is not None

    def version(self) -> str:
        """Return the installed version, from the module itself, since XGBoost is distributed under several names."""
        return str(importlib.import_module(self.module).__version__)

    def require(self, what: str) -> None:
        """Raise `MissingExtraError`, naming the extra and `what` needs it, if it is not installed."""
        if not self.installed():
            raise MissingExtraError(f"{what}: the library {self.module} is not installed", self.extra or self.module)


SCIKIT_LEARN = Library("sklearn")


@dataclass(frozen=True)
class Range:
    """The search range of one parameter, both ends included, on a log scale unless `log` is False."""

    low: float
    high: float
    log: bool = True
    whole: bool = False

    def draw(self, trial: Any, name: str) -> float:
        """Return the value of parameter `name` in an Optuna trial."""
        if self.whole:
            return int(trial.suggest_int(name, int(self.low), int(self.high), log=self.log))
        return float(trial.suggest_float(name, self.low, self.high, log=self.log))


class Estimator(Protocol):
    """A learning algorithm. Constructing it imports `library`.

    Class imbalance is corrected by the calibration and the threshold. Weighing the classes equally in learning made
    most estimators rank worse; only the network does (ADR 147).
    """

    name: ClassVar[str]
    library: ClassVar[Library]
    defaults: ClassVar[Mapping[str, Any]]
    space: ClassVar[Mapping[str, Range]]
    """The ranges that tuning searches; other parameters stay at their defaults."""

    parameters: Mapping[str, Any]

    def __init__(self, seed: int, parameters: Mapping[str, Any]) -> None:
        """Construct with `parameters`, which hold every default or its replacement.

        Raises `TypeError` for an unknown one.
        """

    def fit(self, rows: Rows, labels: Labels) -> Self:
        """Learn from examples of both classes; return self."""

    def score(self, rows: Rows) -> Scores:
        """Return the library's own scores, shape [n]."""

    def numbers(self) -> Trees | Network | Blend:
        """Return the learned model as numbers with the same scores."""


def fit_quietly(model: Any, *data: Any, **options: Any) -> None:
    """Fit a scikit-learn model without its warning that `max_iter` was reached, since early stopping regularizes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(*data, **options)
