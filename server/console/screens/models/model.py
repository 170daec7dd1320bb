"""Model: champion and challenger side by side, and changing them."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import streamlit as st

from data.errors import ApiError
from server.console import charts, formats
from server.console.calculators import confusion, model_versions
from server.console.calculators.picking import pick_models
from server.console.frame import facts, guarded, heading, plot, table, tabs
from server.console.resources import api, feature_words
from server.console.screens.models.change import changes, told_change
from server.console.visit import link

__all__ = ["page"]

_IMPORTANCES = 20
_CURVES = {
    "ROC": ("roc", "false positive rate", "true positive rate", True),
    "Precision and recall": ("pr", "recall", "precision", False),
    "Calibration": ("calibration", "predicted", "observed", True),
}


def page() -> None:
    """Versions, comparison, threshold, actions."""
    heading("Model", "Which model answers, how good it is, and which one could take its place.")
    try:
        targets = api().get("/models")["targets"]
    except ApiError as error:
        if error.status != 404:
            raise
        st.info("This API does not tell of model versions. Serve a newer Encore.")
        return
    if not targets:
        st.info("There is no model yet. Train one with `encore train`, or let `encore up` do it.")
        return
    target = pick_models(targets)
    told_change()
    st.markdown(model_versions.standing(target))
    reports = _reports(target)
    tabs(
        {
            "Side by side": lambda: _comparison(reports),
            "Threshold and profit": lambda: _threshold(reports),
            "Importances": lambda: _importances(reports),
            "Segments": lambda: _segments(reports),
            "Versions": lambda: _versions(target),
        }
    )


def _reports(target: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the full reports of champion and challenger, by role and name, or of the newest version."""
    versions = {name: target[name] for name in ("champion", "challenger") if target[name]}
    if not versions and target["versions"]:
        versions = {"newest": target["versions"][-1]["version"]}
    reports = {
        name: api().get(f"/models/{quote(target['target'])}/{quote(version)}")["report"]
        for name, version in versions.items()
    }
    return {f"{name}: {report['estimator']} {report['version']}": report for name, report in reports.items()}


@guarded
def _comparison(reports: Mapping[str, Mapping[str, Any]]) -> None:
    if not reports:
        st.info("No version can be read.")
        return
    table(model_versions.comparison_rows(reports, feature_words().title))
    columns = st.columns(len(_CURVES))
    for column, (title, (name, x, y, diagonal)) in zip(columns, _CURVES.items(), strict=True):
        series = {
            version: (curve["x"], curve["y"])
            for version, report in reports.items()
            if (curve := ((report.get("evaluation") or {}).get("curves") or {}).get(name))
        }
        with column:
            st.markdown(f"**{title}**")
            if series:
                figure = charts.curves(series, x=x, y=y, diagonal=diagonal, markers=name == "calibration", height=280)
                plot(figure, name)
            else:
                st.info("This version's report has no such curve. Train again with `encore train`.")
    for version, report in reports.items():
        notes = [model_versions.calibration_note(report), report.get("note", "")]
        st.caption(
            formats.plain(
                f"{version[:1].upper()}{version[1:]}. " + " ".join(formats.sentence(note) for note in notes if note)
            )
        )


@guarded
def _threshold(reports: Mapping[str, Mapping[str, Any]]) -> None:
    usable = {name: scores for name, report in reports.items() if (scores := confusion.scores_of(report))}
    if not usable:
        st.info("No version's report tells how its scores lie. Train again with `encore train`.")
        return
    name = st.radio("Version", list(usable), horizontal=True) if len(usable) > 1 else next(iter(usable))
    scores, report = usable[name], reports[name]
    left, right = st.columns(2)
    with left:
        true_positive = st.number_input("Gain from one who buys and was chosen", value=5.0, step=0.5)
        false_positive = st.number_input("Gain from one who was chosen in vain", value=-1.0, step=0.5)
    with right:
        false_negative = st.number_input("Gain from one who buys and was left out", value=0.0, step=0.5)
        true_negative = st.number_input("Gain from one rightly left out", value=0.0, step=0.5)
    payoffs = confusion.Payoffs(true_positive, false_positive, false_negative, true_negative)
    best = confusion.best_threshold(scores, payoffs)
    edges = scores.edges
    nearest = min(edges, key=lambda edge: abs(edge - report["threshold"]))
    chosen = st.select_slider(
        "Threshold", edges, nearest, format_func=formats.percent, key=f"threshold:{report['version']}"
    )
    matrix = scores.at(chosen)
    facts(
        {
            "Expected profit": formats.money(matrix.profit(payoffs)),
            "Best threshold": formats.percent(best),
            "Profit at best": formats.money(scores.at(best).profit(payoffs)),
            "Precision": formats.percent(matrix.precision),
            "Recall": formats.percent(matrix.recall),
        },
        {"Expected profit": "Over the test's examples, in the units of the gains above."},
    )
    table(
        [
            {"": "chosen", "buys": round(matrix.true_positives), "does not": round(matrix.false_positives)},
            {"": "left out", "buys": round(matrix.false_negatives), "does not": round(matrix.true_negatives)},
        ]
    )
    profits = [scores.at(edge).profit(payoffs) for edge in edges]
    plot(
        charts.curves({"profit": ([100 * edge for edge in edges], profits)}, x="threshold (%)", y="expected profit"),
        "profit",
    )
    st.caption(
        "Expected profit: the four counts times their gains (Elkan 2001, The foundations of cost-sensitive learning). "
        f"The model's own threshold is {formats.percent(report['threshold'])}; the slider stands on the nearest of "
        f"{len(edges)} steps."
    )


@guarded
def _importances(reports: Mapping[str, Mapping[str, Any]]) -> None:
    for index, (name, column) in enumerate(zip(reports, st.columns(max(1, len(reports))), strict=False)):
        with column:
            st.markdown(f"**{formats.plain(name)}**")
            descriptions = feature_words()
            ranked = sorted(reports[name]["importances"].items(), key=lambda item: -item[1])[:_IMPORTANCES]
            shares = {descriptions.title(feature): share for feature, share in ranked}
            plot(charts.ranking(shares, unit="importance"), f"importances{index}")
    st.caption(
        "How much the test's ROC AUC falls without the feature. The page Feature has all of one: where it comes from, "
        "and how it moved."
    )
    link("feature", "About a feature", ":material/functions:")


@guarded
def _segments(reports: Mapping[str, Mapping[str, Any]]) -> None:
    has_segments = False
    for name, report in reports.items():
        rows = model_versions.segment_rows(report)
        if rows:
            has_segments = True
            st.markdown(f"**{formats.plain(name)}**")
            table(rows)
    if not has_segments:
        st.info("No version's report has segments. Train again with `encore train`.")


@guarded
def _versions(target: Mapping[str, Any]) -> None:
    rows = model_versions.version_rows(target["versions"])
    picked = table(rows, key="versions")
    version = (picked or rows[0])["version"]
    query = {"target": target["target"], "version": version}
    link("version", f"About {version}", ":material/history_edu:", **query)
    st.markdown(f"**Change which model answers: `{version}`**")
    changes(target, version)
    _retraining(target["target"])


@guarded
def _retraining(target: str) -> None:
    report = api().get(f"/models/{quote(target)}/retrain")["report"]
    if report:
        st.markdown("**The last retraining**")
        table(
            [
                {
                    "what": name.replace("_", " "),
                    "is": ", ".join(map(str, value)) if isinstance(value, list) else str(value),
                }
                for name, value in report.items()
                if value not in (None, "", [])
            ]
        )
