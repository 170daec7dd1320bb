"""Evaluation of a trained model on its test split, compared with baselines, and by segment."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.artifact.predictor import Scorer
from model.evaluation.evaluation import (
    MIN_SEGMENT_ROWS,
    bootstrap,
    confusion_at,
    curves_of,
    evaluate,
    lift_by_decile,
    segments_of,
)
from model.evaluation.ranking import roc_auc
from model.evaluation.threshold import ThresholdPolicy
from model.examples.training_set import TrainingSet
from model.metrics import Decision, Evaluation, Metrics

__all__ = ["Verdict", "judge", "permutation_importances"]

PURCHASE_COUNT = "user_product_purchase_count"
REPEAT_RATE = "user_repeat_rate"

_REPEATS, _PURCHASES = "user_repeat_purchase_count", "user_purchase_count"
_AGE, _NEW_DAYS = "user_days_since_first_event", 30.0
_PRICE = "product_avg_transaction_amount"
_MOST_CLASSES = 12

_RESAMPLES = 200
_PERMUTED_ROWS = 1_000

Rows = Mapping[str, NDArray[np.int64]]
"""Indices of the examples of `train`, `validation`, `test` and `later`."""


class Verdict(NamedTuple):
    """The results; see `Metadata` and `Evaluation`."""

    threshold: float
    metrics: dict[str, Metrics]
    baselines: dict[str, Metrics]
    evaluation: Evaluation


def judge(
    examples: TrainingSet,
    rows: Rows,
    scorer: Scorer,
    policy: ThresholdPolicy,
    *,
    validated: NDArray[np.float64],
    beside: Mapping[str, Mapping[str, NDArray[np.float64]]],
    seed: int,
) -> Verdict:
    """Choose the threshold on validation, then evaluate scores and baselines on the test's questions.

    `validated` are the probabilities, shape [validation], of a model that did not learn from the validation. `beside`
    holds other models' probabilities of `validation` and `test`, by name, which are further baselines.
    """
    labels = {name: examples.labels[places] for name, places in rows.items()}
    scores = {"validation": validated} | {name: scorer.score(examples.rows[rows[name]]) for name in ("test", "later")}
    threshold = policy.choose(labels["validation"], scores["validation"])
    evaluated = [name for name in scores if 0 < labels[name].sum() < len(labels[name])]

    baseline_scores = {**_baselines(examples, rows), **beside}
    thresholds = {
        name: policy.choose(labels["validation"], score["validation"]) for name, score in baseline_scores.items()
    }
    users = rows["test"] if examples.users is None else examples.users[rows["test"]]
    return Verdict(
        threshold,
        {name: evaluate(labels[name], scores[name], threshold) for name in evaluated},
        {
            name: evaluate(
                labels["test"], score["test"], thresholds[name], probabilities=name in {"base_rate", *beside}
            )
            for name, score in baseline_scores.items()
        },
        Evaluation(
            lift=lift_by_decile(labels["test"], scores["test"]),
            confusion=confusion_at(labels["test"], scores["test"], threshold),
            segments={
                kind: segments_of(labels["test"], scores["test"], threshold, names)
                for kind, names in _segments(examples, rows).items()
            },
            intervals=bootstrap(
                labels["test"],
                {"model": scores["test"], **{name: score["test"] for name, score in baseline_scores.items()}},
                users,
                resamples=_RESAMPLES,
                seed=seed,
                versus="model",
            ),
            resamples=_RESAMPLES,
            curves=curves_of(labels["test"], scores["test"]),
            decisions=_decisions(examples, rows, labels, scores, policy),
        ),
    )


def _decisions(
    examples: TrainingSet,
    rows: Rows,
    labels: Mapping[str, NDArray[np.int64]],
    scores: Mapping[str, NDArray[np.float64]],
    policy: ThresholdPolicy,
) -> dict[str, Decision]:
    """Return, for questions asked at once and later, the threshold that the policy chooses for these alone."""
    if examples.later is None:
        return {}
    asked_later, decisions = examples.later[rows["validation"]], {}
    for kind, part, chosen in (("at once", "test", ~asked_later), ("later", "later", asked_later)):
        chosen_labels = labels["validation"][chosen]
        enough = len(chosen_labels) >= MIN_SEGMENT_ROWS and 0 < chosen_labels.sum() < len(chosen_labels)
        if not enough or not 0 < labels[part].sum() < len(labels[part]):
            continue
        threshold = policy.choose(chosen_labels, scores["validation"][chosen])
        decisions[kind] = Decision(threshold=threshold, metrics=evaluate(labels[part], scores[part], threshold))
    return decisions


def permutation_importances(
    examples: TrainingSet, places: NDArray[np.int64], scorer: Scorer, *, seed: int
) -> dict[str, float]:
    """Return the decrease of ROC AUC when a feature is shuffled within a sample of the examples; highest first."""
    random = np.random.default_rng(seed)
    chosen = _sample(examples.labels, places, random)
    rows, labels = examples.rows[chosen], examples.labels[chosen]
    whole = roc_auc(labels, scorer.score(rows))
    order = random.permutation(len(rows))
    falls = {}
    for place, name in enumerate(examples.features):
        shuffled = rows.copy()
        shuffled[:, place] = rows[order, place]
        falls[name] = whole - roc_auc(labels, scorer.score(shuffled))
    return dict(sorted(falls.items(), key=lambda item: -item[1]))


def _sample(labels: NDArray[np.int64], places: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    """Return at most `_PERMUTED_ROWS` examples, the rarer class at most half of them."""
    chosen = []
    for label in (0, 1):
        of_label = places[labels[places] == label]
        chosen.append(random.permutation(of_label)[: _PERMUTED_ROWS // 2])
    return np.sort(np.concatenate(chosen))


def _baselines(examples: TrainingSet, rows: Rows) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return trivial scores of validation and test, each with the sign that ranks the validation better."""
    parts = ("validation", "test")
    base_rate = float(examples.labels[rows["train"]].mean())
    baselines = {"base_rate": {part: np.full(len(rows[part]), base_rate) for part in parts}}
    count = _column(examples, PURCHASE_COUNT)
    if count is not None:
        baselines[PURCHASE_COUNT] = {part: np.nan_to_num(count[rows[part]]) for part in parts}
    repeats, purchases = _column(examples, _REPEATS), _column(examples, _PURCHASES)
    if repeats is not None and purchases is not None:
        rate = np.nan_to_num(repeats) / np.maximum(np.nan_to_num(purchases), 1)
        baselines[REPEAT_RATE] = {part: rate[rows[part]] for part in parts}
    labels = examples.labels[rows["validation"]]
    for scores in baselines.values():
        if roc_auc(labels, scores["validation"]) < 0.5:
            scores.update({part: -scores[part] for part in parts})
    return baselines


