"""Decide: what a discount would bring, and how large an experiment must be."""

import streamlit as st

from data.errors import EncoreError
from server.console import charts, formats
from server.console.calculators import experiment, intervention
from server.console.calculators.answers import words_of
from server.console.calculators.due import column_of
from server.console.calculators.picking import require_pair, require_regulars
from server.console.frame import facts, guarded, heading, plot, table, tabs, tell
from server.console.screens.shop.interventions import interventions

__all__ = ["page"]

_DISCOUNTS = tuple(step / 100 for step in range(0, 55, 5))


def page() -> None:
    """Two calculators, each with its formulas."""
    heading("Decide", "What to do about a customer, and how to find out whether it works.")
    tabs(
        {
            "Discount simulator": _simulator,
            "Interventions": interventions,
            "A/B test: plan": _plan,
            "A/B test: result": _result,
        }
    )


@guarded
def _simulator() -> None:
    if (pair := require_pair()) is None:
        return
    if pair.amount is None:
        st.info("The simulator needs what is paid: a measure that questions have, in `asks` of schema.py.")
        return
    user, item, events = words_of(pair.user_key), words_of(pair.item_key), formats.plain(pair.events)
    st.markdown(
        f"Offers a discount to each {user} with at least two {events} of one {item}, and asks what is left of the "
        "margin. The chances are the model's; **how customers respond to a discount is an assumption**: measure it by "
        "an A/B test, and set it here."
    )
    left, right = st.columns(2)
    with left:
        margin = st.slider("Margin at full price", 5, 90, 40, 5, format="%d %%") / 100
        response = (
            st.slider(
                "Response: share of lost purchases that 10 % off rescues",
                0,
                60,
                10,
                1,
                format="%d %%",
                help="0: a discount changes nothing. The rules about carts assume 28 %.",
            )
            / 100
        )
    with right:
        cost = st.number_input("Cost of asking one customer", 0.0, 1e6, 0.0, 0.1, help="In the shop's currency.")
        most = st.select_slider("Customers, those who bought last first", (100, 250, 500, 1_000), 500)
    regulars, question, _ = require_regulars(pair, most)
    if not regulars:
        return
    outcomes = intervention.simulate(
        [scored.score for scored in regulars],
        [scored.regular.amount for scored in regulars],
        _DISCOUNTS,
        margin=margin,
        response=response,
        cost=cost,
    )
    best = max(outcomes, key=lambda outcome: outcome.targeted_profit)
    if best.targeted_profit <= 0:
        st.warning(
            "Under these assumptions no discount pays for anyone: leave customers alone.", icon=":material/block:"
        )
    facts(
        {
            "Best discount": formats.percent(best.discount, 0) if best.targeted else "none",
            "Offer it to": f"{formats.number(best.targeted)} of {formats.number(len(regulars))}",
            "Extra purchases": formats.number(best.targeted_purchases, 1),
            "Extra profit": formats.money(best.targeted_profit),
        },
        {"Extra profit": "Expected, against leaving everyone alone, in the shop's currency."},
    )
    percents = [100 * outcome.discount for outcome in outcomes]
    plot(
        charts.curves(
            {
                "offered where it pays": (percents, [outcome.targeted_profit for outcome in outcomes]),
                "offered to everyone": (percents, [outcome.profit for outcome in outcomes]),
            },
            x="discount (%)",
            y="change of profit",
            markers=True,
        ),
        "discounts",
    )
    table(
        [
            {
                "discount (%)": round(100 * outcome.discount),
                "profit, everyone": round(outcome.profit, 2),
                "purchases, everyone": round(outcome.purchases, 1),
                "offered where it pays": outcome.targeted,
                "profit, where it pays": round(outcome.targeted_profit, 2),
            }
            for outcome in outcomes
        ]
    )
    with st.expander(f"The {len(regulars):,} customers"):
        table(
            [
                {
                    user: scored.regular.user,
                    item: scored.regular.item,
                    column_of(question): round(100 * scored.score, 1),
                    f"mean {words_of(pair.amount)}": round(scored.regular.amount, 2),
                }
                for scored in regulars
            ]
        )
    _formulas(
        r"""
- Chance after a discount $d$: $p(d) = p + (1 - p)\,\bigl(1 - (1 - r)^{d / 10\,\%}\bigr)$: each tenth off rescues the
  same share $r$ of what would still be lost, as the rules about carts have it.
- Profit: $p(d)\,(m - d)\,a - c$, with margin share $m$, amount $a$, cost of asking $c$.
- Change: profit less $p\,m\,a$, what comes in when the customer is left alone. An offer goes where it is above 0:
  Blattberg, Kim & Neslin (2008), *Database Marketing*, ch. 10.
"""
    )


