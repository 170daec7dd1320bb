"""Folds keep to time, and cross-validation finds the better estimator and the better parameters."""

import importlib.util
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from data.errors import ConfigurationError, TrainingError
from data.units import DAY_US
from model.examples.training_set import TrainingSet
from model.targets import REPEAT_PURCHASE
from model.training import tuning
from model.training.train import TrainOptions, train
from model.training.tuning import choose_estimator, cross_validate, time_folds, tune


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


def test_auto_takes_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "available_estimators", lambda: ["random_forest", "logistic_regression"])
    heard: list[str] = []
    found = examples()
    artifact = train(
        found, REPEAT_PURCHASE, feature_plan="p", options=TrainOptions(estimator="auto"), progress=heard.append
    )
    assert artifact.metadata.estimator == "logistic_regression"
    assert sum("cross-validation over 3 periods" in line for line in heard) == 2
    folds = time_folds(found, np.arange(1000), REPEAT_PURCHASE.horizon_us, seed=0)
    assert choose_estimator(found, folds, seed=0, progress=heard.append) == "logistic_regression"


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