def _segments(examples: TrainingSet, rows: Rows) -> dict[str, NDArray[np.str_]]:
    """Return the segments of the test's examples.

    They are by the user's age, by the user's activity in tenths, and by the product's category or else price tier.
    """
    test, segments = rows["test"], {}
    if examples.users is not None:
        segments["activity"] = _activity(examples.users[test])
    age = _column(examples, _AGE)
    if age is not None:
        # NaN: the question is at the time of the user's first event.
        segments["user"] = np.where(np.nan_to_num(age[test]) < _NEW_DAYS, "new", "old")
    if examples.categories is not None:
        test_categories = examples.categories[test]
        names, counts = np.unique(test_categories, return_counts=True)
        largest = names[np.argsort(-counts, kind="stable")][:_MOST_CLASSES]
        segments["product"] = np.where(np.isin(test_categories, largest), test_categories, "other")
    elif (price := _column(examples, _PRICE)) is not None and not np.isnan(price[rows["train"]]).all():
        edges = np.nanquantile(price[rows["train"]], [1 / 3, 2 / 3])
        tier = np.array(["cheap", "middling", "dear"])[np.searchsorted(edges, price[test])]
        segments["product"] = np.where(np.isnan(price[test]), "no price", tier)
    return segments


def _activity(users: NDArray[np.int64]) -> NDArray[np.str_]:
    """Return the activity tenth of each example's user, by the user's number of examples; ties share a tenth."""
    _, owner, counts = np.unique(users, return_inverse=True, return_counts=True)
    edges = np.unique(np.quantile(counts, np.linspace(0.1, 0.9, 9)))
    tenth = np.searchsorted(edges, counts, side="left")
    names = []
    for place in range(len(edges) + 1):
        in_tenth = counts[tenth == place]
        names.append(f"users of {in_tenth.min()} to {in_tenth.max()} questions" if len(in_tenth) else "")
    return np.array(names)[tenth][owner]


def _column(examples: TrainingSet, name: str) -> NDArray[np.float64] | None:
    if name not in examples.features:
        return None
    return examples.rows[:, examples.features.index(name)].astype(np.float64)
