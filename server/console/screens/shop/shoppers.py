"""Regulars: who is due to come again, and what one user comes back for; both can be downloaded."""

from typing import Any

import streamlit as st

from server.console import formats
from server.console.calculators.answers import words_of
from server.console.calculators.due import average_of, column_of, due_rows, made_at
from server.console.calculators.picking import link_to_ask, pick_named, require_pair, require_regulars
from server.console.calculators.scored_pairs import asked_about, due_within, scored_candidates
from server.console.csv_table import write_csv
from server.console.frame import facts, guarded, heading, table, tabs
from server.console.names import name_of
from server.console.resources import clock

__all__ = ["page"]

_PAIRS = 2_000
_CANDIDATES = 200
_SHOWN = 500


def page() -> None:
    """Two lists."""
    heading("Regulars", "Who comes again, and for what? Scored by the model that answers.")
    if require_pair() is None:
        return
    tabs({"Due again": _due, "What somebody comes back for": _somebody})


@guarded
def _due() -> None:
    if (pair := require_pair()) is None:
        return
    user, item, events = words_of(pair.user_key), words_of(pair.item_key), formats.plain(pair.events)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        days = st.slider("Due within (days, before and after today)", 1, 30, 7, width=320)
        only = st.toggle("Only scores that reach the threshold", value=True)
    regulars = require_regulars(pair, _PAIRS)
    if not regulars.pairs:
        return
    now_us, question, number = clock(), regulars.question, len(regulars.pairs)
    due_pairs = [scored for scored in due_within(regulars.pairs, now_us, days) if scored.prediction or not only]
    numbers = {
        "Due": formats.number(len(due_pairs)),
        f"Each {user} once": formats.number(len({scored.regular.user for scored in due_pairs})),
        "Expected events": formats.number(sum(scored.score for scored in due_pairs)),
    }
    meanings = {"Due": f"One average gap between its {events} after the last one."}
    if pair.amount:
        numbers["Expected amount"] = formats.money(sum(scored.score * scored.regular.amount for scored in due_pairs))
        meanings["Expected amount"] = f"Scores times means of {words_of(pair.amount)}."
    facts(numbers, meanings)
    if not due_pairs:
        st.info("Nobody is due in that time. Look further, or show every score.")
        return
    rows = due_rows(pair, due_pairs, now_us, question)
    picked = table(rows[:_SHOWN], key="due", bar=column_of(question))
    if picked:
        link_to_ask(pair, picked[user], picked[item])
    _export(rows, "due-again.csv")
    st.caption(
        f"Of the {number:,} pairs of {user} and {item} with at least two {events}, the latest first"
        + (f"; at most {_PAIRS:,} are looked at." if number == _PAIRS else ".")
        + f" Pick a row to ask about it.{made_at(regulars)}"
    )


@guarded
def _somebody() -> None:
    if (pair := require_pair()) is None:
        return
    user = pick_named(pair.user_key)
    if not user:
        st.info(f"Pick or type a {words_of(pair.user_key)}.")
        return
    question, answers = asked_about(), scored_candidates(pair, user, _CANDIDATES)
    if not answers:
        st.info(
            f"The event log has no {formats.plain(pair.events)} of this {words_of(pair.user_key)}. What somebody "
            "never had cannot be had again."
        )
        return
    rows = [
        {
            words_of(pair.item_key): item,
            "name": name_of(pair.item_key, item),
            column_of(question): round(100 * answer["confidence"], 1),
            "reaches threshold": "yes" if answer["prediction"] else "no",
        }
        for item, answer in answers
    ]
    picked = table(rows, key="somebody", bar=column_of(question))
    if picked:
        link_to_ask(pair, user, picked[words_of(pair.item_key)])
    _export(rows, "what-somebody-comes-back-for.csv")
    if average := average_of(question):
        st.caption(average.strip())


def _export(rows: list[dict[str, Any]], name: str) -> None:
    content = write_csv(list(rows[0]), rows)
    st.download_button("Download as CSV", content, name, "text/csv", icon=":material/download:", key=name)
