"""What every estimator owes: each test here runs for each entry of the catalogue."""

import importlib.util
import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_info, threadpool_limits

from data.errors import ConfigurationError
from model.artifact.predictor import Scorer
from model.calibration import Calibration
from model.estimators.base import Estimator, Range
from model.estimators.catalogue import AUTO, ESTIMATORS, available_estimators, fit_estimator, make_estimator
from model.numbers.blend import Blend
from model.numbers.calibration import probabilities
from model.numbers.explanation import Explainer, decode_shares, encode_shares, shares_of
from model.numbers.trees import Trees
from model.training.calibrate import fit_sigmoid
from model.training.onnx_export import export_onnx, onnx_bytes

WIDTH = 8
SMALL: dict[str, dict[str, Any]] = {
    "random_forest": {"n_estimators": 20, "min_samples_leaf": 5},
    "hist_gradient_boosting": {"max_iter": 20},
    "mlp": {"max_iter": 4},
    "xgboost": {"n_estimators": 20},
    "lightgbm": {"n_estimators": 20},
}
"""Parameters that make an estimator quick to fit."""


pytestmark = pytest.mark.integration  # each trains a model


@lru_cache
def examples() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Counts and heavy tails with NaN; one column is never there, one constant, one never missing."""
    random = np.random.default_rng(0)
    rows = random.lognormal(size=(1500, WIDTH)).astype(np.float32)
    rows[random.random(rows.shape) < 0.2] = np.nan
    rows[:, 3], rows[:, 4] = np.nan, 1
    rows[:, 5] = random.integers(-3, 4, len(rows))
    signal = np.nan_to_num(rows[:, 0]) - np.nan_to_num(rows[:, 1]) + np.isnan(rows[:, 2]) + 0.3 * rows[:, 5]
    return rows, (signal + random.normal(size=len(rows)) > 1.5).astype(np.int64)


@lru_cache
def fitted(name: str) -> Estimator:
    return fit_estimator(name, 3, SMALL.get(name, {}), *examples())


@lru_cache
def hard_rows(name: str) -> NDArray[np.float32]:
    """Ordinary rows; rows all NaN, zero and huge; and every threshold of the trees with its two neighbours."""
    rows = examples()[0][:300]
    edges = np.array([0.0, 1.0, 1e30, -1e30], np.float32)
    numbers = fitted(name).numbers()
    if isinstance(numbers, Blend):
        numbers = numbers.trees
    if isinstance(numbers, Trees):
        splits = np.unique(numbers.nodes.threshold[numbers.nodes.left >= 0].astype(np.float32))
        splits = splits[np.isfinite(splits) & (np.abs(splits) > 1e-30)]  # LightGBM reads what is below 1e-35 as 0
        edges = np.concatenate([edges, splits])
        edges = np.concatenate(
            [edges, np.nextafter(edges, np.float32(np.inf)), np.nextafter(edges, np.float32(-np.inf))]
        )
    flat = np.repeat(edges[:, None], WIDTH, axis=1)
    holed = np.where(np.random.default_rng(1).random(flat.shape) < 0.4, np.float32(np.nan), flat)
    return np.concatenate([rows, flat, holed, np.full((1, WIDTH), np.nan, np.float32)])


@pytest.fixture(params=ESTIMATORS)
def name(request: pytest.FixtureRequest) -> str:
    """An estimator of the catalogue whose library is installed."""
    if request.param not in available_estimators():
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


def test_it_is_described(name: str) -> None:
    kind = ESTIMATORS[name]
    assert kind.name == name != AUTO
    assert kind.library.version()
    assert make_estimator(name).parameters == kind.defaults
    assert make_estimator(name, 0, SMALL.get(name)).parameters == {**kind.defaults, **SMALL.get(name, {})}


def test_it_ranks_what_it_learned_by_finite_scores(name: str) -> None:
    scores = fitted(name).score(hard_rows(name))
    assert (scores.dtype, scores.shape) == (np.dtype(np.float64), (len(hard_rows(name)),))
    assert np.isfinite(scores).all()
    rows, labels = examples()
    assert roc_auc_score(labels, fitted(name).score(rows)) > 0.7


def test_the_same_seed_gives_the_same_model(name: str) -> None:
    again = fit_estimator(name, 3, SMALL.get(name, {}), *examples())
    calibration = fit_sigmoid(again.score(examples()[0]), examples()[1])
    both = [onnx_bytes(each.numbers(), calibration, WIDTH) for each in (fitted(name), again)]
    assert both[0] == both[1]


def test_it_is_fitted_on_one_thread_of_openmp_and_blas(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind: Any = ESTIMATORS[name]
    fit, threads = kind.fit, list[int]()

    def watched(estimator: Any, *data: Any) -> Any:
        threads.extend(pool["num_threads"] for pool in threadpool_info())
        return fit(estimator, *data)

    monkeypatch.setattr(kind, "fit", watched)
    with threadpool_limits(limits=2):
        fit_estimator(name, 3, SMALL.get(name, {}), *examples())
        after = [pool["num_threads"] for pool in threadpool_info()]
    assert set(threads) == {1}
    assert 2 in after


def test_filters_of_warnings_stay(name: str) -> None:
    """scikit-learn's threads exchange them, nine times in ten where there are many trees."""
    before = list(warnings.filters)
    for _ in range(3):
        estimator = make_estimator(name).fit(*examples())
        assert list(warnings.filters) == before
        estimator.score(examples()[0])
        assert list(warnings.filters) == before


