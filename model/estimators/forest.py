"""A random forest that averages the evidence of its trees' leaves."""

import warnings
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

_PRIOR_ROWS = 10.0
"""Pseudo-examples of the root's class mixture that are added to each leaf."""


class RandomForest:
    """A forest with native support of NaN.

    Every score traverses the whole forest, so it has at most 100 trees of 64 leaves, whatever the data; more of either
    ranked no better. A tree is grown on a sample of at most 10,000 examples: with more, its leaves would isolate single
    users with many events.
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
        """Fit the forest; see `Estimator`."""
        most = self.parameters["max_samples"]
        self.model.set_params(max_samples=min(most, len(rows)) if isinstance(most, int) else most)
        with warnings.catch_warnings():  # see `score`
            self.model.fit(rows, labels)
        return self

    def score(self, rows: Rows) -> Scores:
        """Return the mean evidence of the leaves; see `Estimator`."""
        # scikit-learn's threads each set the process's filters of warnings, and leave others, or none.
        with warnings.catch_warnings():
            leaves = self.model.apply(rows)
        values = zip(self._evidence(), leaves.T, strict=True)
        return np.asarray(np.mean([evidence[leaf] for evidence, leaf in values], axis=0), np.float64)

    def numbers(self) -> Trees:
        """Return the trees, with evidence as leaf values; see `Estimator`."""
        trees = read_trees(treelite.sklearn.import_model(self.model))
        values = np.concatenate(self._evidence()) / len(trees.roots)
        return replace(trees, nodes=trees.nodes._replace(value=values))

    def _evidence(self) -> list[Scores]:
        """Return each node's weight of evidence for a yes (Good, 1950), shape [nodes] per tree.

        This is the log-odds of a node's examples minus those of the root's. A node's class shares are first shrunk
        towards the root's, as if by `_PRIOR_ROWS` more examples of the root's mixture.
        """
        evidence = []
        for tree in (estimator.tree_ for estimator in self.model.estimators_):
            counts, rows = tree.value[:, 0, :], tree.weighted_n_node_samples[:, None]
            shares = counts / counts.sum(axis=1, keepdims=True)
            ratios = np.divide(shares, shares[0], out=np.ones_like(shares), where=shares[0] > 0)
            no, yes = np.log((rows * ratios + _PRIOR_ROWS) / (rows + _PRIOR_ROWS)).T
            evidence.append(yes - no)
        return evidence
