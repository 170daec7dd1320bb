"""Every estimator: ONNX scores as its own library does, and explanations sum to the score, NaN and all."""

import importlib.util
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data.errors import ConfigurationError, ModelError
from model.artifact.predictor import Scorer
from model.estimators import estimators
from model.estimators.estimators import ESTIMATORS, Estimator, available_estimators, make_estimator
from model.numbers.blend import Blend
from model.numbers.calibration import fit_sigmoid, probabilities
from model.numbers.explanation import Explainer, decode_shares, encode_shares, shares_of
from model.numbers.network import Network
from model.numbers.tree_shares import TreeShares
from model.numbers.trees import Tree, Trees
from model.training.onnx_export import export_onnx, onnx_bytes

WIDTH = 8
SMALL: dict[str, dict[str, Any]] = {
    "random_forest": {"n_estimators": 20, "min_samples_leaf": 5},
    "hist_gradient_boosting": {"max_iter": 20},
    "logistic_regression": {},
    "mlp": {"max_iter": 4},
    "blend": {},
    "xgboost": {"n_estimators": 20},
    "lightgbm": {"n_estimators": 20},
}
TREES = ("random_forest", "hist_gradient_boosting", "xgboost", "lightgbm")


def needs(name: str) -> None:
    if name not in available_estimators():
        pytest.skip(f"{name} is not installed")


@lru_cache
def data() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
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
    return make_estimator(name, 3, SMALL[name]).fit(*data())


def hard_rows(name: str) -> NDArray[np.float32]:
    """Ordinary rows; rows all NaN, zero and huge; and every threshold of the trees with its two neighbours."""
    rows = data()[0][:300]
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


@pytest.mark.parametrize("name", ESTIMATORS)
def test_onnx_scores_as_the_library_does(name: str) -> None:
    needs(name)
    estimator, (_, labels) = fitted(name), data()
    calibration = fit_sigmoid(estimator.score(data()[0]), labels)
    rows = hard_rows(name)
    scores = Scorer(export_onnx(estimator, calibration, rows), WIDTH).score(rows)
    np.testing.assert_allclose(scores, probabilities(calibration, estimator.score(rows)), rtol=0, atol=1e-5)
    assert scores.std() > 0.05


@pytest.mark.parametrize("name", ESTIMATORS)
def test_contributions_sum_to_the_log_odds(name: str) -> None:
    needs(name)
    estimator = fitted(name)
    calibration = fit_sigmoid(estimator.score(data()[0]), data()[1])
    numbers = estimator.numbers()
    kept = decode_shares(encode_shares(shares_of(numbers)))
    rows = hard_rows(name)[::7]
    scores = Scorer(onnx_bytes(numbers, calibration, WIDTH), WIDTH).score(rows)
    found = Explainer(kept, calibration).explain(rows)
    told = found.base + found.contributions.sum(axis=1)
    near = np.abs(told) < 30
    np.testing.assert_allclose((np.log(scores) - np.log1p(-scores))[near], told[near], rtol=0, atol=1e-6)
    assert near.sum() > 40
    assert np.abs(found.contributions[:, 4]).max() < 1e-9  # constant in training: it says nothing


def as_shap_reads_it(numbers: Trees | Network | Blend) -> dict[str, Any]:
    """Trees in shap's own form: a forest's score is not the probability that shap would explain."""
    assert isinstance(numbers, Trees)
    nodes, ends = numbers.nodes, np.append(numbers.roots, len(numbers.nodes.left))
    found = []
    for root, end in zip(numbers.roots, ends[1:], strict=True):
        tree = Tree(*(column[root:end] for column in nodes))
        left, right = (np.where(side < 0, -1, side - root) for side in (tree.left, tree.right))
        found.append(
            {
                "children_left": left,
                "children_right": right,
                "children_default": np.where(tree.missing_left, left, right),
                "features": tree.feature,
                "thresholds": tree.threshold,
                "values": tree.value[:, None],
                "node_sample_weight": tree.cover,
            }
        )
    return {"trees": found}


