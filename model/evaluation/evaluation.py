"""Metrics of scores against labels, their uncertainty, and curves."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    log_loss,
    precision_recall_curve,
    precision_recall_fscore_support,
    roc_curve,
)

from model.evaluation.ranking import Labels, Ranked, Scores, roc_auc
from model.metrics import Confusion, Curve, Interval, Metrics, Segment

__all__ = [
    "MIN_SEGMENT_ROWS",
    "bootstrap",
    "calibration_error",
    "confusion_at",
    "curves_of",
    "evaluate",
    "lift_by_decile",
    "segments_of",
]

MIN_SEGMENT_ROWS = 50
"""Fewest examples of a segment with metrics; with fewer, they are noise."""

_BINS = 10
_POINTS = 200


def evaluate(labels: Labels, scores: Scores, threshold: float, *, probabilities: bool = True) -> Metrics:
    """Return the metrics of scores against labels, shape [n], of both classes; a score ≥ `threshold` means yes.

    Metrics of probabilities are null unless the scores are `probabilities`.
    """
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, scores >= threshold, average="binary", zero_division=0.0
    )
    return Metrics(
        rows=len(labels),
        base_rate=float(labels.mean()),
        roc_auc=roc_auc(labels, scores),
        pr_auc=float(average_precision_score(labels, scores)),
        precision_at_5pct=_precision_at_top(labels, scores, 0.05),
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        brier=float(np.mean((scores - labels) ** 2)) if probabilities else None,
        ece=calibration_error(labels, scores) if probabilities else None,
        log_loss=float(log_loss(labels, scores)) if probabilities else None,
    )


def calibration_error(labels: Labels, scores: Scores) -> float:
    """Return the expected calibration error: over ten bins of equal counts, the mean of |score - share of yes|."""
    order = np.argsort(scores, kind="stable")
    return _calibration_error(labels[order], scores[order])


def _calibration_error(labels: Labels, scores: Scores) -> float:
    """Return the expected calibration error of ascending scores."""
    bins = min(_BINS, len(labels))
    gaps = [differences.sum() for differences in np.array_split(scores - labels, bins)]
    return float(np.abs(gaps).sum() / len(labels))


def lift_by_decile(labels: Labels, scores: Scores) -> tuple[float, ...]:
    """Return the share of yes in each tenth of the examples, highest scores first, over the base rate."""
    return tuple(float(bin_labels.mean() / labels.mean()) for bin_labels, _ in _bins(labels, scores)[::-1])


def confusion_at(labels: Labels, scores: Scores, threshold: float) -> Confusion:
    """Return the confusion matrix at a threshold; a score ≥ `threshold` is a yes."""
    (tn, fp), (fn, tp) = confusion_matrix(labels, scores >= threshold, labels=[0, 1]).tolist()
    return Confusion(true_negatives=tn, false_positives=fp, false_negatives=fn, true_positives=tp)


def segments_of(labels: Labels, scores: Scores, threshold: float, names: NDArray[np.str_]) -> dict[str, Segment]:
    """Return each segment's metrics; `names`, shape [n], assigns examples to segments."""
    segments = {}
    for name in np.unique(names).tolist():
        segment_labels = labels[names == name]
        enough = len(segment_labels) >= MIN_SEGMENT_ROWS and 0 < segment_labels.sum() < len(segment_labels)
        metrics = evaluate(segment_labels, scores[names == name], threshold) if enough else None
        segments[name] = Segment(rows=len(segment_labels), base_rate=float(segment_labels.mean()), metrics=metrics)
    return segments


