"""Feature: what it means, how it is computed, how it moved, what is missing, and who uses it."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
import streamlit as st

from data.clock import wall_clock
from data.errors import EncoreError
from data.units import from_micros
from features.plan.describe import formula
from model.metrics import Histogram
from model.targets import targets_of
from server.console import charts, formats
from server.console.calculators import quality_reports
from server.console.feature import past, use
from server.console.frame import facts, guarded, heading, plot, table, tabs
from server.console.resources import api, api_key, asking, feature_words, plan, served_targets, settings
from server.console.visit import chosen, link
from server.scoring.kept_predictions import open_archive

__all__ = ["page"]

_DAYS = 30


def page() -> None:
    """Pick a feature, then everything about it."""
    heading("Feature", "What a feature means, how it is computed, how it moved, and who uses it.")
    descriptions = feature_words()
    left, right = st.columns([3, 2])
    with left:
        name = chosen("feature", "Feature", list(plan().names), descriptions.title)
    targets = served_targets(api_key())
    with right:
        target = chosen("target", "As asked about", targets, lambda text: text.replace("_", " ")) if targets else None
    description = descriptions[name]
    st.subheader(formats.plain(description.title), anchor=False)
    tabs(
        {
            "Definition": lambda: _definition(name),
            "Past": lambda: _past(target, name),
            "Drift and missing values": lambda: _drift(target, name),
            "Who uses it": lambda: _use(name),
        }
    )


@guarded
def _definition(name: str) -> None:
    match = use.found_in(plan(), name)
    if match is None:
        st.info("The definitions that answer now have no such feature.")
        return
    entity, feature = match
    description = feature_words()[name]
    st.markdown(f"{formats.plain(description.full)} Of the {formats.plain(description.subject)}.")
    facts(
        {
            "Type": feature.type,
            "Entity": entity.replace("_", " "),
            "Feast view": use.view_of(plan(), entity),
        },
        width=240,
    )
    st.markdown("**Formula**, as it is compiled for batch, stream and read:")
    st.code(formula(feature.expression), language=None, wrap_lines=True)
    st.caption(
        formats.plain(f"Its name is {name}; plan {plan().hash}.")
        + " How windows, orders and the like are meant: `docs/features.md`."
    )


@guarded
def _past(target: str | None, name: str) -> None:
    if target is None:
        _nobody_answers()
        return
    now = from_micros(wall_clock())
    days = past.feature_days(open_archive(settings()), target, name, now=now, days=_DAYS)
    if not any(day.rows for day in days):
        st.info(f"No prediction of the last {_DAYS} days is kept, or none takes this feature. Ask something.")
        return
    times = [day.day for day in days]
    st.markdown(f"**Values asked about, day by day** ({formats.number(sum(day.rows for day in days))} predictions)")
    lines = {
        "90 % lie below": [day.high for day in days],
        "median": [day.median for day in days],
        "10 % lie below": [day.low for day in days],
    }
    plot(charts.over_time(times, lines, unit="value", dots=True), "feature_days")
    st.markdown("**Missing**")
    missing = {"missing": [None if day.missing is None else 100 * day.missing for day in days]}
    plot(charts.over_time(times, missing, unit="%", dots=True), "feature_missing")
    st.caption(f"Of predictions of {target.replace('_', ' ')} that are kept; a day without enough of them is a gap.")


@guarded
def _drift(target: str | None, name: str) -> None:
    question = asking(target, api_key()) if target else None
    if target is None or question is None:
        _nobody_answers()
        return
    report = quality_reports.of_target(api().get("/quality/drift")["report"], target) or {}
    psi = (report.get("psi") or {}).get(name)
    metadata = api().get(f"/models/{quote(target, safe='')}/champion")["report"]
    reference = msgspec.convert(metadata.get("reference") or {}, dict[str, Histogram], strict=False)
    if name not in reference:
        st.info(formats.plain(f"{question.model} does not take this feature, or kept no reference of it."))
        return
    recent, rows = quality_reports.recent_histograms(open_archive(settings()), target, {name: reference[name]})
    latest = recent.get(name)
    verdict = "not looked for" if psi is None else quality_reports.drift_word(name, psi, report.get("drifted") or [])
    facts(
        {
            "Drift": verdict,
            "PSI": formats.NOTHING if psi is None else f"{psi:.3f}",
            "Missing, learned": formats.percent(reference[name].shares[-1]),
            "Missing, lately": formats.percent(latest.shares[-1] if latest else None),
        }
    )
    series = {"learned from": [100 * share for share in reference[name].shares]}
    if latest:
        series[f"asked about lately ({rows:,} predictions)"] = [100 * share for share in latest.shares]
    plot(
        charts.grouped_bars(quality_reports.bin_names(reference[name].edges), series, unit="% of rows"), "feature_bins"
    )
    st.caption(formats.plain(f"Against what {question.model} learned from."))
    link("quality", "Drift of all features", ":material/fact_check:", target=target)


def _nobody_answers() -> None:
    """Say that no model answers. Raises if the API does not answer: that differs from having no model."""
    api().get("/models")
    st.info("No model answers, so nobody asks about it. Train one with `encore train`, or let `encore up` do it.")


@guarded
def _use(name: str) -> None:
    rows = use.use_rows(name, _reports())
    if rows:
        table(rows)
    else:
        st.info("No champion or challenger takes it.")
    services = dict.fromkeys(target.feature_service for target in targets_of(settings().declared).values())
    st.markdown(formats.plain(f"Feast's feature services with it: {', '.join(services)}."))
    for row in rows[:3]:
        target, version = row["target"].replace(" ", "_"), row["model"].split()[-1]
        link("version", f"About {row['model']}", ":material/history_edu:", target=target, version=version)


def _reports() -> Sequence[tuple[str, Mapping[str, Any]]]:
    """Return the report of each target's champion and challenger. Raises if the API does not answer."""
    reports = []
    for target in api().get("/models")["targets"]:
        for role in ("champion", "challenger"):
            if target[role]:
                try:
                    report = api().get(f"/models/{quote(target['target'], safe='')}/{quote(target[role], safe='')}")
                except EncoreError:  # withdrawn meanwhile
                    continue
                reports.append((role, report["report"]))
    return reports
