"""Live metrics: metrics of predictions whose outcomes are known, by model."""

from collections.abc import Mapping
from typing import Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from model.evaluation.evaluation import evaluate
from model.metrics import Metrics

__all__ = ["LIVE_COLUMNS", "MIN_ROWS", "LiveModel", "judge_live"]

LIVE_COLUMNS = (
    *("as_of", "model", "role", "score", "threshold"),
    *("shadow_model", "shadow_score", "shadow_threshold"),
)
"""The columns of a prediction that live metrics need, besides the question's keys."""

MIN_ROWS = 50
"""Fewest settled predictions for metrics; with fewer, they are noise."""

Role = Literal["champion", "challenger", "shadow"]

_ROLES: tuple[Role, ...] = ("champion", "challenger", "shadow")


class LiveModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model in a role: the number of its predictions, of settled ones (past their horizon), and metrics of these.

    Metrics are null if too few are settled, or all have the same outcome.
    """

    model: str
    role: Role
    predictions: int
    settled: int
    metrics: Metrics | None


def judge_live(predictions: pa.Table, outcomes: Mapping[str, NDArray[np.float64]]) -> list[LiveModel]:
    """Return each model's live metrics from predictions (`LIVE_COLUMNS`).

    `outcomes` are, by model, the labels of its own question, of shape [n]: 0, 1, NaN unknown. The threshold is the one
    by which the predictions were decided.
    """
    live_models = []
    for role in _ROLES:
        shadow = role == "shadow"
        chosen = pc.is_valid(predictions["shadow_model"]) if shadow else pc.equal(predictions["role"], role)
        of_role, places = predictions.filter(chosen), chosen.to_numpy()
        prefix = "shadow_" if shadow else ""
        versions, scores, thresholds = (of_role[prefix + name].to_numpy() for name in ("model", "score", "threshold"))
        for version in sorted(set(versions.tolist())):
            of_version, labels = versions == version, outcomes[version][places]
            settled = of_version & ~np.isnan(labels)
            live_models.append(
                LiveModel(
                    model=version,
                    role=role,
                    predictions=int(of_version.sum()),
                    settled=int(settled.sum()),
                    metrics=_metrics(labels[settled].astype(np.int64), scores[settled], thresholds[settled]),
                )
            )
    return live_models


def _metrics(labels: NDArray[np.int64], scores: NDArray[np.float64], thresholds: NDArray[np.float64]) -> Metrics | None:
    if len(labels) < MIN_ROWS or labels.min() == labels.max():
        return None
    return evaluate(labels, scores, float(np.median(thresholds)))
