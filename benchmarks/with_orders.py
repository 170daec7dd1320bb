"""Models without and with features of orders, on the same questions."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.plan.groups import names_without
from features.plan.plan import Plan
from model.artifact.predictor import Predictor
from model.evaluation.evaluation import bootstrap, evaluate
from model.examples.training_set import TrainingSet
from model.targets import Target
from model.training.train import TrainOptions, train

ORDERS = ("user.orders", "user_product.orders", "request.orders")
RESAMPLES = 500

Scores = dict[str, dict[str, NDArray[np.float64]]]
"""Of each estimator, `before` and `after`: the scores of all examples."""


def tell(message: str) -> None:
    """Print a step, after the processor time until it."""
    print(f"{time.process_time():7.1f} s  {message}", flush=True)


def score_with_orders(examples: TrainingSet, plan: Plan, target: Target, options: Sequence[TrainOptions]) -> Scores:
    """Return the scores of models of each of the options without (`before`) and with (`after`) features of orders."""
    sides = {"before": _narrowed(examples, names_without(plan, ORDERS)), "after": examples}
    scores: Scores = {option.estimator: {} for option in options}
    for option in options:
        for when, side in sides.items():
            tell(f"  {option.estimator}, {when}")
            predictor = Predictor(train(side, target, feature_plan="", options=option))
            scores[option.estimator][when] = predictor.score(side.rows)
    return scores


def judge_with_orders(
    examples: TrainingSet,
    scores: Scores,
    tested: NDArray[np.int64],
    possible: NDArray[np.float64] | None = None,
) -> dict[str, Any]:
    """Return the metrics of scores on the examples at `tested`, beside the `possible` scores of these if there are any.

    Gains are paired 95 % intervals, over users drawn with replacement.
    """
    labels, users = examples.labels[tested], examples.users
    assert users is not None
    known = {} if possible is None else {"possible": possible}
    result: dict[str, Any] = {"questions": len(labels), "base_rate": float(labels.mean())}
    result |= {name: _metrics(labels, values) for name, values in known.items()}
    for estimator, sides in scores.items():
        ours = {when: values[tested] for when, values in sides.items()}
        intervals = bootstrap(labels, {**known, **ours}, users[tested], resamples=RESAMPLES, seed=0, versus="after")
        result[estimator] = {
            **{when: _metrics(labels, values) for when, values in ours.items()},
            "gain": intervals["after over before"],
            **{f"after_over_{name}": intervals[f"after over {name}"] for name in known},
        }
    return result


def _metrics(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> dict[str, float | None]:
    metrics = evaluate(labels, scores, 0.5)
    return {name: getattr(metrics, name) for name in ("roc_auc", "pr_auc", "precision_at_5pct", "ece")}


def _narrowed(examples: TrainingSet, names: tuple[str, ...]) -> TrainingSet:
    columns = [examples.features.index(name) for name in names]
    return replace(examples, features=names, rows=np.ascontiguousarray(examples.rows[:, columns]))
