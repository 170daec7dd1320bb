"""The part of Decide about abandoned carts: interventions by risk, and what an A/B log measured of them."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from server.console import charts, formats
from server.console.frame import facts, guarded, plot, table
from server.console.resources import api
from server.console.visit import link

__all__ = ["interventions"]


@guarded
def interventions() -> None:
    """Draw the recommendations for carts, and the trial that measured their effect."""
    answer = api().get("/interventions")
    st.markdown("**What is recommended about a cart, by its probability of abandonment**")
    table(
        [
            {
                "risk": rule["risk_level"].lower(),
                "from (%)": round(100 * rule["from_probability"]),
                "what is done": rule["intervention"].replace("_", " "),
                "lost carts rescued (%)": round(100 * rule["rescued"], 1),
                "95 % interval": _interval(rule["rescued_interval"]),
                "known from": "an A/B log" if rule["basis"] == "measured" else "an assumption",
                "discount (%)": round(100 * rule["discount"], 1),
                "margin (%)": round(100 * rule["margin"]),
            }
            for rule in answer["rules"]
        ]
    )
    report = answer["report"]
    if report is None:
        st.warning(
            "What an intervention rescues is an assumption here: no A/B log has measured it (`encore uplift`).",
            icon=":material/help:",
        )
        return
    _trial(report)


def _trial(report: Mapping[str, Any]) -> None:
    measured = report["measured"]
    low, high = measured["uplift_interval"]
    st.subheader("What the A/B log showed", anchor=False)
    facts(
        {
            "Carts": formats.number(measured["rows"]),
            "Treated": formats.percent(measured["treated_share"], 0),
            "More bought": formats.points(measured["uplift"], 1),
        },
        {"More bought": "Share of treated carts that were bought less that of the others, in percentage points."},
    )
    span = f"{formats.points(low, 1)} to {formats.points(high, 1)} (95 %)"
    if low > 0:
        st.success(f"The treatment works: {span} more carts are bought.", icon=":material/check_circle:")
    elif high < 0:
        st.warning(f"The treatment loses carts: {span}.", icon=":material/warning:")
    else:
        st.info(f"No effect shown: {span}; more carts would narrow that.", icon=":material/info:")
    st.markdown("**By risk, as the model told it at the time of each cart**")
    table([_level_row(level) for level in measured["levels"]])
    st.caption(
        "A level counts in the table of recommendations where both arms have 50 carts and treated as it says there."
    )
    if report["note"]:
        st.warning(formats.plain(f"{report['note'][:1].upper()}{report['note'][1:]}."), icon=":material/warning:")
    st.markdown("**Whom to treat first**")
    names = {"table": "by risk", "two models": "by two models, one an arm"}
    curves = {
        names.get(name, name): ([100 * x for x in curve["curve"]["x"]], [100 * y for y in curve["curve"]["y"]])
        for name, curve in measured["qini"].items()
    }
    at_random = ([0.0, 100.0], [0.0, 100 * measured["uplift"]])
    unit = "extra purchases per 100 carts"
    plot(charts.curves(curves | {"at random": at_random}, x="carts treated, those first (%)", y=unit), "qini")
    st.caption(
        "Qini curves: the further a line lies above *at random*, the more an order is worth where not all carts can be "
        "treated; beside or below it, treat all or none. "
        + formats.plain(
            f"Carts from {formats.when(report['first'])} to {formats.when(report['last'])}, by the model "
            f"{report['target'].replace('_', ' ')} {report['model']}."
        )
    )
    version = {"target": report["target"], "version": report["model"]}
    link("version", "About this model", ":material/history_edu:", **version)


def _level_row(level: Mapping[str, Any]) -> dict[str, Any]:
    def share(name: str) -> float | None:
        return None if level[name] is None else round(100 * level[name], 1)

    return {
        "risk": level["risk_level"].lower(),
        "treatment": level["intervention"].replace("_", " "),
        "control": level["control"],
        "treated": level["treated"],
        "bought, control (%)": share("bought_control"),
        "bought, treated (%)": share("bought_treated"),
        "difference": _interval(level["uplift_interval"], signed=True) or "too few carts",
        "lost carts rescued (%)": share("rescued"),
        "95 % interval": _interval(level["rescued_interval"]),
        "assumed (%)": share("assumed"),
    }


def _interval(interval: list[float] | None, *, signed: bool = False) -> str:
    write = formats.points if signed else formats.percent
    return "" if interval is None else " to ".join(write(bound, 1) for bound in interval)
