"""The metrics of a model, as data that is stored with it, served and plotted."""

import msgspec

__all__ = [
    "METRIC_NAMES",
    "Confusion",
    "Curve",
    "Decision",
    "Evaluation",
    "Histogram",
    "Interval",
    "LearningPoint",
    "Metrics",
    "Segment",
]

METRIC_NAMES = {
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "precision_at_5pct": "precision at 5 %",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "brier": "Brier score",
    "ece": "calibration error",
    "log_loss": "log loss",
}
"""Display names of the metrics of `Metrics`. Of the last three, lower is better."""

Interval = tuple[float, float]
"""A 95 % interval, from resampling: its lower and upper bound."""


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """Quality of scores in ranking, decisions and probabilities, on `rows` examples with a share `base_rate` of yes.

    `precision`, `recall` and `f1` are at the model's threshold, `precision_at_5pct` among the highest-scoring twentieth
    of the examples. `brier`, `log_loss` (nats) and `ece`, the expected calibration error over ten bins of equal counts
    (Naeini et al., 2015), are null if scores are not probabilities.
    """

    rows: int
    base_rate: float
    roc_auc: float
    pr_auc: float
    precision_at_5pct: float
    precision: float
    recall: float
    f1: float
    brier: float | None
    ece: float | None
    log_loss: float | None


class Confusion(msgspec.Struct, frozen=True, kw_only=True):
    """The confusion matrix at the threshold, in examples."""

    true_negatives: int
    false_positives: int
    false_negatives: int
    true_positives: int


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A segment of the test's examples; `metrics` is null if it has too few, or one class only."""

    rows: int
    base_rate: float
    metrics: Metrics | None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold for one kind of questions, chosen on those of the validation, and metrics of the test's at it."""

    threshold: float
    metrics: Metrics


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """The points of a curve."""

    x: list[float]
    y: list[float]


class LearningPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Ranking metrics of the test after learning from the newest `rows` examples, of `days` days."""

    days: float
    rows: int
    roc_auc: float
    pr_auc: float


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """Results on the test beyond its metrics.

    `lift` is the share of yes in each tenth of the examples, highest scores first, over the base rate. `segments` are
    by kind and name. `intervals` are by `model`, baseline, and `model over <baseline>` (its lead), then by metric, from
    `resamples` of the test's users with replacement (a user's examples stay together). `curves` are `roc`, `pr`,
    `calibration`, `scores_no`, `scores_yes`. `learning` is the learning curve, the shortest history first. `decisions`
    are by when a question is asked, `at once` (at its trigger) or `later`, if the validation has enough of the kind.
    """

    lift: tuple[float, ...]
    confusion: Confusion
    segments: dict[str, dict[str, Segment]]
    intervals: dict[str, dict[str, Interval]]
    resamples: int
    curves: dict[str, Curve]
    learning: list[LearningPoint] = []
    decisions: dict[str, Decision] = {}


class Histogram(msgspec.Struct, frozen=True):
    """Shares of a feature's values in the bins (-inf, edges[0]], ..., (edges[-1], inf), missing.

    `moved`: the population stability index of these values against the earlier half; 0 if unknown.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    moved: float = 0.0
