"""Versions of models as rows: champion, challenger and baselines compared."""

from collections.abc import Mapping, Sequence
from typing import Any

from model.metrics import METRIC_NAMES
from server.console import formats

__all__ = ["calibration_note", "comparison_rows", "segment_rows", "standing", "told", "version_rows"]


def version_rows(versions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per version, newest first."""
    return [
        {
            "version": version["version"],
            "is": ", ".join(version["aliases"]),
            "made (UTC)": formats.when(version["created"]).removesuffix(" UTC"),
            "estimator": version["estimator"],
            "learned from": version["rows"],
            "threshold (%)": round(100 * version["threshold"], 1),
            **{METRIC_NAMES[name]: _short(version["metrics"].get(name)) for name in ("roc_auc", "pr_auc", "f1")},
        }
        for version in reversed(versions)
    ]


def comparison_rows(reports: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per test metric, with a column per report and per baseline of the first; with intervals, if any."""
    columns: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
    for name, report in reports.items():
        intervals = (report.get("evaluation") or {}).get("intervals", {})
        columns[name] = (report["metrics"].get("test", {}), intervals.get("model", {}))
        if len(columns) == 1:
            baselines = {place: (metrics, intervals.get(place, {})) for place, metrics in report["baselines"].items()}
    columns |= {f"baseline: {name}": metrics for name, metrics in baselines.items()}
    return [
        {"on the test": told}
        | {column: _interval(values.get(name), spans.get(name)) for column, (values, spans) in columns.items()}
        for name, told in METRIC_NAMES.items()
        if any(values.get(name) is not None for values, _ in columns.values())
    ]


def segment_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row per segment of the test."""
    segments = (report.get("evaluation") or {}).get("segments", {})
    return [
        {
            "segment": kind.replace("_", " "),
            "of": name,
            "examples": segment["rows"],
            "base rate (%)": round(100 * segment["base_rate"], 1),
            **{
                METRIC_NAMES[metric]: _short((segment["metrics"] or {}).get(metric))
                for metric in ("roc_auc", "pr_auc", "precision", "recall")
            },
        }
        for kind, named in segments.items()
        for name, segment in named.items()
    ]


def calibration_note(report: Mapping[str, Any]) -> str:
    """Return the calibration error in a sentence."""
    error = report["metrics"].get("test", {}).get("ece")
    return "" if error is None else f"On average a probability is off by {formats.percent(error)}."


def standing(target: Mapping[str, Any]) -> str:
    """Return champion and challenger, as Markdown."""
    champion, challenger, share = target["champion"], target["challenger"], target["challenger_share"]
    parts = [f"Champion `{champion}`" if champion else "No champion"]
    if challenger:
        does = f"answers {formats.percent(share, 0)} of users" if share else "only shadows the champion"
        parts.append(f"challenger `{challenger}`, which {does}")
    else:
        parts.append("no challenger")
    count = len(target["versions"])
    return "; ".join([*parts, f"{formats.number(count)} {'version' if count == 1 else 'versions'}"]) + "."


def told(change: Mapping[str, Any]) -> str:
    """Return the API's change in a sentence."""
    if "alias" not in change:
        return f"{change['target']} is being retrained."
    names = (change["after"] or "nobody", change["before"] or "nobody")
    return f"{change['target']}: {change['alias']} is now {names[0]} (was {names[1]})."


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _interval(value: float | None, span: Sequence[float] | None) -> str:
    if value is None:
        return formats.NOTHING
    return f"{value:.3f}" + (f" ({span[0]:.3f} to {span[1]:.3f})" if span else "")