@guarded
def _plan() -> None:
    left, right = st.columns(2)
    with left:
        base = st.number_input("Share that buys without treatment (%)", 0.1, 99.0, 10.0, 0.5) / 100
        lift = st.number_input("Change to be seen (percentage points)", -50.0, 50.0, 2.0, 0.5) / 100
    with right:
        level = st.select_slider("Significance level, two-sided (%)", (10, 5, 1), 5) / 100
        wanted_power = st.slider("Power (%)", 50, 99, 80) / 100
        daily = st.number_input("Customers a day, both arms together", 1, 10_000_000, 1_000)
    try:
        needed = experiment.sample_size(base, base + lift, alpha=level, wanted_power=wanted_power)
    except EncoreError as error:
        tell(error)
        return
    facts(
        {
            "Customers per arm": formats.number(needed),
            "Both arms": formats.number(2 * needed),
            "Takes": formats.duration(2 * needed / daily * 86_400),
        }
    )
    sizes = [max(2, round(needed * step / 20)) for step in range(1, 41)]
    powers = [100 * experiment.power(base, base + lift, size, alpha=level) for size in sizes]
    plot(charts.curves({"power": (sizes, powers)}, x="customers per arm", y="power (%)"), "power")
    _formulas(
        r"""
$$n = \frac{\left(z_{1-\alpha/2}\sqrt{2\bar p\bar q} + z_{1-\beta}\sqrt{p_1q_1+p_2q_2}\right)^2}{(p_1-p_2)^2}$$

per arm, for two equal arms; the power is the same solved for $1-\beta$. Fleiss, Levin & Paik (2003), *Statistical
Methods for Rates and Proportions*, 3rd ed., eq. 4.14. R's `power.prop.test` gives the same numbers.
"""
    )


@guarded
def _result() -> None:
    left, right = st.columns(2)
    with left:
        st.markdown("**Control**")
        n1 = st.number_input("Customers", 1, 1_000_000_000, 5_000, key="n1")
        x1 = st.number_input("Who bought", 0, 1_000_000_000, 500, key="x1")
    with right:
        st.markdown("**Treatment**")
        n2 = st.number_input("Customers", 1, 1_000_000_000, 5_000, key="n2")
        x2 = st.number_input("Who bought", 0, 1_000_000_000, 580, key="x2")
    level = st.select_slider("Significance level, two-sided (%)", (10, 5, 1), 5, key="level") / 100
    try:
        comparison = experiment.compare(x1, n1, x2, n2, alpha=level)
    except EncoreError as error:
        tell(error)
        return
    facts(
        {
            "Control": formats.percent(comparison.first, 2),
            "Treatment": formats.percent(comparison.second, 2),
            "Difference": formats.points(comparison.difference),
            "p-value": f"{comparison.p_value:.4f}" if comparison.p_value >= 1e-4 else "< 0.0001",
        }
    )
    level_text = f"{100 * (1 - level):.0f} %"
    span = f"{formats.points(comparison.interval.low)} to {formats.points(comparison.interval.high)}"
    if comparison.p_value < level:
        st.success(f"A difference. With {level_text} confidence it lies from {span}.", icon=":material/check_circle:")
    else:
        st.info(
            f"No difference shown. With {level_text} confidence it lies from {span}; more customers would narrow that."
        )
    test = "Fisher's exact, since few bought (or nearly all)" if comparison.exact else f"z = {comparison.z:.2f}, pooled"
    st.caption(
        f"Intervals of the shares ({level_text}): control {_span(comparison.first_interval)}, treatment "
        f"{_span(comparison.second_interval)}. Test: {test}."
    )
    _formulas(
        r"""
- Test: $z = (p_2-p_1) / \sqrt{\bar p\bar q\,(1/n_1+1/n_2)}$, two-sided, without continuity correction. Fleiss, Levin
  & Paik (2003), ch. 3. Where fewer than 5 are expected in a cell: Fisher's exact test (*The Design of Experiments*,
  1935).
- Interval of a share: Wilson's score interval; Newcombe (1998), *Two-sided confidence intervals for the single
  proportion*, Statistics in Medicine 17, method 3.
- Interval of the difference: Newcombe (1998), *Interval estimation for the difference between independent
  proportions*, Statistics in Medicine 17, method 10.
- Decide how many customers before the test begins: looking again and again until it is significant finds differences
  that are not there.
"""
    )


def _formulas(text: str) -> None:
    with st.expander("Formulas and sources"):
        st.markdown(text)


def _span(interval: experiment.Interval) -> str:
    return f"{formats.percent(interval.low, 2)} to {formats.percent(interval.high, 2)}"
