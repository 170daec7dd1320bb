"""Quality reports as rows and chart data: drift by feature, both histograms, missing values, live metrics."""

import json
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

from events.predictions.archive import PredictionArchive
from model.evaluation.drift import histogram_of
from model.metrics import METRIC_NAMES, Histogram
from model.rows import float32_rows

__all__ = ["bin_names", "drift_rows", "live_rows", "missing_rows", "of_target", "recent_histograms"]

_CHANGED = 0.1
"""PSI below which little has changed (Siddiqi 2006)."""

_RECENT = 5_000


def of_target(report: Any, target: str) -> dict[str, Any] | None:
    """Return a report's entry for a target."""
    parts = report if isinstance(report, list) else [report] if report else []
    return next((part for part in parts if part.get("target") == target), None)


def drift_rows(psi: Mapping[str, float], drifted: Collection[str]) -> list[dict[str, Any]]:
    """Return a row per feature, of the highest index first; `drifted` moved more than they do by themselves."""
    return [
        {
            "feature": name,
            "PSI": round(value, 3),
            "verdict": "drifted" if name in drifted else "changed" if value > _CHANGED else "steady",
        }
        for name, value in sorted(psi.items(), key=lambda item: -item[1])
    ]


def live_rows(models: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per model and role: the number of settled predictions, and their metrics."""
    return [
        {
            "model": one["model"],
            "role": one["role"],
            "predictions": one["predictions"],
            "settled": one["settled"],
            **{
                told: None if (one["metrics"] or {}).get(name) is None else round(one["metrics"][name], 3)
                for name, told in METRIC_NAMES.items()
            },
        }
        for one in models
    ]


def recent_histograms(
    archive: PredictionArchive, target: str, reference: Mapping[str, Histogram]
) -> tuple[dict[str, Histogram], int]:
    """Return the newest predictions' features in the reference's bins, and the number of predictions."""
    found = archive.read(["as_of", "features"], target=target).sort_by([("as_of", "descending")]).slice(0, _RECENT)
    rows = [json.loads(text) for text in found["features"].to_pylist()]
    return {
        name: histogram_of(float32_rows([row.get(name) for row in rows]), of.edges)
        for name, of in reference.items()
        if rows
    }, len(rows)


def bin_names(edges: Sequence[float]) -> list[str]:
    """Return labels of the bins: up to the first edge, between edges, above the last, missing."""
    if not edges:
        return ["any", "missing"]
    between = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
    return [f"≤ {edges[0]:.4g}", *between, f"> {edges[-1]:.4g}", "missing"]


def missing_rows(reference: Mapping[str, Histogram], recent: Mapping[str, Histogram]) -> list[dict[str, Any]]:
    """Return the share of nulls of each feature, then and now, most changed first; features never null are left out."""
    pairs = {name: (of.shares[-1], recent[name].shares[-1]) for name, of in reference.items() if name in recent}
    return [
        {"feature": name, "learned from (%)": round(100 * then, 1), "asked about lately (%)": round(100 * now, 1)}
        for name, (then, now) in sorted(pairs.items(), key=lambda item: -abs(item[1][1] - item[1][0]))
        if then or now
    ]
