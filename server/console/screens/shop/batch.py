"""Batch: a file of users and products in, a file of scores out."""

import re
from pathlib import PurePath
from typing import Any

import streamlit as st

from server.console import formats
from server.console.calculators.answers import scored_row
from server.console.calculators.batch_file import (
    MAX_ROWS,
    Checked,
    ask_all,
    read_questions,
    template_of,
    words_of,
    write_scores,
)
from server.console.calculators.due import average_of
from server.console.frame import facts, heading, table
from server.console.launch import UPLOAD_MB
from server.console.resources import api, api_key, asking, settings

__all__ = ["page"]

_SCORED = "batch_scored"
_SHOWN = 1_000
_UNFIT = re.compile(r"[^\w.-]")
"""Characters that are replaced in the name of the download."""


def page() -> None:
    """Upload, check, score, download."""
    schema = settings().declared.schema
    heading("Batch", "Score many questions at once, from a CSV file.")
    st.download_button("Template", template_of(schema), "encore-template.csv", "text/csv", icon=":material/download:")
    file = st.file_uploader(
        f"CSV with the columns {words_of(schema)}; up to {UPLOAD_MB} MB and {MAX_ROWS:,} rows",
        help="Which extension it has does not matter.",
    )
    if file is None:
        st.session_state.pop(_SCORED, None)
        st.info("Choose a file, or start from the template.")
        return
    checked = read_questions(file.getvalue(), schema, file.name)
    _faults(checked)
    if not checked.questions:
        st.error("No row can be scored.", icon=":material/error:")
        return
    if st.button(f"Score {len(checked.questions):,} rows", type="primary"):
        st.session_state[_SCORED] = (file.file_id, _score(checked.questions))
    identity, answers = st.session_state.get(_SCORED, (None, []))
    if identity == file.file_id:
        _answers(checked.questions, answers, file.name)


def _faults(checked: Checked) -> None:
    lines = len({fault.line for fault in checked.faults})
    facts({"Rows to score": formats.number(len(checked.questions)), "Rows with faults": formats.number(lines)})
    if checked.faults:
        st.warning(
            "Rows with faults are left out. Mend them in the file and upload it again.", icon=":material/warning:"
        )
        table([fault._asdict() for fault in checked.faults[:_SHOWN]])
        if len(checked.faults) > _SHOWN:
            st.caption(f"The first {_SHOWN:,} of {len(checked.faults):,} faults.")


def _score(questions: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
    answers: list[dict[str, Any] | None] = []
    with st.empty():
        for part in ask_all(api().predict_batch, questions):
            answers += part
            st.progress(len(answers) / len(questions), f"{len(answers):,} of {len(questions):,} scored")
    return answers


def _answers(questions: list[dict[str, Any]], answers: list[dict[str, Any] | None], name: str) -> None:
    scored = [answer for answer in answers if answer is not None]
    yes = sum(answer["prediction"] for answer in scored)
    st.success(f"{len(scored):,} rows scored; {yes:,} reach the threshold.", icon=":material/check_circle:")
    question = asking(scored[0]["target"], api_key()) if scored else None
    within = question.within if question else ""
    if len(scored) < len(answers):
        st.warning(f"{len(answers) - len(scored):,} rows have no answer now. Score again.", icon=":material/warning:")
    st.download_button(
        "Download scores",
        write_scores(questions, answers, settings().declared.schema),
        f"scores-{_UNFIT.sub('_', PurePath(name).stem)}.csv",
        "text/csv",
        icon=":material/download:",
        type="primary",
    )
    table(
        [
            scored_row(answer, settings().declared.schema, within) | {"cold start": answer["cold_start"]}
            for answer in scored[:_SHOWN]
        ]
    )
    st.caption(average_of(question).strip())
    if len(scored) > _SHOWN:
        st.caption(f"The first {_SHOWN:,}; the download has all.")
