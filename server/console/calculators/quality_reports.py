"""Quality reports as rows and chart data: drift by feature, both histograms, missing values, live metrics."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pyarrow.compute as pc

from events.predictions.archive import PredictionArchive
from model.evaluation.drift import histogram_of
from model.evaluation.live import MIN_ROWS
from model.metrics import METRIC_NAMES, Histogram
from model.rows import float32_rows
from server.console.feature.words import FeatureWords

__all__ = [
    "bin_names",
    "drift_rows",
    "drift_word",
    "live_rows",
    "metrics_from",
    "missing_rows",
    "of_target",
    "recent_histograms",
]

_CHANGED = 0.1
"""PSI below which little has changed (Siddiqi 2006)."""

_RECENT = 5_000


def of_target(report: Any, target: str) -> dict[str, Any] | None:
    """Return a report's entry for a target."""
    parts = report if isinstance(report, list) else [report] if report else []
    return next((part for part in parts if part.get("target") == target), None)


def drift_rows(psi: Mapping[str, float], drifted: Collection[str], descriptions: FeatureWords) -> list[dict[str, Any]]:
    """Return a row per feature, highest index first; those in `drifted` moved beyond their usual variation."""
    return [
        {
            "feature": descriptions.title(name),
            "name": name,
            "PSI": round(value, 3),
            "verdict": drift_word(name, value, drifted),
        }
        for name, value in sorted(psi.items(), key=lambda item: -item[1])
    ]


def drift_word(name: str, psi: float, drifted: Collection[str]) -> str:
    """Return a feature's drift in a word."""
    return "drifted" if name in drifted else "changed" if psi > _CHANGED else "steady"


def live_rows(models: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per model and role: the number of settled predictions, and metrics if any model has some."""
    return [
        {
            "model": model["model"],
            "role": model["role"],
            "predictions": model["predictions"],
            "settled": model["settled"],
            **{
                heading: None if (model["metrics"] or {}).get(name) is None else round(model["metrics"][name], 3)
                for name, heading in METRIC_NAMES.items()
                if any(rival["metrics"] for rival in models)
            },
        }
        for model in models
    ]


def recent_histograms(
    archive: PredictionArchive, target: str, reference: Mapping[str, Histogram]
) -> tuple[dict[str, Histogram], int]:
    """Return the newest predictions' features in the reference's bins, and the number of predictions."""
    predictions = archive.read(["as_of", "features"], target=target)
    predictions = predictions.sort_by([("as_of", "descending")]).slice(0, _RECENT)
    rows = [json.loads(text) for text in predictions["features"].to_pylist()]
    return {
        name: histogram_of(float32_rows([row.get(name) for row in rows]), histogram.edges)
        for name, histogram in reference.items()
        if rows
    }, len(rows)


def metrics_from(archive: PredictionArchive, target: str, version: str, horizon_us: int) -> tuple[int, datetime | None]:
    """Return the number of a version's kept live predictions, and the time from which there are metrics of them.

    That is when the horizon of the first `MIN_ROWS` ends; None if fewer are kept.
    """
    predictions = archive.read(["as_of", "model", "shadow_model"], target=target)
    is_champion, is_shadow = (pc.equal(predictions[name], version) for name in ("model", "shadow_model"))
    of_version = predictions.filter(pc.or_kleene(is_champion, is_shadow))
    if of_version.num_rows < MIN_ROWS:
        return of_version.num_rows, None
    as_of: datetime = of_version.sort_by("as_of")["as_of"][MIN_ROWS - 1].as_py()
    return of_version.num_rows, as_of + timedelta(microseconds=horizon_us)


def bin_names(edges: Sequence[float]) -> list[str]:
    """Return labels of the bins: up to the first edge, between edges, above the last, missing."""
    if not edges:
        return ["any", "missing"]
    between = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
    return [f"≤ {edges[0]:.4g}", *between, f"> {edges[-1]:.4g}", "missing"]


def missing_rows(
    reference: Mapping[str, Histogram], recent: Mapping[str, Histogram], descriptions: FeatureWords
) -> list[dict[str, Any]]:
    """Return the share of nulls of each feature in training and lately, most changed first, if any is above 0."""
    pairs = {
        name: (histogram.shares[-1], recent[name].shares[-1]) for name, histogram in reference.items() if name in recent
    }
    return [
        {
            "feature": descriptions.title(name),
            "learned from (%)": round(100 * learned, 1),
            "asked about lately (%)": round(100 * lately, 1),
        }
        for name, (learned, lately) in sorted(pairs.items(), key=lambda item: -abs(item[1][1] - item[1][0]))
        if learned or lately
    ]
