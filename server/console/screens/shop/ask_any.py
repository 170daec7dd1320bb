"""Ask, in a project whose questions name other things than a user and a product."""

from typing import Any

import streamlit as st

from server.console.answer import explained, show_score
from server.console.calculators.answers import feature_rows, words_of
from server.console.calculators.picking import pick_named, pick_target
from server.console.frame import heading, table
from server.console.resources import feature_words, settings

__all__ = ["ask_any"]


def ask_any() -> None:
    """Select what the schema asks for, score, explain."""
    project = settings().declared
    schema = project.schema
    heading("Ask", f"A question of {project.name}, its score, and what the answer rests on.")
    question: dict[str, Any] = {}
    columns = st.columns(len(schema.asks))
    for name, column in zip(schema.asked_keys, columns, strict=False):
        with column:
            question[name] = pick_named(name)
    for measure, column in zip(schema.asked_measures, columns[len(schema.asked_keys) :], strict=True):
        with column:
            label = words_of(measure.name).capitalize()
            bounds = float(measure.least), float(measure.most)
            question[measure.name] = st.number_input(label, *bounds, None, placeholder="unknown")
    if not all(question[key] for key in schema.asked_keys if key in schema.keys):
        st.info("Pick or type what the question is about.")
        return
    target = pick_target()
    filled = {name: value for name, value in (question | {"target": target}).items() if value not in (None, "")}
    answer = explained(filled)
    if answer is not None:
        show_score(answer)
        st.subheader("Features", anchor=False)
        table(feature_rows(answer["features_used"], feature_words()), height=420)
