"""Regulars: who is due to come again, and for what somebody will; both can be downloaded."""

from typing import Any

import streamlit as st

from server.console import formats
from server.console.calculators.answers import words_of
from server.console.calculators.asked_pair import AskedPair
from server.console.calculators.due import average_of, column_of, due_rows
from server.console.calculators.picking import parameter_of, pick_named, require_pair
from server.console.calculators.scored_pairs import asked_about, due_within, scored_candidates, scored_regulars
from server.console.csv_table import write_csv
from server.console.frame import facts, guarded, heading, table, tabs
from server.console.names import name_of
from server.console.resources import clock
from server.console.visit import link

__all__ = ["page"]

_PAIRS = 2_000
_CANDIDATES = 200
_SHOWN = 500


def page() -> None:
    """Two lists."""
    heading("Regulars", "Who comes again, and for what? Scored now, by the model that answers.")
    if require_pair() is None:
        return
    tabs({"Due again": _due, "What somebody comes back for": _somebody})


@guarded
def _due() -> None:
    if (pair := require_pair()) is None:
        return
    who, what, events = words_of(pair.who), words_of(pair.what), formats.plain(pair.events)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        days = st.slider("Due within (days, before and after today)", 1, 30, 7, width=320)
        only = st.toggle("Only scores that reach the threshold", value=True)
    asked, regulars = asked_about(), scored_regulars(_PAIRS)
    if not regulars:
        st.info(f"No {who} has two {events} of one {what} yet: let more come in, or bring a history (`encore import`).")
        return
    now = clock()
    found = [one for one in due_within(regulars, now, days) if one.prediction or not only]
    told = {
        "Due": formats.number(len(found)),
        f"Each {who} once": formats.number(len({one.regular.who for one in found})),
        "Expected events": formats.number(sum(one.score for one in found)),
    }
    meanings = {"Due": f"One average gap between its {events} after the last one."}
    if pair.amount:
        told["Expected amount"] = formats.money(sum(one.score * one.regular.amount for one in found))
        meanings["Expected amount"] = f"Scores times means of {words_of(pair.amount)}."
    facts(told, meanings)
    if not found:
        st.info("Nobody is due in that time. Look further, or show every score.")
        return
    rows = due_rows(pair, found, now, asked)
    picked = table(rows[:_SHOWN], key="due", bar=column_of(asked))
    if picked:
        _ask_about(pair, picked[who], picked[what])
    _export(rows, "due-again.csv")
    st.caption(
        f"Of the {len(regulars):,} pairs of {who} and {what} with at least two {events}, the latest first"
        + (f"; at most {_PAIRS:,} are looked at." if len(regulars) == _PAIRS else ".")
        + f" Pick a row to ask about it.{average_of(asked)}"
    )


@guarded
def _somebody() -> None:
    if (pair := require_pair()) is None:
        return
    who = pick_named(pair.who)
    if not who:
        st.info(f"Pick or type a {words_of(pair.who)}.")
        return
    asked, answers = asked_about(), scored_candidates(pair, who, _CANDIDATES)
    if not answers:
        st.info(
            f"The event log has no {formats.plain(pair.events)} of this {words_of(pair.who)}. What somebody "
            "never had cannot be had again."
        )
        return
    rows = [
        {
            words_of(pair.what): what,
            "name": name_of(pair.what, what),
            column_of(asked): round(100 * answer["confidence"], 1),
            "reaches threshold": "yes" if answer["prediction"] else "no",
        }
        for what, answer in answers
    ]
    picked = table(rows, key="somebody", bar=column_of(asked))
    if picked:
        _ask_about(pair, who, picked[words_of(pair.what)])
    _export(rows, "what-somebody-comes-back-for.csv")
    if told := average_of(asked):
        st.caption(told.strip())


def _ask_about(pair: AskedPair, who: str, what: str) -> None:
    query = {parameter_of(pair.who): who, parameter_of(pair.what): what}
    link("ask", formats.plain(f"Ask about {who} and {what}"), ":material/help_center:", **query)


def _export(rows: list[dict[str, Any]], name: str) -> None:
    found = write_csv(list(rows[0]), rows)
    st.download_button("Download as CSV", found, name, "text/csv", icon=":material/download:", key=name)
