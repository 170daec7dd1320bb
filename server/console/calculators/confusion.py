"""A threshold's consequences: a confusion matrix from a report's score distribution, and its expected profit."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Confusion", "Payoffs", "Scores", "best_threshold", "scores_of"]


class Payoffs(NamedTuple):
    """What one customer of each outcome brings (or costs, below 0), in the shop's currency."""

    true_positive: float
    false_positive: float
    false_negative: float
    true_negative: float


class Confusion(NamedTuple):
    """The confusion matrix, in examples."""

    true_positives: float
    false_positives: float
    false_negatives: float
    true_negatives: float

    @property
    def precision(self) -> float | None:
        """Precision; None if nothing was predicted yes."""
        decided = self.true_positives + self.false_positives
        return self.true_positives / decided if decided else None

    @property
    def recall(self) -> float | None:
        """Recall; None if there is no yes."""
        positives = self.true_positives + self.false_negatives
        return self.true_positives / positives if positives else None

    def profit(self, payoffs: Payoffs) -> float:
        """Return the expected profit over all examples (Elkan 2001, The foundations of cost-sensitive learning)."""
        return sum(count * payoff for count, payoff in zip(self, payoffs, strict=True))


class Scores(NamedTuple):
    """The distribution of a test's scores: middles of equal bins, each class's share in each, and class sizes."""

    middles: Sequence[float]
    yes: Sequence[float]
    no: Sequence[float]
    count_yes: float
    count_no: float

    @property
    def edges(self) -> list[float]:
        """Thresholds at which the counts are exact: the bins' edges."""
        half = (self.middles[1] - self.middles[0]) / 2 if len(self.middles) > 1 else self.middles[0]
        return [round(middle - half, 9) for middle in self.middles]

    def at(self, threshold: float) -> Confusion:
        """Return the matrix if scores at or above the threshold mean yes."""
        above = [middle >= threshold for middle in self.middles]
        yes = self.count_yes * sum(share for share, counts in zip(self.yes, above, strict=True) if counts)
        no = self.count_no * sum(share for share, counts in zip(self.no, above, strict=True) if counts)
        return Confusion(yes, no, self.count_yes - yes, self.count_no - no)


def scores_of(report: Mapping[str, Any]) -> Scores | None:
    """Return the score distribution of a version's test; None if its report has none."""
    evaluation, test = report.get("evaluation") or {}, report.get("metrics", {}).get("test", {})
    curves = evaluation.get("curves", {})
    if not {"scores_yes", "scores_no"} <= curves.keys() or "rows" not in test:
        return None
    yes = test["rows"] * test["base_rate"]
    return Scores(
        curves["scores_yes"]["x"], curves["scores_yes"]["y"], curves["scores_no"]["y"], yes, test["rows"] - yes
    )


def best_threshold(scores: Scores, payoffs: Payoffs) -> float:
    """Return the threshold with the highest expected profit: the lowest of several."""
    return max(scores.edges, key=lambda edge: (scores.at(edge).profit(payoffs), -edge))
