"""Choice of an estimator or its parameters by cross-validation over time: evaluation on examples after the training's.

fold 1   learn ├────────┤ gap ├────┤ evaluate
fold 2   learn ├──────────────┤ gap ├────┤ evaluate
fold 3   learn ├────────────────────┤ gap ├────┤ evaluate
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from data.errors import TrainingError
from model.estimators.base import Library
from model.estimators.catalogue import CHOICE, ESTIMATORS, fit_estimator
from model.examples.training_set import TrainingSet

__all__ = ["Fold", "compare_estimators", "cross_validate", "sampled", "time_folds", "tune", "usable_folds"]

_FOLDS = 3
_FIRST_SHARE = 0.4
_MOST_ROWS = 20_000
_MOST_ROWS_OF_CHOICE = 10_000
_LEAST_ROWS = 30

Progress = Callable[[str], None]


class Fold(NamedTuple):
    """Indices of training examples, and of later evaluation examples."""

    learn: NDArray[np.int64]
    judge: NDArray[np.int64]


def time_folds(examples: TrainingSet, rows: NDArray[np.int64], horizon_us: int, *, seed: int) -> list[Fold]:
    """Return the `usable_folds`. Raises `TrainingError` if there are none."""
    folds = usable_folds(examples, rows, horizon_us, seed=seed)
    if not folds:
        raise TrainingError(
            f"cross-validation: no part of the {len(rows)} examples to learn from has both answers before and after "
            "it; bring a longer history, or name an estimator and do not tune"
        )
    return folds


def usable_folds(examples: TrainingSet, rows: NDArray[np.int64], horizon_us: int, *, seed: int) -> list[Fold]:
    """Return folds of the examples at `rows`, ascending in time; the gap is a horizon, at most a fifth of the period.

    A fold holds at most 20,000 training and as many evaluation examples, sampled by `seed`, and both classes in each.
    """
    random = np.random.default_rng(seed)
    times = examples.times_us[rows]
    first, last = int(times[0]), int(times[-1]) + 1
    gap = min(horizon_us, (last - first) // 5)
    edges = first + np.linspace(_FIRST_SHARE, 1.0, _FOLDS + 1) * (last - first)
    folds = []
    for start, end in pairwise(edges):
        fold = Fold(
            sampled(rows[times < start - gap], random),
            sampled(rows[(times >= start) & (times < end)], random),
        )
        if all(_usable(examples.labels[side]) for side in fold):
            folds.append(fold)
    return folds


def cross_validate(
    examples: TrainingSet, folds: list[Fold], name: str, parameters: Mapping[str, Any], *, seed: int
) -> float:
    """Return the mean PR AUC over the folds, each divided by its base rate, so that rare positives weigh no less."""
    ratios = []
    for fold in folds:
        learn = fold.learn
        estimator = fit_estimator(name, seed, parameters, examples.rows[learn], examples.labels[learn])
        labels = examples.labels[fold.judge]
        ratios.append(average_precision_score(labels, estimator.score(examples.rows[fold.judge])) / labels.mean())
    return float(np.mean(ratios))


def compare_estimators(examples: TrainingSet, folds: list[Fold], *, seed: int, progress: Progress) -> dict[str, float]:
    """Return `cross_validate` of each estimator in `CHOICE`, best first, on at most 10,000 examples per fold."""
    random = np.random.default_rng(seed)
    sampled_folds = [Fold(*(sampled(side, random, _MOST_ROWS_OF_CHOICE) for side in fold)) for fold in folds]
    values: dict[str, float] = {}
    for name in CHOICE:
        values[name] = cross_validate(examples, sampled_folds, name, {}, seed=seed)
        progress(
            f"cross-validation over {len(folds)} periods: {name} has {values[name]:.3f} times the PR AUC of chance"
        )
    return dict(sorted(values.items(), key=lambda item: -item[1]))


def tune(
    examples: TrainingSet,
    folds: list[Fold],
    name: str,
    fixed: Mapping[str, Any],
    *,
    trials: int,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Return the best of `trials` parameter sets that Optuna tries, the first being the defaults; `fixed` ones stay.

    Raises `ConfigurationError` if Optuna is not installed.
    """
    Library("optuna", extra="tune").require("--tune")
    import optuna  # noqa: PLC0415 - see above

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    space = ESTIMATORS[name].space

    def attempt(trial: Any) -> float:
        tried = (
            {parameter: bounds.draw(trial, parameter) for parameter, bounds in space.items()} if trial.number else {}
        )
        parameters = {**tried, **fixed}
        trial.set_user_attr("parameters", parameters)
        value = cross_validate(examples, folds, name, parameters, seed=seed)
        progress(f"trial {trial.number + 1} of {trials}: {value:.3f} times the PR AUC of chance")
        return value

    study.optimize(attempt, n_trials=trials)
    best: dict[str, Any] = study.best_trial.user_attrs["parameters"]
    return best


def sampled(places: NDArray[np.int64], random: np.random.Generator, most: int = _MOST_ROWS) -> NDArray[np.int64]:
    """Return the indices, or where there are more, a random `most` of them, in ascending order."""
    return places if len(places) <= most else np.sort(random.choice(places, most, replace=False))


def _usable(labels: NDArray[np.int64]) -> bool:
    return len(labels) >= _LEAST_ROWS and 0 < labels.sum() < len(labels)
