"""An ensemble of trees as numbers, whoever grew it: what the exporter writes and what explanations are made from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Tree",
    "Trees",
    "boosted_by_lightgbm",
    "boosted_by_sklearn",
    "boosted_by_xgboost",
    "evidence",
    "grown_by_sklearn",
]

_DRAWN = 10.0
"""Examples of the root's mixture that a leaf of a forest is thought to hold beside its own."""


class Tree(NamedTuple):
    """One tree as columns of shape [nodes], the root first; `left` and `right` are -1 at a leaf.

    A value ≤ `threshold` goes left, a greater one right, NaN as `missing_left` says. `value` counts at leaves. `cover`
    is how much of the training data came by.
    """

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    value: NDArray[np.float64]
    cover: NDArray[np.float64]


@dataclass(frozen=True)
class Trees:
    """Trees laid end to end: the columns of `Tree`, with children as places in them, and where each tree begins.

    The ensemble's score of a row is `offset` plus the value of the leaf that the row reaches in each tree.
    """

    nodes: Tree
    roots: NDArray[np.int64]
    offset: float

    @classmethod
    def of(cls, trees: Iterable[Tree], offset: float) -> "Trees":
        """Single trees, joined."""
        trees = list(trees)
        sizes = np.array([len(tree.left) for tree in trees])
        roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        moved = [
            tree._replace(
                left=np.where(tree.left < 0, -1, tree.left + root),
                right=np.where(tree.right < 0, -1, tree.right + root),
            )
            for tree, root in zip(trees, roots, strict=True)
        ]
        columns = (np.concatenate(column) for column in zip(*moved, strict=True))
        return cls(Tree(*columns), roots, float(offset))

    def times(self, weight: float) -> "Trees":
        """The same trees, whose score is `weight` times as large."""
        return Trees(self.nodes._replace(value=weight * self.nodes.value), self.roots, weight * self.offset)


def grown_by_sklearn(forest: Any) -> Trees:
    """A scikit-learn forest of two classes; its score is the mean `evidence` of its trees."""
    trees = []
    for estimator in forest.estimators_:
        tree = estimator.tree_
        trees.append(
            Tree(
                tree.feature.astype(np.int64),
                tree.threshold.astype(np.float64),
                tree.children_left.astype(np.int64),
                tree.children_right.astype(np.int64),
                tree.missing_go_to_left.astype(np.bool_),
                evidence(tree) / len(forest.estimators_),
                tree.weighted_n_node_samples.astype(np.float64),
            )
        )
    return Trees.of(trees, 0.0)


def evidence(tree: Any) -> NDArray[np.float64]:
    """How much each node of a scikit-learn tree of two classes speaks for a yes, shape [nodes].

    The log-odds of its examples less those of the root's: the weight of evidence (Good, 1950). A node's shares of the
    two classes are first drawn towards the root's, as by `_DRAWN` more examples like the root's.
    """
    counts, many = tree.value[:, 0, :], tree.weighted_n_node_samples[:, None]
    shares = counts / counts.sum(axis=1, keepdims=True)
    against = np.divide(shares, shares[0], out=np.ones_like(shares), where=shares[0] > 0)
    no, yes = np.log((many * against + _DRAWN) / (many + _DRAWN)).T
    found: NDArray[np.float64] = yes - no
    return found


def boosted_by_sklearn(classifier: Any) -> Trees:
    """A `HistGradientBoostingClassifier` of two classes without categories; its score is its decision function.

    It keeps its trees in attributes that are not public; the exporter compares the outcome with the classifier.
    """
    trees = []
    for (predictor,) in classifier._predictors:
        nodes = predictor.nodes
        leaf = nodes["is_leaf"].astype(np.bool_)
        trees.append(
            Tree(
                nodes["feature_idx"].astype(np.int64),
                nodes["num_threshold"].astype(np.float64),
                np.where(leaf, -1, nodes["left"].astype(np.int64)),
                np.where(leaf, -1, nodes["right"].astype(np.int64)),
                nodes["missing_go_to_left"].astype(np.bool_),
                nodes["value"].astype(np.float64),
                nodes["count"].astype(np.float64),
            )
        )
    return Trees.of(trees, float(np.ravel(classifier._baseline_prediction)[0]))


def boosted_by_xgboost(model: dict[str, Any]) -> Trees:
    """XGBoost's own JSON (`save_raw("json")`, read) of a `binary:logistic` model; its score is the margin.

    XGBoost goes left below a float32 threshold: at or below the float32 before it.
    """
    learner = model["learner"]
    trees = []
    for tree in learner["gradient_booster"]["model"]["trees"]:
        left = np.array(tree["left_children"], np.int64)
        condition = np.array(tree["split_conditions"], np.float32)
        below = np.nextafter(condition, np.float32(-np.inf)).astype(np.float64)
        trees.append(
            Tree(
                np.array(tree["split_indices"], np.int64),
                below,
                left,
                np.array(tree["right_children"], np.int64),
                np.array(tree["default_left"]).astype(np.bool_),
                condition.astype(np.float64),
                np.array(tree["sum_hessian"], np.float64),
            )
        )
    base = float(str(learner["learner_model_param"]["base_score"]).strip("[]"))
    return Trees.of(trees, float(np.log(base / (1 - base))))


def boosted_by_lightgbm(model: dict[str, Any]) -> Trees:
    """LightGBM's `dump_model()` of a binary model without categories; its score is the raw score.

    A feature that was never missing in training is read as 0 where it is missing later. (So is what lies within 1e-35
    of 0, which is left out: no feature is so small.)
    """
    return Trees.of((_lightgbm_tree(tree["tree_structure"]) for tree in model["tree_info"]), 0.0)


def _lightgbm_tree(root: dict[str, Any]) -> Tree:
    rows: list[Sequence[Any]] = []
    waiting = [(root, -1, 0)]
    children: dict[tuple[int, int], int] = {}
    while waiting:
        node, parent, side = waiting.pop()
        place = len(rows)
        children[parent, side] = place
        if "split_feature" in node:
            edge = float(node["threshold"])
            goes_left = node["default_left"] if node["missing_type"] == "NaN" else edge >= 0
            rows.append((node["split_feature"], edge, goes_left, 0.0, node["internal_count"]))
            waiting += [(node["right_child"], place, 1), (node["left_child"], place, 0)]
        else:
            rows.append((-1, 0.0, False, node["leaf_value"], node.get("leaf_count", 1)))
    feature, threshold, missing_left, value, cover = (np.array(column) for column in zip(*rows, strict=True))
    left, right = (
        np.array([children.get((place, side), -1) for place in range(len(rows))], np.int64) for side in (0, 1)
    )
    return Tree(
        feature.astype(np.int64),
        threshold.astype(np.float64),
        left,
        right,
        missing_left.astype(np.bool_),
        value.astype(np.float64),
        cover.astype(np.float64),
    )
