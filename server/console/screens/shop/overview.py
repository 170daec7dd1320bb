"""Overview: what sells, who is due, what the model is worth, and whether anything is wrong."""

import streamlit as st

from data.clock import wall_clock
from server.console import charts, formats
from server.console.calculators.answers import words_of
from server.console.calculators.asked_pair import AskedPair, asked_pair
from server.console.calculators.due import column_of, due_rows, made_at
from server.console.calculators.event_history import Sold
from server.console.calculators.picking import link_to_ask
from server.console.calculators.scored_pairs import asked_about, due_within, scored_regulars
from server.console.calculators.shop_month import Period, change, shop_periods, worth_of
from server.console.frame import facts, guarded, heading, plot, table
from server.console.names import name_of
from server.console.resources import clock, feed, history, readings, settings
from server.console.visit import link
from server.console.watch.alerts import firing

__all__ = ["page"]

_DAYS = 30
_DUE_DAYS = 7
_DUE = 10
_PAIRS = 2_000

_PROBLEMS = {"EncoreApiDown", "EncoreRedisDown", "EncoreStreamUnwell"}
"""Alerts that count the problems which the status already lists."""


def page() -> None:
    """Four answers, each with the page that has more."""
    heading("Overview", "What sells, who is due, what the model is worth, and whether anything is wrong.")
    _well()
    pair = asked_pair(settings().declared)
    if pair is None:
        st.info("Sales and who is due need questions of two keys, who and what: see Ask and Batch.")
        return
    _sales(pair)
    _due(pair)
    _worth(pair)


@guarded
def _well() -> None:
    problems = list(feed().looks(wall_clock())[-1].problems)
    current = readings()
    passed = [alert for alert in firing(current) if alert.name not in _PROBLEMS]
    problems += [f"{alert.title}: {alert.written(alert.value(current) or 0)}" for alert in passed]
    if not problems:
        st.success("Nothing is wrong: events come in, features are fresh, the API answers.", icon=":material/check:")
        return
    st.error(
        "Something is wrong:\n\n" + "\n".join(f"- {formats.plain(problem)}" for problem in problems),
        icon=":material/error:",
    )
    link("alerts", "What to do", ":material/notifications:")


@guarded
def _sales(pair: AskedPair) -> None:
    st.subheader(f"What sells: the last {_DAYS} days", anchor=False)
    current, before, best = _periods(pair)
    if not current.events:
        st.info(f"No {formats.plain(pair.events)} in the last {_DAYS} days of the event log.")
        return
    money = pair.amount is not None
    mean = current.amount / current.events
    events, people = pair.events.capitalize(), f"Different {words_of(pair.user_key)}s"
    facts(
        {
            **({words_of(pair.amount or "").capitalize(): formats.money(current.amount)} if money else {}),
            events: formats.number(current.events),
            people: formats.number(current.buyers),
            **({"Mean": formats.money(mean)} if money else {}),
        },
        {"Mean": f"{words_of(pair.amount or '').capitalize()} of one of the {pair.events}."},
        changes={
            name: text
            for name, text in (
                (words_of(pair.amount or "").capitalize(), change(current.amount, before.amount)),
                (events, change(current.events, before.events)),
                (people, change(current.buyers, before.buyers)),
                ("Mean", change(mean, before.amount / before.events) if before.events else None),
            )
            if text
        },
    )
    st.caption(f"Changes are against the {_DAYS} days before.")
    left, right = st.columns(2)
    unit = words_of(pair.amount) if pair.amount else "events"
    with left:
        plot(charts.daily({f"{day.day:%Y-%m-%d}": day.amount for day in current.days}, unit=unit), "daily")
    with right:
        table([_sold_row(pair, sold, unit) for sold in best], height=300)


@st.cache_data(ttl=300, show_spinner="adding up what was sold …")
def _periods(pair: AskedPair) -> tuple[Period, Period, list[Sold]]:
    return shop_periods(history(), pair, clock(), _DAYS)


def _sold_row(pair: AskedPair, sold: Sold, unit: str) -> dict[str, object]:
    name = name_of(pair.item_key, sold.item)
    return {
        words_of(pair.item_key): name or sold.item,
        unit: round(sold.amount, 2),
        "events": sold.events,
        "against before": change(sold.amount, sold.before) or "new",
    }


@guarded
def _due(pair: AskedPair) -> None:
    st.subheader(f"Who is due: {_DUE_DAYS} days before and after today", anchor=False)
    regulars, now_us = scored_regulars(_PAIRS), clock()
    due_pairs = [scored for scored in due_within(regulars.pairs, now_us, _DUE_DAYS) if scored.prediction]
    if not due_pairs:
        st.info("Nobody is due whose score reaches the threshold.")
    else:
        rows = due_rows(pair, due_pairs[:_DUE], now_us, regulars.question)
        picked = table(rows, key="overview_due", bar=column_of(regulars.question))
        st.caption(
            f"The {len(rows)} most likely of {len(due_pairs):,} that are due and reach the threshold."
            f"{made_at(regulars)} Pick a row to ask about it."
        )
        if picked:
            link_to_ask(pair, picked[words_of(pair.user_key)], picked[words_of(pair.item_key)])
    link("shoppers", "All who are due", ":material/group:")


@guarded
def _worth(pair: AskedPair) -> None:
    question = asked_about()
    st.subheader(f"What the model is worth {question.within if question else ''}".strip(), anchor=False)
    if pair.amount is None:
        st.info("What it is worth needs what is paid: a measure that questions have, in `asks` of schema.py.")
        return
    regulars = scored_regulars(_PAIRS)
    question, worth = regulars.question, worth_of(regulars.pairs)
    if not worth.chosen:
        st.info("No score reaches the threshold now, so there is nobody whom the model would choose.")
        return
    margin = st.slider("Margin: what is left of the amount", 5, 100, 40, 5, format="%d %%", width=320) / 100
    facts(
        {
            "It chooses": f"{formats.number(worth.chosen)} of {formats.number(worth.total)}",
            "They bring": formats.money(margin * worth.expected),
            "As many, blindly": formats.money(margin * worth.blind),
            "Worth": formats.money(margin * worth.more),
        },
        {
            "It chooses": "Those whose score reaches the threshold.",
            "They bring": "Margin times the sum of scores times mean amounts.",
            "As many, blindly": "The same number of them chosen at random.",
            "Worth": "The difference: expected, not measured.",
        },
    )
    st.caption(
        f"Expected {question.within if question else ''} from the scores, whatever is done, in the shop's currency. "
        f"What an offer adds is another question: Decide plans the test that measures it.{made_at(regulars)}"
    )
    link("decide", "Decide what to do", ":material/balance:")
