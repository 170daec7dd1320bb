"""Alerts: which limits are passed now, and what to do about each."""

import streamlit as st

from data.errors import UnavailableError
from server.console import formats
from server.console.frame import guarded, heading, tell
from server.console.resources import prometheus, readings
from server.console.watch.alerts import ALERTS, Alert

__all__ = ["page"]


def page() -> None:
    """Those that fire, then all."""
    heading("Alerts", "Which limits are passed now, and what to do about each.")
    _alerts()


@st.fragment(run_every=5)
@guarded
def _alerts() -> None:
    current = readings()
    firing = [alert for alert in ALERTS if alert.fires(current)]
    for alert in firing:
        value = alert.value(current)
        st.error(
            f"**{alert.name}** {formats.plain(alert.title)}: {formats.plain(alert.written(value or 0))}; "
            f"the limit is {formats.plain(alert.written(alert.limit))}. {alert.action} More: `{alert.runbook}`.",
            icon=":material/error:",
        )
    if not firing:
        st.success("No limit is passed.", icon=":material/check_circle:")
    _elsewhere({alert.name for alert in firing})
    st.table([_row(alert, current) for alert in ALERTS])  # unlike those of a data frame, its cells break lines
    st.caption(
        "The limits are those of `deploy/prometheus/alerts.yml`. Prometheus tells somebody when one is passed for some "
        "minutes, and has more of them: of errors, slow answers and each part."
    )


def _elsewhere(shown_names: set[str]) -> None:
    """Show the other alerts that fire in Prometheus, if there is one."""
    server = prometheus()
    if server is None:
        return
    try:
        names = sorted(server.firing() - shown_names)
    except UnavailableError as error:
        tell(error)
        return
    for name in names:
        st.error(f"**{formats.plain(name)}** fires in Prometheus. More: `docs/operations.md`.", icon=":material/error:")


def _row(alert: Alert, current: dict[str, float]) -> dict[str, str]:
    value = alert.value(current)
    written = formats.NOTHING if value is None else alert.written(value)
    return {
        "state": "not known" if value is None else "passed" if alert.fires(current) else "well",
        "now (limit)": f"{written} ({'below' if alert.below else 'above'} {alert.written(alert.limit)})",
        "alert, and what to do": f"**{alert.name}** {formats.plain(alert.title)}. {alert.action}",
    }
