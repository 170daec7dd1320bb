"""Quality: have the features drifted, do the scores hold, do all paths agree?"""

from typing import Any
from urllib.parse import quote

import msgspec
import streamlit as st

from data.clock import wall_clock
from data.errors import ApiError, UnavailableError
from model.evaluation.drift import DRIFTED
from model.evaluation.live import MIN_ROWS
from model.metrics import Histogram
from server.console import charts, formats
from server.console.calculators import quality_reports
from server.console.calculators.picking import first_first
from server.console.frame import facts, guarded, heading, plot, table, tabs
from server.console.resources import api, api_key, asking, feature_words, redis_client, settings
from server.console.screens.models.version import live_words
from server.console.visit import chosen, link
from server.jobs.audit import last_audit
from server.process.command import run_command
from server.scoring.kept_predictions import open_archive

__all__ = ["page"]

_SAMPLE = 5
_PATIENCE_S = 180
_HINT = "Find it anew with `encore evaluate-live`, which joins predictions with what then happened."


def page() -> None:
    """Drift, live metrics, verification."""
    heading("Quality", "Have features drifted, do scores hold, and do all paths to a feature agree?")
    tabs({"Drift": _drift, "Live metrics": _live, "Do all paths agree?": _paths})


def _champions() -> dict[str, str | None]:
    """Return each target's champion. Raises if the API does not answer: that differs from having no model."""
    champions = {target["target"]: target["champion"] for target in api().get("/models")["targets"]}
    return {target: champions[target] for target in first_first(champions)}


def _report(name: str) -> Any:
    try:
        return api().get(f"/quality/{name}")["report"]
    except ApiError as error:
        if error.status == 404:
            raise UnavailableError("This API does not tell of quality. Serve a newer Encore.") from error
        raise


@guarded
def _drift() -> None:
    champions = _champions()
    if not champions:
        st.info("There is no model whose features could drift. Train one with `encore train`.")
        return
    target = chosen("target", "Question", list(champions), lambda name: name.replace("_", " "))
    report, champion = quality_reports.of_target(_report("drift"), target), champions[target]
    if report is not None and report["model"] and report["model"] != champion:
        st.info(f"Champion is `{champion}`; drift was last looked for under `{report['model']}`. {_HINT}")
        report = None
    elif report is None:
        st.info(f"Nobody has looked for drift yet. {_HINT}")
    elif report["note"]:
        st.info(formats.plain(f"No drift can be told: {report['note']}.") + f" {_HINT}")
    else:
        facts(
            {
                "Drifted features": formats.number(len(report["drifted"])),
                "Predictions": formats.number(report["rows"]),
                "Looked": formats.ago(formats.micros(report["at"]), wall_clock()),
            },
            {
                "Drifted features": f"PSI above {DRIFTED} (Siddiqi, Credit Risk Scorecards, 2006), and more than twice "
                "what the feature moved while the model learned."
            },
        )
        st.caption(formats.plain(f"Against what {report['model']} learned from. Pick a row to see all of a feature."))
        rows = quality_reports.drift_rows(report["psi"], report["drifted"], feature_words())
        if picked := table(rows, height=300, key="drift_rows"):
            link("feature", f"About {picked['feature']}", ":material/functions:", feature=picked["name"])
    _histograms(target, list(report["psi"]) if report else [])


@guarded
def _histograms(target: str, ranked: list[str]) -> None:
    metadata = api().get(f"/models/{quote(target)}/champion")["report"]
    reference = msgspec.convert(metadata.get("reference") or {}, dict[str, Histogram], strict=False)
    if not reference:
        st.info("The champion's report has no reference of its features. Train again with `encore train`.")
        return
    recent, rows = quality_reports.recent_histograms(open_archive(settings()), target, reference)
    if not recent:
        st.info(f"No predictions are kept yet. Ask something, then: {_HINT}")
        return
    names = [*[name for name in ranked if name in reference], *[name for name in reference if name not in ranked]]
    name = chosen("feature", "Feature", names, feature_words().title)
    plot(
        charts.grouped_bars(
            quality_reports.bin_names(reference[name].edges),
            {
                "learned from": [100 * share for share in reference[name].shares],
                f"asked about lately ({rows:,} predictions)": [100 * share for share in recent[name].shares],
            },
            unit="% of rows",
        ),
        "histograms",
    )
    missing = quality_reports.missing_rows(reference, recent, feature_words())
    if missing:
        st.markdown("**Missing values**")
        table(missing, height=260)


@guarded
def _live() -> None:
    report = _report("live")
    for target, champion in _champions().items():
        part = quality_reports.of_target(report, target)
        models = (part or {}).get("models") or []
        st.markdown(f"**{formats.plain(target.replace('_', ' '))}**")
        table(quality_reports.live_rows(models))
        if part:
            st.caption(f"Looked {formats.ago(formats.micros(part['at']), wall_clock())}.")
        if not any(model["metrics"] for model in models if model["model"] == champion) and (
            question := asking(target, api_key())
        ):
            st.info(formats.plain(live_words(question)), icon=":material/schedule:")
    st.caption(
        f"A prediction is settled when its horizon is over; metrics are told from {MIN_ROWS} settled ones on. {_HINT}"
    )


@guarded
def _paths() -> None:
    st.markdown(
        "`encore verify` computes every feature of some entities by Featuretools itself, by batch, from the streamed "
        "state and through Feast, and compares."
    )
    audit = last_audit(redis_client(), settings().project)
    if audit is not None:
        facts(
            {
                "Last audit": formats.ago(audit.at_us, wall_clock()),
                "Entities": formats.number(audit.entities),
                "Values": formats.number(audit.values),
                "Differing": formats.number(audit.differing),
            }
        )
        for difference in audit.differences:
            st.error(formats.plain(difference))
    else:
        st.info("No audit is kept. `encore up --audit` runs one all the time.")
    if st.button("Verify now", icon=":material/fact_check:", help=f"{_SAMPLE} entities of each kind; takes seconds."):
        with st.spinner("computing every feature on every path …"):
            # In a process of its own, since it imports Featuretools and Feast.
            verdict = run_command(settings(), ["verify", "--sample", str(_SAMPLE)], patience_s=_PATIENCE_S)
        table(
            [
                {"path": path, "values": count, "agree": verdict["agreeing"].get(path, 0)}
                for path, count in verdict["compared"].items()
            ]
        )
        if verdict["ok"]:
            st.success(f"All paths agree on {verdict['entities']} entities.", icon=":material/check_circle:")
        else:
            st.error("Paths differ.", icon=":material/error:")
            table([{"difference": str(difference)} for difference in verdict["disagreements"][:20]])
