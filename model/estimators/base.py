"""What every estimator is: parameters with defaults and ranges, a fit, a score that is a sum, and its numbers."""

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
"""1 (yes) or 0 of each example, shape [n]."""

Scores = NDArray[np.float64]
"""Real numbers, shape [n]; the higher, the likelier a yes."""


@dataclass(frozen=True)
class Library:
    """A package by its import name, and the extra of encore-features that installs it (None: always installed)."""

    module: str
    extra: str | None = None

    def installed(self) -> bool:
        """Whether it can be imported."""
        return self.extra is None or importlib.util.find_spec(self.module) is not None

    def version(self) -> str:
        """The version installed, as the package says (XGBoost comes by several names)."""
        return str(importlib.import_module(self.module).__version__)

    def require(self, what: str) -> None:
        """Raise `MissingExtraError`, naming `what` needs it and the extra, where it is not installed."""
        if not self.installed():
            raise MissingExtraError(f"{what}: the library {self.module} is not installed", self.extra or self.module)


SCIKIT_LEARN = Library("sklearn")


@dataclass(frozen=True)
class Range:
    """Values of one parameter to search, both ends included, by their logarithm unless `log` is False."""

    low: float
    high: float
    log: bool = True
    whole: bool = False

    def draw(self, trial: Any, name: str) -> float:
        """The value of parameter `name` in an Optuna trial."""
        if self.whole:
            return int(trial.suggest_int(name, int(self.low), int(self.high), log=self.log))
        return float(trial.suggest_float(name, self.low, self.high, log=self.log))


class Estimator(Protocol):
    """One way to learn. Constructing it imports `library`.

    A rare class is left to the calibration and the threshold. The linear model, the network and the boosted trees weigh
    the two classes alike in learning; the forest does not: its leaves are large, and weighing made it rank worse.
    """

    name: ClassVar[str]
    library: ClassVar[Library]
    defaults: ClassVar[Mapping[str, Any]]
    space: ClassVar[Mapping[str, Range]]
    """The ranges that tuning searches; other parameters stay at their defaults."""

    parameters: Mapping[str, Any]

    def __init__(self, seed: int, parameters: Mapping[str, Any]) -> None:
        """`parameters` hold every default or what replaces it; raises `TypeError` for one that does not exist."""

    def fit(self, rows: Rows, labels: Labels) -> Self:
        """Learn from examples of both classes; itself."""

    def score(self, rows: Rows) -> Scores:
        """The scores that the library itself gives."""

    def numbers(self) -> Trees | Network | Blend:
        """What was learned, as numbers that score the same."""


def fit_quietly(model: Any, *data: Any, **options: Any) -> None:
    """Fit a scikit-learn model whose `max_iter` may end before the optimum, which is a way not to overfit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(*data, **options)
