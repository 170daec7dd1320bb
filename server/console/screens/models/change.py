"""Changing which version answers: promote, try, share, withdraw, roll back, retrain. Every change asks first."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import streamlit as st

from data.errors import ApiError
from server.console import formats
from server.console.calculators import model_versions
from server.console.frame import guarded, tell
from server.console.resources import api

__all__ = ["changes", "told_change"]

_DONE = "model_done"


def told_change() -> None:
    """Show the result of the last change, once."""
    if message := st.session_state.pop(_DONE, None):
        st.success(formats.plain(message), icon=":material/check_circle:")


@guarded
def changes(target: Mapping[str, Any], version: str) -> None:
    """Draw the actions on a version and on its target."""
    name = target["target"]
    st.caption(
        "Where the API has keys this needs one with the role `operate`, typed in the sidebar. Every change asks first."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        share = st.select_slider(
            "Challenger: share of users whom it answers",
            (0, 5, 10, 20, 50),
            0,
            format_func=lambda percent: f"{percent} %" if percent else "none: in the shadow",
            width=320,
        )
        if st.button("Try as challenger", icon=":material/science:"):
            mode = f"for {share} % of the users" if share else "in the shadow"
            body = {"version": version, "alias": "challenger", "share": share / 100}
            _confirm(f"Make {version} the challenger of {name}, {mode}?", name, "promote", body)
        if target["challenger"] and st.button("Withdraw the challenger", icon=":material/close:"):
            _confirm(f"End the trial of {target['challenger']}?", name, "withdraw", {})
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if st.button("Promote", icon=":material/arrow_upward:"):
            _confirm(f"Make {version} the champion of {name}?", name, "promote", {"version": version})
        if st.button("Roll back", icon=":material/undo:"):
            _confirm(f"Make the champion before this one champion of {name} again?", name, "rollback", {})
        if st.button("Retrain", icon=":material/model_training:"):
            question = f"Retrain {name}? It takes minutes; the result is a challenger."
            _confirm(question, name, "retrain", {"if_needed": False})


@st.dialog("Are you sure?")
def _confirm(question: str, target: str, change: str, body: dict[str, Any]) -> None:
    st.markdown(formats.plain(question))
    with st.container(horizontal=True):
        if st.button("Yes, do it", type="primary"):
            _do(f"/models/{quote(target)}/{change}", body)
        if st.button("No"):
            st.rerun()


@guarded
def _do(path: str, body: dict[str, Any]) -> None:
    try:
        with st.spinner("working …"):
            answer = api().post(path, body, timeout_s=150)
    except ApiError as error:
        if error.status in {401, 403}:
            tell(error)
            st.info("Type a key with the role `operate` in the sidebar, and try again.")
            return
        raise
    st.session_state[_DONE] = model_versions.told(answer)
    st.rerun()
