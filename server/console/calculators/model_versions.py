"""Versions of models as rows: champion, challenger and baselines compared."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from model.metrics import METRIC_NAMES
from server.console import formats

__all__ = [
    "calibration_note",
    "comparison_rows",
    "difference_rows",
    "judged",
    "part_rows",
    "segment_rows",
    "standing",
    "told",
    "version_rows",
]


_BASELINES = {"base_rate": "always the base rate"}


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


def comparison_rows(
    reports: Mapping[str, Mapping[str, Any]], title: Callable[[str], str] = str
) -> list[dict[str, Any]]:
    """Return a row per test metric, with a column per report and per baseline of the first; with intervals, if any.

    `title` returns the description of the feature that a baseline ranks by.
    """
    columns: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
    for name, report in reports.items():
        intervals = (report.get("evaluation") or {}).get("intervals", {})
        columns[name] = (report["metrics"].get("test", {}), intervals.get("model", {}))
        if len(columns) == 1:
            baselines = {rival: (metrics, intervals.get(rival, {})) for rival, metrics in report["baselines"].items()}
    columns |= {f"baseline: {_BASELINES.get(name) or title(name)}": metrics for name, metrics in baselines.items()}
    return [
        {"on the test": heading}
        | {column: _interval(values.get(name), spans.get(name)) for column, (values, spans) in columns.items()}
        for name, heading in METRIC_NAMES.items()
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


def difference_rows(report: Mapping[str, Any], champion: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row per test metric: of a version, of the champion, and their difference."""
    own, other = (tested["metrics"].get("test") or {} for tested in (report, champion))
    return [
        {
            "on the test": heading,
            "this version": _short(own.get(name)),
            "champion": _short(other.get(name)),
            "difference": None if None in (own.get(name), other.get(name)) else round(own[name] - other[name], 3),
        }
        for name, heading in METRIC_NAMES.items()
        if own.get(name) is not None or other.get(name) is not None
    ]


def judged(
    report: Mapping[str, Any], champion: Mapping[str, Any] | None, retraining: Mapping[str, Any] | None
) -> tuple[bool | None, str]:
    """Return whether a version is better than the champion (None: undecided), and why, in a sentence.

    A contest of both on the same newest examples decides; without one, intervals of tests of the same time may.
    """
    if champion is None:
        return None, "There is no champion to compare it with."
    if report["version"] == champion["version"]:
        return None, "It is the champion, which answers."
    contest = (retraining or {}).get("contest")
    if contest and {retraining["champion"], retraining["challenger"]} == {report["version"], champion["version"]}:  # type: ignore[index]
        low, high = contest["lead"]
        if retraining["challenger"] != report["version"]:  # type: ignore[index]
            low, high = -high, -low
        span = f"its lead in PR AUC is {low:+.3f} to {high:+.3f} (95 %), both judged on the newest period"
        return low > 0, (f"Better: {span}." if low > 0 else f"Not better than chance would make it: {span}.")
    spans = [
        ((tested.get("evaluation") or {}).get("intervals", {}).get("model", {}) or {}).get("pr_auc")
        for tested in (report, champion)
    ]
    if _tested(report) != _tested(champion):
        return None, (
            f"They were tested on different days ({_tested(report)}; the champion {_tested(champion)}), so the numbers "
            "below cannot decide. Retrain compares both on the newest period."
        )
    if None in spans:
        return None, "A test without intervals cannot decide. Retrain compares both on the newest period."
    low, high, champion_low, champion_high = (bound for span in spans for bound in span or ())
    if low > champion_high:
        return True, "Better: its whole interval of PR AUC lies above the champion's."
    if high < champion_low:
        return False, "Worse: its whole interval of PR AUC lies below the champion's."
    return (
        None,
        "Their intervals of PR AUC overlap, which decides nothing. Retrain compares both on the same resamples.",
    )


def part_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row per part of the examples: size, base rate, first and last time."""
    return [
        {
            "part": name,
            "examples": part["rows"],
            "base rate (%)": round(100 * part["base_rate"], 1),
            "first (UTC)": formats.when(part["first"]).removesuffix(" UTC"),
            "last (UTC)": formats.when(part["last"]).removesuffix(" UTC"),
        }
        for name, part in report["parts"].items()
    ]


def _tested(report: Mapping[str, Any]) -> str:
    test = report["parts"].get("test")
    return f"{test['first'][:10]} to {test['last'][:10]}" if test else "no test"


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _interval(value: float | None, span: Sequence[float] | None) -> str:
    if value is None:
        return formats.NOTHING
    return f"{value:.3f}" + (f" ({span[0]:.3f} to {span[1]:.3f})" if span else "")
