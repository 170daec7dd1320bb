"""Version: one model, where it comes from, what its report says, how it stands against the champion, and its trial."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import streamlit as st

from data.errors import EncoreError
from data.units import DAY_US, to_micros
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
    found = {one["version"]: one for one in reversed(target["versions"])}
    with right:
        version = chosen("version", "Version", list(found), lambda name: _label(found[name]))
    report = _report(target["target"], version)
    champion = _report(target["target"], target["champion"]) if target["champion"] else None
    told_change()
    _origin(report, found[version]["aliases"])
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


def _label(one: Mapping[str, Any]) -> str:
    aliases = ", ".join(one["aliases"])
    return f"{one['version']} · {one['estimator']}" + (f" · {aliases}" if aliases else "")


def _report(target: str, version: str) -> dict[str, Any]:
    found: dict[str, Any] = api().get(f"/models/{quote(target, safe='')}/{quote(version, safe='')}")["report"]
    return found


@guarded
def _origin(report: Mapping[str, Any], aliases: list[str]) -> None:
    asked = asking_of(report)
    st.subheader(f"{report['estimator']} {report['version']}", anchor=False)
    st.markdown(
        formats.plain(
            f"{'Champion' if 'champion' in aliases else 'Challenger' if 'challenger' in aliases else 'A version'} of "
            f"{report['target'].replace('_', ' ')}: {asked.within} {report['meaning']}. Made "
            f"{formats.when(report['created'])} of {report['examples']:,} examples of {report['candidates']:,}, "
            f"seed {report['seed']}."
        )
    )
    facts(
        {
            "Threshold": formats.percent(report["threshold"]),
            "Chosen by": report["threshold_policy"],
            "Base rate": formats.percent(asked.base_rate),
            "Features": formats.number(len(report["features"])),
        },
        {"Base rate": "How often yes is the answer in its test.", "Chosen by": "The rule of the threshold."},
    )
    if report["note"]:
        st.caption(formats.plain(formats.sentence(report["note"])))
    _run(report)


def _run(report: Mapping[str, Any]) -> None:
    """Tell MLflow's run, where its database is a file of this home."""
    database = local_database(settings().tracking_uri)
    if database is None:
        st.caption("Its run is in MLflow's tracking server.")
        return
    known = LocalDatabase(database, patience_s=1.0).version(report["target"], report["version"])
    if known is None:
        st.caption("MLflow's database has no run of it.")
        return
    st.caption(
        formats.plain(f"MLflow: version {known.number}, run {known.run_id}.")
        + f" `encore mlflow` shows it at port {settings().mlflow_port}."
    )


@guarded
def _verdict(report: Mapping[str, Any], champion: Mapping[str, Any] | None) -> None:
    retraining = api().get(f"/models/{quote(report['target'], safe='')}/retrain")["report"]
    better, why = model_versions.judged(report, champion, retraining)
    if better:
        st.success(formats.plain(why), icon=":material/check_circle:")
    elif better is None:
        st.info(formats.plain(why), icon=":material/info:")
    else:
        st.warning(formats.plain(why), icon=":material/warning:")


@guarded
def _difference(report: Mapping[str, Any], champion: Mapping[str, Any] | None) -> None:
    if champion is None or champion["version"] == report["version"]:
        name = f"{report['estimator']} {report['version']}"
        table(model_versions.comparison_rows({name: report}, feature_words().title))
        return
    table(model_versions.difference_rows(report, champion))
    gone = sorted(set(champion["features"]) - set(report["features"]))
    new = sorted(set(report["features"]) - set(champion["features"]))
    words = feature_words()
    for told, names in (("It takes, and the champion does not", new), ("The champion takes, and it does not", gone)):
        if names:
            st.markdown(formats.plain(f"{told}: {', '.join(map(words.title, names))}."))


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
    words = feature_words()
    ranked = sorted(report["importances"].items(), key=lambda one: -one[1])[:_IMPORTANCES]
    plot(charts.ranking({words.title(name): value for name, value in ranked}, unit="fall of ROC AUC"), "importances")
    for name, _ in ranked[:3]:
        link("feature", f"About {words.title(name)}", ":material/functions:", feature=name)


@guarded
def _live(asked: Asking) -> None:
    part = quality_reports.of_target(api().get("/quality/live")["report"], asked.target)
    models = [one for one in (part or {}).get("models", []) if one["model"] == asked.version]
    table(quality_reports.live_rows(models))
    if any(one["metrics"] for one in models):
        return
    st.info(formats.plain(live_words(asked)), icon=":material/schedule:")


def live_words(asked: Asking) -> str:
    """Return from when on there are live metrics of a model, in a sentence."""
    kept, at = quality_reports.metrics_from(open_archive(settings()), asked.target, asked.version, asked.horizon_us)
    if at is None:
        least = MIN_ROWS
        return (
            f"{asked.model}: {kept} of its live predictions are kept, and {least} are needed; metrics exist "
            f"{formats.span(asked.horizon_us)} after the {least}th."
        )
    moment = formats.moment(to_micros(at))
    try:
        days = (to_micros(at) - clock()) / DAY_US
    except EncoreError:
        days = 0.0
    when = f"in {days:.1f} days" if days > 0 else "at the next `encore evaluate-live`, if the event log reaches so far"
    return (
        f"{asked.model}: live metrics exist from {moment} on ({when}), when {formats.span(asked.horizon_us)} are over."
    )
