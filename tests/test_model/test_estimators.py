"""Single estimators: shares are Shapley's, a tree of one leaf is a tree, and what differs or is damaged is refused."""

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_estimator_contract import WIDTH, examples, fitted

from data.errors import ModelError
from model.artifact.predictor import Scorer
from model.estimators.catalogue import available_estimators, make_estimator
from model.numbers.blend import Blend
from model.numbers.calibration import probabilities
from model.numbers.explanation import decode_shares, encode_shares
from model.numbers.network import Network
from model.numbers.tree_shares import TreeShares
from model.numbers.trees import Tree, Trees
from model.training.calibrate import fit_sigmoid
from model.training.onnx_export import export_onnx, onnx_bytes

TREES = ("random_forest", "hist_gradient_boosting", "xgboost", "lightgbm")


def as_shap_reads_it(numbers: Trees | Network | Blend) -> dict[str, Any]:
    """Trees in shap's own form: a forest's score is not the probability that shap would explain."""
    assert isinstance(numbers, Trees)
    nodes, ends = numbers.nodes, np.append(numbers.roots, len(numbers.nodes.left))
    found = []
    for root, end in zip(numbers.roots, ends[1:], strict=True):
        tree = Tree(*(column[root:end] for column in nodes))  # type: ignore[arg-type]
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


@pytest.mark.long
@pytest.mark.integration
@pytest.mark.parametrize("name", TREES)
def test_tree_shares_are_those_of_shap(name: str) -> None:
    if name not in available_estimators():
        pytest.skip(f"{name} is not installed")
    if importlib.util.find_spec("shap") is None:
        pytest.skip("shap is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import shap

        estimator = fitted(name)
        rows = examples()[0][:40]
        model = as_shap_reads_it(estimator.numbers()) if name == "random_forest" else getattr(estimator, "model")  # noqa: B009
        model = getattr(model, "booster_", model)  # of LightGBM, whose classifier shap explains as two classes
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
        share = float(nodes.cover[left] / nodes.cover[node])
        return share * value(row, known, left) + (1 - share) * value(row, known, right)

    one = Trees(nodes, numbers.roots[:1], 0.0)
    first = slice(0, int(numbers.roots[1]))
    tree = Trees(Tree(*(column[first] for column in nodes)), one.roots, 0.0)  # type: ignore[arg-type]
    used = sorted(set(nodes.feature[first][nodes.left[first] >= 0].tolist()))
    for row in examples()[0][:3]:
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


def test_an_export_that_differs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = make_estimator("logistic_regression").fit(*examples())
    honest = estimator.score
    monkeypatch.setattr(estimator, "score", lambda rows: honest(rows) + 0.01 * np.isnan(rows[:, 0]))
    with pytest.raises(ModelError, match=r"differs from logistic_regression by up to .* in \d+ of 1500 rows"):
        export_onnx(estimator, fit_sigmoid(estimator.score(examples()[0]), examples()[1]), examples()[0])


@pytest.mark.parametrize("damage", [lambda raw: raw[:-30], lambda raw: b"no file", lambda raw: b""])
def test_a_damaged_explainer_is_refused(damage: Callable[[bytes], bytes]) -> None:
    raw = encode_shares(TreeShares.of(fitted("random_forest").numbers()))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="explainer cannot be read"):
        decode_shares(damage(raw))
