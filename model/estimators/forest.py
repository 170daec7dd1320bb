"""A random forest whose leaves' evidence is averaged."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import treelite
from sklearn.ensemble import RandomForestClassifier

from model.estimators.base import SCIKIT_LEARN, Labels, Library, Range, Rows, Scores
from model.estimators.tree_reader import read_trees
from model.numbers.trees import Trees

__all__ = ["RandomForest"]

_DRAWN = 10.0
"""Examples of the root's mixture that a leaf is thought to hold beside its own."""


class RandomForest:
    """A forest that takes NaN as it is. Every answer walks through all of it, and it walks faster the smaller it is:
    so it has at most 100 trees of 64 leaves, whatever the data. More of either ranked no better.

    A tree is grown on at most 10,000 examples drawn. On more, its leaves would close in on single users with many.
    """

    name: ClassVar[str] = "random_forest"
    library: ClassVar[Library] = SCIKIT_LEARN
    defaults: ClassVar[Mapping[str, Any]] = {
        "n_estimators": 100,
        "min_samples_leaf": 40,
        "max_leaf_nodes": 64,
        "max_features": "sqrt",
        "max_samples": 10_000,
    }
    space: ClassVar[Mapping[str, Range]] = {
        "min_samples_leaf": Range(5, 200, whole=True),
        "max_features": Range(0.05, 0.4, log=False),
        "max_leaf_nodes": Range(16, 256, whole=True),
    }

    def __init__(self, seed: int, parameters: Mapping[str, Any]) -> None:
        self.parameters = parameters
        self.model = RandomForestClassifier(n_jobs=-1, random_state=seed, **parameters)

    def fit(self, rows: Rows, labels: Labels) -> Self:
        most = self.parameters["max_samples"]
        self.model.set_params(max_samples=min(most, len(rows)) if isinstance(most, int) else most).fit(rows, labels)
        return self

    def score(self, rows: Rows) -> Scores:
        values = zip(self._evidence(), self.model.apply(rows).T, strict=True)
        return np.asarray(np.mean([evidence[leaf] for evidence, leaf in values], axis=0), np.float64)

    def numbers(self) -> Trees:
        trees = read_trees(treelite.sklearn.import_model(self.model))
        values = np.concatenate(self._evidence()) / len(trees.roots)
        return replace(trees, nodes=trees.nodes._replace(value=values))

    def _evidence(self) -> list[Scores]:
        """How much each node speaks for a yes, shape [nodes] a tree: its weight of evidence (Good, 1950).

        The log-odds of a node's examples less those of the root's. A node's shares of the two classes are first drawn
        towards the root's, as by `_DRAWN` more examples like the root's.
        """
        found = []
        for tree in (estimator.tree_ for estimator in self.model.estimators_):
            counts, many = tree.value[:, 0, :], tree.weighted_n_node_samples[:, None]
            shares = counts / counts.sum(axis=1, keepdims=True)
            against = np.divide(shares, shares[0], out=np.ones_like(shares), where=shares[0] > 0)
            no, yes = np.log((many * against + _DRAWN) / (many + _DRAWN)).T
            found.append(yes - no)
        return found