def test_onnx_scores_as_the_library_does(name: str) -> None:
    estimator, rows = fitted(name), hard_rows(name)
    calibration = fit_sigmoid(estimator.score(examples()[0]), examples()[1])
    scores = Scorer(export_onnx(estimator, calibration, rows), WIDTH).score(rows)
    np.testing.assert_allclose(scores, probabilities(calibration, estimator.score(rows)), rtol=0, atol=1e-5)
    assert scores.std() > 0.05


def test_contributions_sum_to_the_log_odds(name: str) -> None:
    numbers = fitted(name).numbers()
    calibration = fit_sigmoid(fitted(name).score(examples()[0]), examples()[1])
    kept = decode_shares(encode_shares(shares_of(numbers)))
    rows = hard_rows(name)[::7]
    scores = Scorer(onnx_bytes(numbers, calibration, WIDTH), WIDTH).score(rows)
    explained = Explainer(kept, calibration).explain(rows)
    log_odds = explained.base + explained.contributions.sum(axis=1)
    near = np.abs(log_odds) < 30
    np.testing.assert_allclose((np.log(scores) - np.log1p(-scores))[near], log_odds[near], rtol=0, atol=1e-6)
    assert near.sum() > 40
    assert np.abs(explained.contributions[:, 4]).max() < 1e-9  # constant in training: it says nothing


def test_from_rows_that_tell_nothing_it_learns_nothing(name: str) -> None:
    """Trees that are a single leaf each, and weights of 0."""
    rows, labels = np.ones((400, 2), np.float32), np.arange(400) % 4 // 3
    estimator = make_estimator(name, 0, SMALL.get(name)).fit(rows, labels)
    scores = Scorer(export_onnx(estimator, Calibration(slope=1.0, intercept=0.0), rows), 2).score(rows)
    np.testing.assert_allclose(scores, scores[0])
    shares = decode_shares(encode_shares(shares_of(estimator.numbers()))).shares(rows)
    np.testing.assert_allclose(shares, 0, atol=1e-12)


class Ends:
    """An Optuna trial that suggests one end of every range."""

    def __init__(self, end: int) -> None:
        self._end = end

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int:
        return (low, high)[self._end]

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        return (low, high)[self._end]


@pytest.mark.parametrize("end", [0, 1])
def test_both_ends_of_the_search_space_are_parameters(name: str, end: int) -> None:
    space = ESTIMATORS[name].space
    drawn = {each: values.draw(Ends(end), each) for each, values in space.items()}
    assert drawn.keys() <= ESTIMATORS[name].defaults.keys()
    assert drawn
    assert [isinstance(drawn[each], int) for each, values in space.items()] == [each.whole for each in space.values()]
    rows, labels = examples()[0][:300], examples()[1][:300]
    assert np.isfinite(make_estimator(name, 0, drawn).fit(rows, labels).score(rows)).all()


def test_a_library_that_is_absent_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    optional = [name for name, kind in ESTIMATORS.items() if kind.library.extra]
    assert available_estimators() == [name for name in ESTIMATORS if name not in optional]
    for name in optional:
        with pytest.raises(
            ConfigurationError, match=rf"^estimator {name}: .*not installed; install the extra.*\[boost\]"
        ):
            make_estimator(name)


def test_a_range_is_drawn_by_its_kind() -> None:
    whole = Range(1, 9, log=False, whole=True).draw(Ends(1), "a")
    assert (whole, type(whole)) == (9, int)
    real = Range(1, 9).draw(Ends(0), "a")
    assert (real, type(real)) == (1.0, float)
