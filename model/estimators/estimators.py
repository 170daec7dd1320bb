"""The estimators that can be trained, by name: each fits, scores by a sum, and turns into numbers.

A rare class is left to the calibration and the threshold. The linear model, the network and the boosted trees weigh the
two classes alike in learning; the forest does not: its leaves are large, and weighing made it rank worse.
"""

import importlib.util
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import ConfigurationError
from model.numbers.blend import Blend
from model.numbers.network import Network, Scaling
from model.numbers.trees import (
    Trees,
    boosted_by_lightgbm,
    boosted_by_sklearn,
    boosted_by_xgboost,
    evidence,
    grown_by_sklearn,
)

__all__ = ["AUTO", "ESTIMATORS", "Estimator", "available_estimators", "check_estimator", "make_estimator"]

AUTO = "auto"
"""Not an estimator: choose one by cross-validation over time."""


@dataclass
class Estimator:
    """An estimator by name, unfitted until `fit`. Its score of a row is a real number that is a sum of parts."""

    name: str
    parameters: dict[str, Any]
    _fit: Callable[[NDArray[np.float32], NDArray[np.int64]], Any] = field(repr=False)
    _score: Callable[[Any, NDArray[np.float32]], NDArray[np.float64]] = field(repr=False)
    _numbers: Callable[[Any], Trees | Network | Blend] = field(repr=False)
    fitted: Any = None

    def fit(self, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> "Estimator":
        """Learn from rows of shape [n, features] (NaN: missing) and labels of shape [n]; itself."""
        self.fitted = self._fit(rows, labels)
        return self

    def score(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """The library's own scores, shape [n], of rows of shape [n, features]."""
        return np.asarray(self._score(self.fitted, rows), np.float64)

    def numbers(self) -> Trees | Network | Blend:
        """What was learned, as numbers."""
        return self._numbers(self.fitted)


def _random_forest(seed: int, parameters: Mapping[str, Any]) -> Estimator:
    """A forest that takes NaN as it is. Every answer walks through all of it, and it walks faster the smaller it is:
    so it has at most 100 trees of 64 leaves, whatever the data. More of either ranked no better.

    A tree is grown on at most 10,000 examples drawn. On more, its leaves would close in on single users with many.
    """
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415 - each library is imported where it is used

    settings = {
        "n_estimators": 100,
        "min_samples_leaf": 40,
        "max_leaf_nodes": 64,
        "max_features": "sqrt",
        "max_samples": 10_000,
        **parameters,
    }
    forest = RandomForestClassifier(n_jobs=-1, random_state=seed, **settings)

    def fit(rows: NDArray[np.float32], labels: NDArray[np.int64]) -> Any:
        most = settings["max_samples"]
        return forest.set_params(max_samples=min(most, len(rows)) if isinstance(most, int) else most).fit(rows, labels)

    def score(fitted: Any, rows: NDArray[np.float32]) -> Any:
        leaves = fitted.apply(rows).T
        return np.mean([evidence(tree.tree_)[leaf] for tree, leaf in zip(fitted.estimators_, leaves, strict=True)], 0)

    return Estimator("random_forest", settings, fit, score, grown_by_sklearn)


def _hist_gradient_boosting(seed: int, parameters: Mapping[str, Any]) -> Estimator:
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415

    settings = {
        "max_iter": 150,
        "learning_rate": 0.05,
        "max_leaf_nodes": 15,
        "min_samples_leaf": 40,
        "l2_regularization": 5.0,
        "max_features": 0.3,
        "class_weight": "balanced",
        **parameters,
    }
    boosting = HistGradientBoostingClassifier(early_stopping=False, random_state=seed, **settings)

    def fit(rows: NDArray[np.float32], labels: NDArray[np.int64]) -> Any:
        # scikit-learn 1.9 cannot bin a column without a value; a constant one is never split on either.
        return boosting.fit(np.where(np.isnan(rows).all(axis=0), np.float32(0), rows), labels)

    return Estimator(
        "hist_gradient_boosting",
        settings,
        fit,
        lambda fitted, rows: fitted.decision_function(rows),
        boosted_by_sklearn,
    )


def _logistic_regression(seed: int, parameters: Mapping[str, Any]) -> Estimator:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    settings = {"C": 0.05, "max_iter": 500, "class_weight": "balanced", **parameters}
    linear = LogisticRegression(random_state=seed, **settings)

    def fit(rows: NDArray[np.float32], labels: NDArray[np.int64]) -> Network:
        scaling = Scaling.of(rows)
        inputs = scaling.inputs(rows)
        _fit_quietly(linear, inputs, labels)
        return Network(scaling, (linear.coef_.T.copy(),), (linear.intercept_.copy(),), inputs.mean(axis=0))

    def score(fitted: Network, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        margins: NDArray[np.float64] = linear.decision_function(fitted.scaling.inputs(rows))
        return margins

    return Estimator("logistic_regression", settings, fit, score, _itself)


def _blend(seed: int, parameters: Mapping[str, Any]) -> Estimator:
    """A forest and a line together, each by its own defaults: the forest's evidence, which was drawn in as it was
    weighed (`model.numbers.trees.evidence`), counts `forest_weight` times."""
    settings = {"forest_weight": 2.0, **parameters}
    if unknown := sorted(settings.keys() - {"forest_weight"}):
        raise TypeError(f"it has no parameter {', '.join(unknown)}")
    weight = float(settings["forest_weight"])
    forest, line = _random_forest(seed, {}), _logistic_regression(seed, {})

    def fit(rows: NDArray[np.float32], labels: NDArray[np.int64]) -> Any:
        return forest.fit(rows, labels), line.fit(rows, labels)

    def score(_: Any, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        total: NDArray[np.float64] = weight * forest.score(rows) + line.score(rows)
        return total

    return Estimator(
        "blend", settings, fit, score, lambda _: Blend(grown_by_sklearn(forest.fitted).times(weight), line.fitted)
    )


def _mlp(seed: int, parameters: Mapping[str, Any]) -> Estimator:
    from sklearn.neural_network import MLPClassifier  # noqa: PLC0415

    settings = {
        "hidden_layer_sizes": (32, 16),
        "alpha": 1e-2,
        "learning_rate_init": 1e-3,
        "batch_size": 256,
        "max_iter": 12,
        **parameters,
    }
    network = MLPClassifier(random_state=seed, **settings)

    def fit(rows: NDArray[np.float32], labels: NDArray[np.int64]) -> Network:
        scaling = Scaling.of(rows)
        inputs = scaling.inputs(rows)
        weights = np.where(labels == 1, len(labels) / (2 * labels.sum()), len(labels) / (2 * (1 - labels).sum()))
        _fit_quietly(network, inputs, labels, sample_weight=weights)
        return Network(scaling, tuple(network.coefs_), tuple(network.intercepts_), inputs.mean(axis=0))

    def score(fitted: Network, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        # It has no decision function; a probability of 1 is held a last digit away from it.
        probability = np.clip(network.predict_proba(fitted.scaling.inputs(rows))[:, 1], 1e-300, 1 - 1e-16)
        margins: NDArray[np.float64] = np.log(probability) - np.log1p(-probability)
        return margins

    return Estimator("mlp", settings, fit, score, _itself)


def _xgboost(seed: int, parameters: Mapping[str, Any]) -> Estimator:
    from xgboost import XGBClassifier  # noqa: PLC0415

    settings = {
        "n_estimators": 200,
        "learning_rate": 0.05,
        "max_depth": 4,
        "min_child_weight": 20,
        "reg_lambda": 5.0,
        "subsample": 0.8,
        "colsample_bytree": 0.5,
        **parameters,
    }

    def fit(rows: NDArray[np.float32], labels: NDArray[np.int64]) -> Any:
        balance = float((1 - labels).sum() / labels.sum())
        model = XGBClassifier(random_state=seed, tree_method="hist", scale_pos_weight=balance, **settings)
        return model.fit(rows, labels)

    return Estimator(
        "xgboost",
        settings,
        fit,
        lambda fitted, rows: fitted.predict(rows, output_margin=True),
        lambda fitted: boosted_by_xgboost(json.loads(fitted.get_booster().save_raw("json"))),
    )


def _lightgbm(seed: int, parameters: Mapping[str, Any]) -> Estimator:
    from lightgbm import LGBMClassifier  # noqa: PLC0415

    settings = {
        "n_estimators": 200,
        "learning_rate": 0.05,
        "num_leaves": 15,
        "min_child_samples": 40,
        "reg_lambda": 5.0,
        "colsample_bytree": 0.5,
        "class_weight": "balanced",
        **parameters,
    }
    model = LGBMClassifier(
        random_state=seed, deterministic=True, force_row_wise=True, verbosity=-1, importance_type="gain", **settings
    )

    def fit(rows: NDArray[np.float32], labels: NDArray[np.int64]) -> Any:
        return model.fit(rows, labels).booster_

    return Estimator(
        "lightgbm",
        settings,
        fit,
        lambda fitted, rows: fitted.predict(rows, raw_score=True),
        lambda fitted: boosted_by_lightgbm(fitted.dump_model()),
    )


ESTIMATORS: dict[str, Callable[[int, Mapping[str, Any]], Estimator]] = {
    "random_forest": _random_forest,
    "hist_gradient_boosting": _hist_gradient_boosting,
    "logistic_regression": _logistic_regression,
    "mlp": _mlp,
    "blend": _blend,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
}
"""From a seed and parameters that replace defaults, an unfitted estimator; by name."""

_EXTRAS = ("xgboost", "lightgbm")


def available_estimators() -> list[str]:
    """Names of the estimators whose library is installed, in the order of `ESTIMATORS`."""
    return [name for name in ESTIMATORS if name not in _EXTRAS or importlib.util.find_spec(name) is not None]


def check_estimator(name: str) -> None:
    """ConfigurationError where there is no estimator of that name, or its library is not installed."""
    if name not in ESTIMATORS:
        raise ConfigurationError(f"estimator {name!r} is unknown; there are {', '.join([*ESTIMATORS, AUTO])}")
    if name not in available_estimators():
        raise ConfigurationError(
            f"estimator {name}: the library {name} is not installed; install the extra: "
            "pip install 'encore-features[boost]'"
        )


def make_estimator(name: str, seed: int = 0, parameters: Mapping[str, Any] | None = None) -> Estimator:
    """An unfitted estimator; ConfigurationError as `check_estimator`, and for a parameter that it does not have."""
    check_estimator(name)
    try:
        return ESTIMATORS[name](seed, parameters or {})
    except TypeError as error:
        raise ConfigurationError(f"estimator {name}: {error}") from error


def _itself(network: Network) -> Network:
    return network


def _fit_quietly(model: Any, *data: Any, **options: Any) -> None:
    """Fit; that the steps given end before the optimum is meant (it is a way not to overfit)."""
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(*data, **options)
