"""An answer on a page: its score, its decision, and what moved the score."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from data.errors import ApiError, EncoreError
from server.console import charts, formats
from server.console.calculators import answers
from server.console.frame import plot, tell
from server.console.resources import api, api_key, asking, feature_words
from server.console.visit import link

__all__ = ["explained", "show_score"]


def explained(question: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the answer with its explanation; None after showing the reason, if there is none."""
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


def show_score(answer: Mapping[str, Any], name: str | None = None) -> None:
    """Draw the score beside the decision, and what moved it; `name` describes the subject of the question."""
    question = asking(answer["target"], api_key())
    left, right = st.columns([1, 2])
    with left:
        plot(charts.gauge(answer["confidence"], answer["threshold"]), "gauge")
    with right:
        if name:
            st.markdown(f"**{formats.plain(name)}**")
        verdict = formats.plain(answers.verdict(answer, question))
        if answer["prediction"]:
            st.success(verdict, icon=":material/check_circle:")
        else:
            st.info(verdict, icon=":material/info:")
        model = question.model if question and question.version == answer["model_version"] else answer["model_version"]
        st.caption(f"Model {formats.plain(model)}, as of {formats.when(answer['timestamp'])}.")
        version = {"target": answer["target"], "version": answer["model_version"]}
        link("version", "About this model", ":material/model_training:", **version)
    parts = answers.parts_of(answer)
    if parts is None:
        st.caption("This model cannot say what moved the score: train another one with `encore train`.")
        return
    _moved(parts)


_SCALES = ("points of probability", "log-odds")


def _moved(parts: answers.Parts) -> None:
    st.subheader("What moved the score", anchor=False)
    scale = st.segmented_control(
        "Scale",
        _SCALES,
        default=_SCALES[0],
        required=True,
        help="Contributions add up in log-odds. As points of probability they are what each changes when it comes in "
        "after those above it.",
    )
    points, odds, descriptions = parts.points, parts.contributions, feature_words()
    bar_texts = [f"{formats.points(points[name], 1)} ({odds[name]:+.2f})" for name in odds]
    start, end = answers.probability(parts.base), answers.probability(parts.total)
    sides = ((start, parts.base), (end, parts.total))
    ends = [f"{formats.percent(share)} ({log_odds:+.2f})" for share, log_odds in sides]
    is_points = scale == _SCALES[0]
    bar_values = {name: 100 * point for name, point in points.items()} if is_points else odds
    plot(
        charts.waterfall(
            100 * start if is_points else parts.base,
            [(descriptions.title(name), value) for name, value in bar_values.items()],
            100 * end if is_points else parts.total,
            [ends[0], *bar_texts, ends[1]],
            unit="probability (%)" if is_points else "log-odds",
        ),
        f"waterfall_{is_points}",
    )
    st.caption(
        "At the right of each bar: points of probability, and log-odds in brackets. It starts at what the model says "
        "before it looks at any feature."
    )
