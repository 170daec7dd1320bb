"""Choose an estimator or its parameters by cross-validation over time: learn from the past, evaluate on what follows.

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
from model.estimators.catalogue import CHOICE, ESTIMATORS, make_estimator
from model.examples.training_set import TrainingSet

__all__ = ["Fold", "compare_estimators", "cross_validate", "time_folds", "tune", "usable_folds"]

_FOLDS = 3
_FIRST_SHARE = 0.4
_MOST_ROWS = 20_000
_MOST_ROWS_OF_CHOICE = 10_000
_LEAST_ROWS = 30

Progress = Callable[[str], None]


class Fold(NamedTuple):
    """Indices of examples to learn from, and of later ones to evaluate on."""

    learn: NDArray[np.int64]
    judge: NDArray[np.int64]


def time_folds(examples: TrainingSet, rows: NDArray[np.int64], horizon_us: int, *, seed: int) -> list[Fold]:
    """Return the `usable_folds`. Raises `TrainingError` where there is none."""
    folds = usable_folds(examples, rows, horizon_us, seed=seed)
    if not folds:
        raise TrainingError(
            f"cross-validation: no part of the {len(rows)} examples to learn from has both answers before and after "
            "it; bring a longer history, or name an estimator and do not tune"
        )
    return folds


def usable_folds(examples: TrainingSet, rows: NDArray[np.int64], horizon_us: int, *, seed: int) -> list[Fold]:
    """Return folds of the examples at `rows`, which ascend in time; the gap is a horizon, at most a fifth of the time.

    A fold holds at most 20,000 examples to learn from and as many to evaluate on, drawn by `seed`, and both answers on
    both sides.
    """
    random = np.random.default_rng(seed)
    times = examples.times_us[rows]
    first, last = int(times[0]), int(times[-1]) + 1
    gap = min(horizon_us, (last - first) // 5)
    edges = first + np.linspace(_FIRST_SHARE, 1.0, _FOLDS + 1) * (last - first)
    folds = []
    for start, end in pairwise(edges):
        fold = Fold(
            _some(rows[times < start - gap], random),
            _some(rows[(times >= start) & (times < end)], random),
        )
        if all(_usable(examples.labels[side]) for side in fold):
            folds.append(fold)
    return folds


def cross_validate(
    examples: TrainingSet, folds: list[Fold], name: str, parameters: Mapping[str, Any], *, seed: int
) -> float:
    """Return the mean PR AUC over the folds, each relative to its base rate, so that rare positives weigh no less."""
    found = []
    for fold in folds:
        estimator = make_estimator(name, seed, parameters).fit(examples.rows[fold.learn], examples.labels[fold.learn])
        labels = examples.labels[fold.judge]
        found.append(average_precision_score(labels, estimator.score(examples.rows[fold.judge])) / labels.mean())
    return float(np.mean(found))


def compare_estimators(examples: TrainingSet, folds: list[Fold], *, seed: int, progress: Progress) -> dict[str, float]:
    """Return the cross-validation of each estimator of `CHOICE`, the best first, on at most 10,000 examples a fold."""
    random = np.random.default_rng(seed)
    some = [Fold(*(_some(side, random, _MOST_ROWS_OF_CHOICE) for side in fold)) for fold in folds]
    found: dict[str, float] = {}
    for name in CHOICE:
        found[name] = cross_validate(examples, some, name, {}, seed=seed)
        progress(f"cross-validation over {len(folds)} periods: {name} has {found[name]:.3f} times the PR AUC of chance")
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def tune(
    examples: TrainingSet,
    folds: list[Fold],
    name: str,
    given: Mapping[str, Any],
    *,
    trials: int,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Return the best of `trials` parameter sets that Optuna tries, the first being the defaults; `given` ones stay.

    Raises `ConfigurationError` where Optuna is not installed.
    """
    Library("optuna", extra="tune").require("--tune")
    import optuna  # noqa: PLC0415 - see above

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    space = ESTIMATORS[name].space

    def attempt(trial: Any) -> float:
        tried = {each: values.draw(trial, each) for each, values in space.items()} if trial.number else {}
        parameters = {**tried, **given}
        trial.set_user_attr("parameters", parameters)
        value = cross_validate(examples, folds, name, parameters, seed=seed)
        progress(f"trial {trial.number + 1} of {trials}: {value:.3f} times the PR AUC of chance")
        return value

    study.optimize(attempt, n_trials=trials)
    best: dict[str, Any] = study.best_trial.user_attrs["parameters"]
    return best


def _some(places: NDArray[np.int64], random: np.random.Generator, most: int = _MOST_ROWS) -> NDArray[np.int64]:
    return places if len(places) <= most else np.sort(random.choice(places, most, replace=False))


def _usable(labels: NDArray[np.int64]) -> bool:
    return len(labels) >= _LEAST_ROWS and 0 < labels.sum() < len(labels)
