"""Ask: one user, one product, one score, and everything that it was computed from."""

from datetime import UTC, datetime, time
from typing import Any

import streamlit as st

from data.errors import ApiError
from data.units import to_micros
from features.state.values import Value
from server.console import charts, formats
from server.console.answer import explained, show_score
from server.console.calculators import answers
from server.console.calculators.event_history import day_counts
from server.console.calculators.picking import pick_product, pick_target, pick_user
from server.console.frame import guarded, heading, plot, table, tabs, tell
from server.console.names import named, names_of
from server.console.resources import api, api_key, asking, clock, feature_words, history, settings
from server.console.screens.shop.ask_any import ask_any
from server.console.style import IN_VIEW
from server.console.what_if import Range, movable, slider_range
from server.scoring.question import is_of_products

__all__ = ["page"]

_EVENTS = 5_000
_NEWEST = 50


def page() -> None:
    """Select, score, explain, and try hypothetical values."""
    if not is_of_products(settings().declared.schema):
        ask_any()
        return
    heading("Ask", "How likely is it, within which time, and what does the answer rest on?")
    first, second, third = st.columns([2, 2, 1])
    with first:
        user = pick_user()
    with second:
        product = pick_product()
    with third:
        amount = st.number_input(
            "Amount",
            0.0,
            1e15,
            None,
            placeholder="unknown",
            help="What the purchase would cost, in the shop's currency.",
        )
    if not user or not product:
        st.info("Pick or type a user and a product.")
        return
    target = pick_target()
    answer = _ask(user, product, amount, target)
    if answer is not None:
        show_score(answer, f"{named('user_id', user)} and {named('product_id', product)}")
        tabs(
            {
                "Features": lambda: _features(answer, user, product),
                "User's events": lambda: _events(user),
                "What if": lambda: _what_if(answer, user, product, amount, target),
                "At an earlier time": lambda: _earlier(answer, user, product, amount, target),
            }
        )


def _ask(user: str, product: str, amount: float | None, target: str | None) -> dict[str, Any] | None:
    question: dict[str, Any] = {"user_id": user, "product_id": product}
    question |= {name: value for name, value in (("amount", amount), ("target", target)) if value is not None}
    return explained(question)


@guarded
def _features(answer: dict[str, Any], user: str, product: str) -> None:
    try:
        features = api().features(user, product)
    except ApiError as error:
        tell(error)
        features = {"last_event": {}}
    rows = answers.age_rows(features["last_event"], clock())
    if rows:
        table(rows)
    table(answers.feature_rows(answer["features_used"], feature_words()), height=420)


@guarded
def _events(user: str) -> None:
    events = history().of_user(user, _EVENTS)
    if not events:
        st.info(
            "The event log has nothing of this user. Workers write it every ten seconds; who was never seen has no "
            "history."
        )
        return
    plot(charts.sparkline(day_counts(events)), "events")
    names = names_of("product_id")
    table(
        [
            {
                "time (UTC)": formats.moment(event.at_us).removesuffix(" UTC"),
                "event": event.event_type,
                "product": event.product_id,
                "name": names.get(event.product_id, ""),
                "amount": formats.money(event.amount),
            }
            for event in reversed(events[-_NEWEST:])
        ]
    )
    st.caption(
        f"The newest {min(len(events), _NEWEST)} of {len(events):,} events"
        + (" shown." if len(events) < _EVENTS else " looked at.")
    )


@guarded
def _what_if(answer: dict[str, Any], user: str, product: str, amount: float | None, target: str | None) -> None:
    """Draw sliders, and keep the result in view beside them."""
    values, descriptions = answer["features_used"], feature_words()
    parts = answers.parts_of(answer)
    names = st.multiselect(
        "Features to move",
        list(values),
        movable(list(values), parts.largest if parts else {}),
        format_func=descriptions.title,
        max_selections=12,
        key="moved",
    )
    if not names:
        st.info("Choose features, and move them.")
        return
    with st.container(key=IN_VIEW):
        result = st.empty()
        moved: dict[str, float] = {}
        with st.container():
            for name in names:
                key = f"what_if:{user}:{product}:{name}"
                limits = _kept_range(key, name, values[name])
                chosen = st.slider(
                    descriptions.title(name), limits.low, limits.high, limits.value, limits.step, "%.4g", key=key
                )
                if chosen != limits.value:
                    moved[name] = chosen
    supposed = api().what_if(user, product, amount, moved, target) if moved else answer
    change = supposed["confidence"] - answer["confidence"]
    with result.container(border=True):
        left, right = st.columns([1, 2], vertical_alignment="center")
        left.metric(
            "Hypothetical score",
            formats.percent(supposed["confidence"]),
            formats.points(change, 1) if moved else None,
            help="Not a prediction: features were set by hand.",
        )
        verdict = answers.verdict(supposed, asking(answer["target"], api_key()))
        right.markdown(formats.plain(f"Hypothetical. {verdict}" if moved else "As it is. Move a slider."))


def _kept_range(key: str, name: str, value: Value) -> Range:
    """Return a slider's range as of when it was first drawn.

    Values change with events and with time. A slider whose range does is another one to Streamlit, not moved yet.
    """
    kept = f"{key}:range"
    if key not in st.session_state:  # where it is not drawn, Streamlit forgets it
        st.session_state[kept] = slider_range(name, value)
    limits: Range = st.session_state[kept]
    return limits


@guarded
def _earlier(answer: dict[str, Any], user: str, product: str, amount: float | None, target: str | None) -> None:
    answered = datetime.fromisoformat(answer["timestamp"]).astimezone(UTC)
    st.caption(
        "Features are computed anew from the event log, as they were at that time (UTC), and scored by today's model."
    )
    with st.form("earlier", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        day = st.date_input("Day", answered.date(), max_value=answered.date(), width=180)
        time_of_day = st.time_input("Time (UTC)", time(0, 0), step=900, width=140)
        is_submitted = st.form_submit_button("Score as of then")
    if not is_submitted:
        return
    at_us = to_micros(datetime.combine(day, time_of_day, UTC))
    with st.spinner("reading the event log …"):
        values = history().features_at(user, product, amount, at_us)
        earlier = api().what_if(user, product, amount, values, target)
    change, descriptions = answer["confidence"] - earlier["confidence"], feature_words()
    st.metric(
        f"Score as of {formats.moment(at_us)}",
        formats.percent(earlier["confidence"]),
        f"{formats.points(change, 1)} since",
        border=True,
    )
    table(
        [
            {
                "feature": descriptions.title(name),
                "then": formats.significant(values.get(name)),
                "now": formats.significant(value),
            }
            for name, value in answer["features_used"].items()
            if formats.significant(values.get(name)) != formats.significant(value)
        ]
    )