def bootstrap(
    labels: Labels,
    scores: Mapping[str, Scores],
    users: NDArray[np.int64],
    *,
    resamples: int,
    seed: int,
    versus: str,
) -> dict[str, dict[str, Interval]]:
    """Return 95 % intervals of ROC AUC and PR AUC by name; for `versus` also of its calibration error and its leads.

    A lead is named `<versus> over <name>`: the interval of the differences within each resample, so that users with
    many examples affect both sides alike.

    `users`, of shape [n] like the labels, are drawn with replacement, each with all of their examples, which are not
    independent. All scores share the same resamples. A resample with one class only is skipped.

    An interval contains its metric: the mean difference of the resamples from the metric is their bias, and subtracted
    (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 10). The bias of a calibration error is the
    largest, since users drawn twice look worse calibrated.
    """
    random = np.random.default_rng(seed)
    owners, owner = np.unique(users, return_inverse=True)
    ranked = {name: Ranked.of(labels, score) for name, score in scores.items()}

    def measured(times: NDArray[np.int64]) -> dict[str, dict[str, float]]:
        """Return every metric with each example weighted by its count in `times`, shape [n]."""
        drawn = {name: ranking.resampled(times) for name, ranking in ranked.items()}
        for name in list(drawn):
            for metric, value in drawn[name].items():
                drawn.setdefault(f"{versus} over {name}", {})[metric] = drawn[versus][metric] - value
        del drawn[f"{versus} over {versus}"]
        order = ranked[versus].order
        order = np.repeat(order, times[order])
        drawn[versus]["ece"] = _calibration_error(labels[order], scores[versus][order])
        return drawn

    resampled: dict[str, dict[str, list[float]]] = {}
    for _ in range(resamples):
        times = np.bincount(random.integers(0, len(owners), len(owners)), minlength=len(owners))[owner]
        if not 0 < times @ labels < times.sum():
            continue
        for name, values in measured(times).items():
            for metric, value in values.items():
                resampled.setdefault(name, {}).setdefault(metric, []).append(value)
    whole = measured(np.ones(len(labels), np.int64))
    return {
        name: {
            metric: _bounds(values, whole[name][metric], least=-1.0 if " over " in name else 0.0)
            for metric, values in by_metric.items()
        }
        for name, by_metric in resampled.items()
    }


def curves_of(labels: Labels, scores: Scores) -> dict[str, Curve]:
    """Return the curves of `Evaluation`, each of at most about 200 points."""
    false_rate, true_rate, _ = roc_curve(labels, scores)
    precision, recall, _ = precision_recall_curve(labels, scores)
    bins = _bins(labels, scores)
    edges = np.linspace(0, max(float(scores.max()), 1e-9), 41)
    middles = (edges[1:] + edges[:-1]) / 2
    return {
        "roc": _curve(false_rate, true_rate),
        "pr": _curve(recall[::-1], precision[::-1]),
        "calibration": _curve(
            np.array([bin_scores.mean() for _, bin_scores in bins]),
            np.array([bin_labels.mean() for bin_labels, _ in bins]),
        ),
        **{
            f"scores_{name}": _curve(middles, np.histogram(scores[labels == label], edges)[0] / (labels == label).sum())
            for label, name in enumerate(("no", "yes"))
        },
    }


def _precision_at_top(labels: Labels, scores: Scores, share: float) -> float:
    """Return the precision among the highest-scoring `share`; examples tied at its boundary count by their mean."""
    many = max(1, round(len(labels) * share))
    last = np.partition(scores, len(scores) - many)[len(scores) - many]
    above, tied = labels[scores > last], labels[scores == last]
    return float((above.sum() + (many - len(above)) * tied.mean()) / many)


def _bins(labels: Labels, scores: Scores) -> list[tuple[Labels, Scores]]:
    """Split labels and scores into ten bins of equal counts, lowest scores first; fewer bins for few examples."""
    order = np.argsort(scores, kind="stable")
    places = np.array_split(order, min(_BINS, len(labels)))
    return [(labels[place], scores[place]) for place in places]


def _bounds(values: list[float], point: float, *, least: float) -> Interval:
    """Return the 95 % interval of `point`, with the resampled `values`, clipped to `least` and 1."""
    low, high = np.quantile(values, [0.025, 0.975]) - np.mean(values) + point
    return (max(least, min(float(low), point)), min(1.0, max(float(high), point)))


def _curve(x: NDArray[np.float64], y: NDArray[np.float64]) -> Curve:
    places = np.unique(np.linspace(0, len(x) - 1, min(len(x), _POINTS)).round().astype(int))
    return Curve(x=x[places].tolist(), y=y[places].tolist())
