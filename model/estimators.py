"""The estimators that can be trained: each a function of the seed that makes an unfitted scikit-learn classifier."""

from collections.abc import Callable
from typing import Any

from sklearn.ensemble import RandomForestClassifier

__all__ = ["MakeEstimator", "random_forest"]

MakeEstimator = Callable[[int], Any]
"""From a seed, an unfitted classifier with `fit`, `predict_proba`, `get_params` and `feature_importances_`."""


def random_forest(seed: int) -> RandomForestClassifier:
    """A forest that takes NaN as it is, and whose size is bounded whatever the data (at most 200 trees of 512 leaves).

    Class weights make the two classes count the same, so a score is a rank and not a calibrated probability.
    """
    return RandomForestClassifier(
        n_estimators=200,
        min_samples_leaf=20,
        max_leaf_nodes=512,
        class_weight="balanced",
        n_jobs=-1,
        random_state=seed,
    )
