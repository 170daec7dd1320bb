"""An answer on a page: the score, whether it is a yes, and what moved it."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from data.errors import ApiError, EncoreError
from server.console import charts, formats
from server.console.calculators import answers
from server.console.frame import plot, tell
from server.console.resources import api

__all__ = ["explained", "show_score"]


def explained(question: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the answer with its explanation; None, and the reason on the page, where there is none."""
    try:
        return api().predict({**question, "explain": True})
    except ApiError as error:
        if error.status < 500:
            tell(error)
            return None
    except EncoreError as error:
        tell(error)
        return None
    return api().predict(question)  # a damaged explainer must not prevent an answer


def show_score(answer: Mapping[str, Any], target: str | None, name: str | None = None) -> None:
    """Draw the score beside the decision, and what moved it; `name` is what the question is about, in words."""
    left, right = st.columns([1, 2])
    with left:
        plot(charts.gauge(answer["confidence"], answer["threshold"]), "gauge")
    with right:
        if name:
            st.markdown(f"**{formats.plain(name)}**")
        told = answers.verdict(answer, target)
        if answer["prediction"]:
            st.success(told, icon=":material/check_circle:")
        else:
            st.info(told, icon=":material/info:")
        st.caption(f"Model {answer['model_version']}, as of {formats.when(answer['timestamp'])}.")
    parts = answers.parts_of(answer)
    if parts is None:
        st.caption("This model cannot say what moved the score: train another one with `encore train`.")
        return
    st.subheader("What moved the score", anchor=False)
    plot(charts.waterfall(parts.base, parts.shown, parts.total), "waterfall")
