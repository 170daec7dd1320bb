"""Folds keep to time, and cross-validation finds the better estimator and the better parameters."""

import importlib.util
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from data.errors import ConfigurationError, TrainingError
from data.units import DAY_US
from model.estimators.catalogue import BASELINE, CHOICE
from model.examples.training_set import TrainingSet
from model.targets import REPEAT_PURCHASE
from model.training.train import TrainOptions, train
from model.training.tuning import compare_estimators, cross_validate, time_folds, tune

pytestmark = pytest.mark.integration  # it trains models for seconds


def examples(rows: int = 1500) -> TrainingSet:
    """A straight line in the logarithm, which trees can only climb in steps."""
    random = np.random.default_rng(0)
    values = random.lognormal(sigma=2, size=(rows, 4)).astype(np.float32)
    signal = np.log1p(values) @ [1, -1, 0.5, 0] + random.normal(size=rows)
    times = np.sort(random.integers(0, 300 * DAY_US, rows))
    return TrainingSet(("a", "b", "c", "d"), values, (signal > 1.5).astype(np.int64), times, rows)


def test_folds_learn_from_the_past_a_horizon_apart() -> None:
    found = examples()
    folds = time_folds(found, np.arange(1500), 30 * DAY_US, seed=0)
    assert len(folds) == 3
    for fold in folds:
        assert found.times_us[fold.learn].max() + 30 * DAY_US <= found.times_us[fold.judge].min()
    for before, after in pairwise(folds):
        assert len(before.learn) < len(after.learn)
        assert before.judge.max() < after.judge.min()


def test_one_class_cannot_be_folded() -> None:
    found = examples()
    with pytest.raises(TrainingError, match="no part of the 1500 examples"):
        time_folds(replace(found, labels=np.zeros(1500, np.int64)), np.arange(1500), DAY_US, seed=0)


@pytest.mark.long
def test_auto_takes_the_best_and_shows_the_forest_beside_it() -> None:
    heard: list[str] = []
    found = examples()
    artifact = train(
        found, REPEAT_PURCHASE, feature_plan="p", options=TrainOptions(estimator="auto"), progress=heard.append
    )
    known = artifact.metadata
    assert known.estimator == "logistic_regression" == next(iter(known.choice))
    assert set(known.choice) == set(CHOICE)
    assert list(known.choice.values()) == sorted(known.choice.values(), reverse=True)
    assert sum("cross-validation over 3 periods" in line for line in heard) == len(CHOICE)
    folds = time_folds(found, np.arange(1000), REPEAT_PURCHASE.horizon_us, seed=0)
    assert next(iter(compare_estimators(found, folds, seed=0, progress=heard.append))) == "logistic_regression"
    forest = train(found, REPEAT_PURCHASE, feature_plan="p").metadata
    assert forest.choice == {}
    assert BASELINE not in forest.baselines
    for metric in ("roc_auc", "pr_auc", "brier", "f1"):
        own = getattr(forest.metrics["test"], metric)
        assert getattr(known.baselines[BASELINE], metric) == pytest.approx(own, abs=1e-6)
    assert known.evaluation is not None
    assert "model over random_forest" in known.evaluation.intervals


@pytest.mark.long
def test_the_learning_curve_ends_with_the_model() -> None:
    known = train(examples(), REPEAT_PURCHASE, feature_plan="p").metadata
    assert known.evaluation is not None
    points = known.evaluation.learning
    assert [point.rows for point in points] == sorted(point.rows for point in points)
    assert points[-1].rows == known.parts["train"].rows > points[0].rows >= 200
    assert points[-1].roc_auc == pytest.approx(known.metrics["test"].roc_auc, abs=1e-6)
    assert points[0].days < points[-1].days


def test_tuning_is_never_worse_than_the_defaults_and_repeats_itself() -> None:
    pytest.importorskip("optuna")
    found = examples()
    folds = time_folds(found, np.arange(1500), 30 * DAY_US, seed=0)
    heard: list[str] = []
    options: Any = {"trials": 4, "seed": 1, "progress": heard.append}
    best = tune(found, folds, "logistic_regression", {"max_iter": 400}, **options)
    assert best == tune(found, folds, "logistic_regression", {"max_iter": 400}, **options)
    assert best["max_iter"] == 400
    scores = [cross_validate(found, folds, "logistic_regression", parameters, seed=1) for parameters in ({}, best)]
    assert scores[1] >= scores[0] - 1e-12
    assert len(heard) == 8
    assert heard[3].startswith("trial 4 of 4")


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"^--tune: .*not installed; install the extra.*\[tune\]"):
        tune(examples(), [], "random_forest", {}, trials=1, seed=0, progress=print)
