"""The estimators by name. To add one, add a file beside this one and an entry here; the contract tests cover it."""

from collections.abc import Mapping
from typing import Any

from threadpoolctl import threadpool_limits

from data.errors import ConfigurationError
from model.estimators.base import Estimator, Labels, Rows
from model.estimators.blend import ForestAndLine
from model.estimators.forest import RandomForest
from model.estimators.hist_boosting import HistGradientBoosting
from model.estimators.lightgbm import LightGbm
from model.estimators.logistic import LogisticRegression
from model.estimators.mlp import Mlp
from model.estimators.xgboost import XgBoost

__all__ = [
    "AUTO",
    "BASELINE",
    "CHOICE",
    "ESTIMATORS",
    "available_estimators",
    "check_estimator",
    "fit_estimator",
    "make_estimator",
]

AUTO = "auto"
"""Not an estimator: choose one by cross-validation over time."""

_KINDS: tuple[type[Estimator], ...] = (
    RandomForest,
    HistGradientBoosting,
    LogisticRegression,
    Mlp,
    ForestAndLine,
    XgBoost,
    LightGbm,
)

BASELINE = RandomForest.name
"""The estimator that every other is compared with."""

CHOICE = tuple(kind.name for kind in (RandomForest, ForestAndLine, LogisticRegression, HistGradientBoosting))
"""The candidates of `auto`: each is the best on some shop's data, and together they cost seconds."""

ESTIMATORS: dict[str, type[Estimator]] = {kind.name: kind for kind in _KINDS}


def available_estimators() -> list[str]:
    """Return the names of the estimators whose library is installed, in the order of `ESTIMATORS`."""
    return [name for name, kind in ESTIMATORS.items() if kind.library.installed()]


def check_estimator(name: str) -> None:
    """Raise `ConfigurationError` if there is no estimator of that name, or its library is not installed."""
    if name not in ESTIMATORS:
        raise ConfigurationError(f"estimator {name!r} is unknown; there are {', '.join([*ESTIMATORS, AUTO])}")
    ESTIMATORS[name].library.require(f"estimator {name}")


def make_estimator(name: str, seed: int = 0, parameters: Mapping[str, Any] | None = None) -> Estimator:
    """Return an unfitted estimator with its defaults, updated by `parameters`.

    Raises `ConfigurationError` as `check_estimator` does, and for an unknown parameter.
    """
    check_estimator(name)
    kind = ESTIMATORS[name]
    try:
        return kind(seed, {**kind.defaults, **(parameters or {})})
    except TypeError as error:
        raise ConfigurationError(f"estimator {name}: {error}") from error


def fit_estimator(name: str, seed: int, parameters: Mapping[str, Any], rows: Rows, labels: Labels) -> Estimator:
    """Return `make_estimator`'s estimator, fitted with one thread of OpenMP and BLAS (ADR 147).

    With more, they wait for each other on a busy machine, and sums of floats depend on the number of cores. The forest
    grows its trees on all cores, in threads of its own.
    """
    estimator = make_estimator(name, seed, parameters)
    with threadpool_limits(limits=1):
        return estimator.fit(rows, labels)
