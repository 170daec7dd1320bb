"""Version: one model, where it comes from, what its report says, how it stands against the champion, and its trial."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import streamlit as st

from data.errors import EncoreError
from data.units import DAY_US, span, to_micros
from model.evaluation.live import MIN_ROWS
from model.registry.local_database import LocalDatabase, local_database
from server.console import charts, formats
from server.console.calculators import model_versions, quality_reports
from server.console.calculators.answers import Asking, asking_of
from server.console.calculators.picking import pick_models
from server.console.frame import facts, guarded, heading, plot, table, tabs
from server.console.resources import api, clock, feature_words, settings
from server.console.screens.models.change import changes, told_change
from server.console.visit import chosen, link
from server.scoring.kept_predictions import open_archive

__all__ = ["live_words", "page"]

_IMPORTANCES = 20


def page() -> None:
    """Pick a version, then everything about it."""
    heading("Version", "One model: its run, its report, its verdict against the champion, and its trial.")
    targets = [target for target in api().get("/models")["targets"] if target["versions"]]
    if not targets:
        st.info("There is no model yet. Train one with `encore train`, or let `encore up` do it.")
        return
    left, right = st.columns(2)
    with left:
        target = pick_models(targets)
    versions = {entry["version"]: entry for entry in reversed(target["versions"])}
    with right:
        version = chosen("version", "Version", list(versions), lambda name: _label(versions[name]))
    report = _report(target["target"], version)
    champion = _report(target["target"], target["champion"]) if target["champion"] else None
    told_change()
    _origin(report, versions[version]["aliases"])
    _verdict(report, champion)
    tabs(
        {
            "Against the champion": lambda: _difference(report, champion),
            "Report": lambda: _parts(report),
            "Importances": lambda: _importances(report),
            "Live metrics": lambda: _live(asking_of(report)),
            "Change": lambda: changes(target, version),
        }
    )
    link("model", "All versions", ":material/model_training:", target=target["target"])


def _label(version: Mapping[str, Any]) -> str:
    aliases = ", ".join(version["aliases"])
    return f"{version['version']} · {version['estimator']}" + (f" · {aliases}" if aliases else "")


def _report(target: str, version: str) -> dict[str, Any]:
    report: dict[str, Any] = api().get(f"/models/{quote(target, safe='')}/{quote(version, safe='')}")["report"]
    return report


@guarded
def _origin(report: Mapping[str, Any], aliases: list[str]) -> None:
    question = asking_of(report)
    st.subheader(f"{report['estimator']} {report['version']}", anchor=False)
    st.markdown(
        formats.plain(
            f"{'Champion' if 'champion' in aliases else 'Challenger' if 'challenger' in aliases else 'A version'} of "
            f"{report['target'].replace('_', ' ')}: {question.within} {report['meaning']}. Made "
            f"{formats.when(report['created'])} of {report['examples']:,} examples of {report['candidates']:,}, "
            f"seed {report['seed']}."
        )
    )
    facts(
        {
            "Threshold": formats.percent(report["threshold"]),
            "Chosen by": report["threshold_policy"],
            "Base rate": formats.percent(question.base_rate),
            "Features": formats.number(len(report["features"])),
        },
        {"Base rate": "How often yes is the answer in its test.", "Chosen by": "The rule of the threshold."},
    )
    if report["note"]:
        st.caption(formats.plain(formats.sentence(report["note"])))
    _run(report)


def _run(report: Mapping[str, Any]) -> None:
    """Show MLflow's run, if its database is a file of this home."""
    database = local_database(settings().tracking_uri)
    if database is None:
        st.caption("Its run is in MLflow's tracking server.")
        return
    run = LocalDatabase(database, patience_s=1.0).version(report["target"], report["version"])
    if run is None:
        st.caption("MLflow's database has no run of it.")
        return
    st.caption(
        formats.plain(f"MLflow: version {run.number}, run {run.run_id}.")
        + f" `encore mlflow` shows it at port {settings().mlflow_port}."
    )


