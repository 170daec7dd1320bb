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


def drift_rows(psi: Mapping[str, float], drifted: Collection[str], words: FeatureWords) -> list[dict[str, Any]]:
    """Return a row per feature, of the highest index first; `drifted` moved more than they do by themselves."""
    return [
        {
            "feature": words.title(name),
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
    """Return a row per model and role: the number of settled predictions, and metrics where any has some."""
    return [
        {
            "model": one["model"],
            "role": one["role"],
            "predictions": one["predictions"],
            "settled": one["settled"],
            **{
                told: None if (one["metrics"] or {}).get(name) is None else round(one["metrics"][name], 3)
                for name, told in METRIC_NAMES.items()
                if any(other["metrics"] for other in models)
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


def metrics_from(archive: PredictionArchive, target: str, version: str, horizon_us: int) -> tuple[int, datetime | None]:
    """Return how many live predictions of a version are kept, and from when on there are metrics of them.

    There are when the horizon of the first `MIN_ROWS` is over; None where fewer are kept.
    """
    found = archive.read(["as_of", "model", "shadow_model"], target=target)
    of_it = found.filter(pc.or_kleene(pc.equal(found["model"], version), pc.equal(found["shadow_model"], version)))
    if of_it.num_rows < MIN_ROWS:
        return of_it.num_rows, None
    asked: datetime = of_it.sort_by("as_of")["as_of"][MIN_ROWS - 1].as_py()
    return of_it.num_rows, asked + timedelta(microseconds=horizon_us)


def bin_names(edges: Sequence[float]) -> list[str]:
    """Return labels of the bins: up to the first edge, between edges, above the last, missing."""
    if not edges:
        return ["any", "missing"]
    between = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
    return [f"≤ {edges[0]:.4g}", *between, f"> {edges[-1]:.4g}", "missing"]


def missing_rows(
    reference: Mapping[str, Histogram], recent: Mapping[str, Histogram], words: FeatureWords
) -> list[dict[str, Any]]:
    """Return the share of nulls of each feature, then and now, most changed first; features never null are left out."""
    pairs = {name: (of.shares[-1], recent[name].shares[-1]) for name, of in reference.items() if name in recent}
    return [
        {
            "feature": words.title(name),
            "learned from (%)": round(100 * then, 1),
            "asked about lately (%)": round(100 * now, 1),
        }
        for name, (then, now) in sorted(pairs.items(), key=lambda item: -abs(item[1][1] - item[1][0]))
        if then or now
    ]
