"""An estimator that adds the scores of a forest and a linear model, whose strengths are complementary."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from model.estimators.base import SCIKIT_LEARN, Labels, Library, Range, Rows, Scores
from model.estimators.forest import RandomForest
from model.estimators.logistic import LogisticRegression
from model.numbers.blend import Blend

__all__ = ["ForestAndLine"]


class ForestAndLine:
    """The sum of the scores of a forest and a linear model, each with its own defaults.

    The forest's evidence, which `RandomForest` shrinks, is multiplied by `forest_weight`.
    """

    name: ClassVar[str] = "blend"
    library: ClassVar[Library] = SCIKIT_LEARN
    defaults: ClassVar[Mapping[str, Any]] = {"forest_weight": 2.0}
    space: ClassVar[Mapping[str, Range]] = {"forest_weight": Range(0.1, 10)}

    def __init__(self, seed: int, parameters: Mapping[str, Any]) -> None:
        if unknown := sorted(parameters.keys() - self.defaults.keys()):
            raise TypeError(f"it has no parameter {', '.join(unknown)}")
        self.parameters = parameters
        self._weight = float(parameters["forest_weight"])
        self._forest = RandomForest(seed, RandomForest.defaults)
        self._line = LogisticRegression(seed, LogisticRegression.defaults)

    def fit(self, rows: Rows, labels: Labels) -> Self:
        """Fit both; see `Estimator`."""
        self._forest.fit(rows, labels)
        self._line.fit(rows, labels)
        return self

    def score(self, rows: Rows) -> Scores:
        """Return the weighted sum of both scores; see `Estimator`."""
        return self._weight * self._forest.score(rows) + self._line.score(rows)

    def numbers(self) -> Blend:
        """Return both as numbers; see `Estimator`."""
        return Blend(self._forest.numbers().times(self._weight), self._line.numbers())