@guarded
def _verdict(report: Mapping[str, Any], champion: Mapping[str, Any] | None) -> None:
    retraining = api().get(f"/models/{quote(report['target'], safe='')}/retrain")["report"]
    better, reason = model_versions.judged(report, champion, retraining)
    if better:
        st.success(formats.plain(reason), icon=":material/check_circle:")
    elif better is None:
        st.info(formats.plain(reason), icon=":material/info:")
    else:
        st.warning(formats.plain(reason), icon=":material/warning:")


@guarded
def _difference(report: Mapping[str, Any], champion: Mapping[str, Any] | None) -> None:
    if champion is None or champion["version"] == report["version"]:
        name = f"{report['estimator']} {report['version']}"
        table(model_versions.comparison_rows({name: report}, feature_words().title))
        return
    table(model_versions.difference_rows(report, champion))
    gone = sorted(set(champion["features"]) - set(report["features"]))
    new = sorted(set(report["features"]) - set(champion["features"]))
    descriptions = feature_words()
    sides = (("It takes, and the champion does not", new), ("The champion takes, and it does not", gone))
    for side, names in sides:
        if names:
            st.markdown(formats.plain(f"{side}: {', '.join(map(descriptions.title, names))}."))


@guarded
def _parts(report: Mapping[str, Any]) -> None:
    table(model_versions.part_rows(report))
    note = model_versions.calibration_note(report)
    if note:
        st.markdown(formats.plain(note))
    if report["choice"]:
        st.markdown("**Estimators that were compared** (PR AUC over the periods before the test)")
        table([{"estimator": name, "PR AUC": round(value, 4)} for name, value in report["choice"].items()])
    rows = model_versions.segment_rows(report)
    if rows:
        st.markdown("**Segments**")
        table(rows, height=280)
    st.markdown("**Parameters**")
    table([{"parameter": name, "value": str(value)} for name, value in report["parameters"].items()])
    st.download_button(
        "Download the report",
        json.dumps(report, indent=2),
        f"{report['target']}-{report['version']}.json",
        "application/json",
        icon=":material/download:",
    )


@guarded
def _importances(report: Mapping[str, Any]) -> None:
    features = feature_words()
    ranked = sorted(report["importances"].items(), key=lambda item: -item[1])[:_IMPORTANCES]
    plot(charts.ranking({features.title(name): value for name, value in ranked}, unit="fall of ROC AUC"), "importances")
    for name, _ in ranked[:3]:
        link("feature", f"About {features.title(name)}", ":material/functions:", feature=name)


@guarded
def _live(question: Asking) -> None:
    part = quality_reports.of_target(api().get("/quality/live")["report"], question.target)
    models = [model for model in (part or {}).get("models", []) if model["model"] == question.version]
    table(quality_reports.live_rows(models))
    if any(model["metrics"] for model in models):
        return
    st.info(formats.plain(live_words(question)), icon=":material/schedule:")


def live_words(question: Asking) -> str:
    """Return from when on there are live metrics of a model, in a sentence."""
    archive, version = open_archive(settings()), question.version
    count, since = quality_reports.metrics_from(archive, question.target, version, question.horizon_us)
    if since is None:
        least = MIN_ROWS
        return (
            f"{question.model}: {count} of its live predictions are kept, and {least} are needed; metrics exist "
            f"{span(question.horizon_us)} after the {least}th."
        )
    moment = formats.moment(to_micros(since))
    try:
        days = (to_micros(since) - clock()) / DAY_US
    except EncoreError:
        days = 0.0
    when = f"in {days:.1f} days" if days > 0 else "at the next `encore evaluate-live`, if the event log reaches so far"
    return f"{question.model}: live metrics exist from {moment} on ({when}), when {span(question.horizon_us)} are over."