@pytest.mark.parametrize("name", TREES)
def test_tree_shares_are_those_of_shap(name: str) -> None:
    needs(name)
    if importlib.util.find_spec("shap") is None:
        pytest.skip("shap is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import shap

        estimator = fitted(name)
        rows = data()[0][:40]
        model = as_shap_reads_it(estimator.numbers()) if name == "random_forest" else estimator.fitted
        if name == "hist_gradient_boosting":
            rows = np.where(np.isnan(rows).all(axis=0), np.float32(0), rows)
        explainer = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")
        expected = np.asarray(explainer.shap_values(rows))
    shares = TreeShares.of(estimator.numbers())  # type: ignore[arg-type]
    np.testing.assert_allclose(shares.shares(rows), expected, rtol=0, atol=2e-5)  # some add in float32


def test_tree_shares_are_shapleys_by_the_definition() -> None:
    """Against the sum over all subsets, each valued by walking the trees and averaging where a feature is unknown."""
    from itertools import combinations
    from math import factorial

    numbers = fitted("random_forest").numbers()
    assert isinstance(numbers, Trees)
    nodes = numbers.nodes

    def value(row: NDArray[np.float32], known: frozenset[int], node: int) -> float:
        if nodes.left[node] < 0:
            return float(nodes.value[node])
        left, right, feature = nodes.left[node], nodes.right[node], int(nodes.feature[node])
        if feature in known:
            x = row[feature]
            goes_left = nodes.missing_left[node] if np.isnan(x) else x <= nodes.threshold[node]
            return value(row, known, left if goes_left else right)
        share = nodes.cover[left] / nodes.cover[node]
        return share * value(row, known, left) + (1 - share) * value(row, known, right)

    one = Trees(nodes, numbers.roots[:1], 0.0)
    first = slice(0, int(numbers.roots[1]))
    tree = Trees(Tree(*(column[first] for column in nodes)), one.roots, 0.0)
    used = sorted(set(nodes.feature[first][nodes.left[first] >= 0].tolist()))
    for row in data()[0][:3]:
        expected = np.zeros(WIDTH)
        for feature in used:
            others = [each for each in used if each != feature]
            for size in range(len(others) + 1):
                weight = factorial(size) * factorial(len(used) - size - 1) / factorial(len(used))
                for subset in combinations(others, size):
                    known = frozenset(subset)
                    expected[feature] += weight * (value(row, known | {feature}, 0) - value(row, known, 0))
        np.testing.assert_allclose(TreeShares.of(tree).shares(row[None])[0], expected, rtol=0, atol=1e-12)


def test_an_ensemble_of_lone_leaves_scores_and_is_explained() -> None:
    leaf = Tree(*(np.array([value]) for value in (-1, 0.0, -1, -1, False, 0.25, 10.0)))
    trees = Trees.of([leaf, leaf], 0.5)
    calibration = fit_sigmoid(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0, 1, 0, 1]))
    rows = np.zeros((3, 2), np.float32)
    scores = Scorer(onnx_bytes(trees, calibration, 2), 2).score(rows)
    np.testing.assert_allclose(scores, probabilities(calibration, np.full(3, 1.0)))
    assert TreeShares.of(trees).base() == 1.0
    assert decode_shares(encode_shares(TreeShares.of(trees))).shares(rows).tolist() == [[0, 0]] * 3


def test_an_export_that_differs_is_refused() -> None:
    estimator = make_estimator("logistic_regression").fit(*data())
    honest = estimator._score

    def changed(fitted: Any, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        return honest(fitted, rows) + 0.01 * np.isnan(rows[:, 0])

    estimator._score = changed
    with pytest.raises(ModelError, match=r"differs from logistic_regression by up to .* in \d+ of 1500 rows"):
        export_onnx(estimator, fit_sigmoid(estimator.score(data()[0]), data()[1]), data()[0])


@pytest.mark.parametrize("damage", [lambda raw: raw[:-30], lambda raw: b"no file", lambda raw: b""])
def test_a_damaged_explainer_is_refused(damage: Callable[[bytes], bytes]) -> None:
    raw = encode_shares(TreeShares.of(fitted("random_forest").numbers()))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="explainer cannot be read"):
        decode_shares(damage(raw))


def test_an_absent_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimators.importlib.util, "find_spec", lambda name: None)
    assert available_estimators() == [name for name in ESTIMATORS if name not in ("xgboost", "lightgbm")]
    with pytest.raises(
        ConfigurationError, match=r"not installed; install the extra: pip install 'encore-features\[boost"
    ):
        make_estimator("xgboost")
