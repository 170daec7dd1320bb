"""Products and users: who is due to buy again, and what a user will buy again; both can be downloaded."""

from typing import Any

import streamlit as st

from data.units import DAY_US
from server.console import formats
from server.console.calculators.picking import pick_user, require_products
from server.console.calculators.scored_pairs import ScoredPair, due_within, scored_rebuyers
from server.console.csv_table import write_csv
from server.console.frame import facts, guarded, heading, table, tabs
from server.console.resources import api, clock, history, product_names

__all__ = ["page"]

_PAIRS = 2_000
_CANDIDATES = 200
_SHOWN = 500


def page() -> None:
    """Two lists."""
    heading("Products and users", "Who will buy again, and what? Scored now, by the model that answers.")
    if not require_products():
        return
    tabs({"Due to buy again": _due, "What a user will buy again": _user})


@guarded
def _due() -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        days = st.slider("Due within (days, before and after today)", 1, 30, 7, width=320)
        only = st.toggle("Only scores that reach the threshold", value=True)
    pairs = scored_rebuyers(_PAIRS)
    if not pairs:
        st.info("Nobody has bought anything twice yet: let more events come in, or bring a history (`encore import`).")
        return
    now = clock()
    found = [pair for pair in due_within(pairs, now, days) if pair.prediction or not only]
    facts(
        {
            "Due": formats.number(len(found)),
            "Users": formats.number(len({pair.user_id for pair in found})),
            "Expected purchases": formats.number(sum(pair.score for pair in found)),
            "Expected sales": formats.money(sum(pair.score * pair.amount for pair in found)),
        },
        {
            "Due": "A pair of user and product is due one average gap between its purchases after the last one.",
            "Expected sales": "Scores times average amounts, in the shop's currency.",
        },
    )
    if not found:
        st.info("Nobody is due in that time. Look further, or show every score.")
        return
    rows = [_due_row(pair, now) for pair in found]
    table(rows[:_SHOWN])
    _export(rows, "due-to-buy-again.csv")
    st.caption(
        f"Of the {len(pairs):,} users and products bought at least twice, the latest first"
        + (f"; at most {_PAIRS:,} are looked at." if len(pairs) == _PAIRS else ".")
    )


@guarded
def _user() -> None:
    user = pick_user()
    if not user:
        st.info("Pick or type a user.")
        return
    bought = history().bought_by(user, _CANDIDATES)
    if not bought:
        st.info("The event log has no purchase of this user. What nobody has bought cannot be bought again.")
        return
    answers = api().rank(user, bought)
    names = product_names()
    rows = [
        {
            "product": answer["product_id"],
            "name": names.get(answer["product_id"], ""),
            "score (%)": round(100 * answer["confidence"], 1),
            "decision": "yes" if answer["prediction"] else "no",
        }
        for answer in answers
    ]
    st.dataframe(
        rows,
        hide_index=True,
        column_config={"score (%)": st.column_config.ProgressColumn(min_value=0, max_value=100, format="%.1f")},
    )
    _export(rows, "what-a-user-buys-again.csv")


def _due_row(pair: ScoredPair, now_us: int) -> dict[str, Any]:
    days = (pair.due_us - now_us) / DAY_US
    return {
        "user": pair.user_id,
        "product": pair.product_id,
        "name": product_names().get(pair.product_id, ""),
        "score (%)": round(100 * pair.score, 1),
        "due": f"in {days:.1f} d" if days >= 0 else f"{-days:.1f} d ago",
        "purchases": pair.purchases,
        "average amount": round(pair.amount, 2),
        "last purchase (UTC)": formats.moment(pair.last_us).removesuffix(" UTC"),
    }


def _export(rows: list[dict[str, Any]], name: str) -> None:
    found = write_csv(list(rows[0]), rows)
    st.download_button("Download as CSV", found, name, "text/csv", icon=":material/download:", key=name)
