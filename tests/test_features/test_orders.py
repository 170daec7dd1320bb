"""Orders: events of one id, or without one and close together; whatever the order in which they come, or are cut."""

from typing import Any

import pytest
from facts import some_fact
from hypothesis import given
from hypothesis import strategies as st

from data.units import DAY_US, HOUR_US, MINUTE_US
from features import summaries
from features.plan.plan import Plan
from features.state.algebra import Algebra
from features.state.values import EntityValues
from features.summaries import order_times, orders

START_US = 1_767_225_600_000_000
"""2026-01-01 00:00 UTC."""

_events = st.lists(
    st.tuples(st.integers(0, 20).map(lambda n: n * 20 * MINUTE_US), st.sampled_from([None, None, "a", "b", "c"])),
    max_size=14,
)


def folded(events: list[tuple[int, str | None]]) -> list[Any] | None:
    entries: list[Any] | None = None
    for at, order in events:
        entries = orders(HOUR_US).put(entries, at, order)
    return entries


@given(_events, st.integers(0, 14), st.randoms(use_true_random=False))
def test_orders_that_are_cut_off_are_the_same_in_any_order(
    events: list[tuple[int, str | None]], cut: int, chance: Any
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summaries, "MOST_ORDERS", 3)
        whole = folded(sorted(events, key=str))
        shuffled = list(events)
        chance.shuffle(shuffled)
        assert folded(shuffled) == whole
        left, right = folded(shuffled[:cut]), folded(shuffled[cut:])
        if left is not None and right is not None:
            merge = orders(HOUR_US).merge
            assert merge(left, right) == merge(right, left) == whole


@given(st.lists(st.integers(0, 40 * HOUR_US), max_size=14))
def test_without_ids_orders_are_runs_of_idle_time(times: list[int]) -> None:
    """Though a state keeps tiles: a run may begin and end anywhere in them."""
    times.sort()
    ends = [at for at, later in zip(times, [*times[1:], None], strict=False) if later is None or later - at > HOUR_US]
    assert order_times(folded([(at, None) for at in times]), HOUR_US) == ends


def values(
    whole: Plan, *lines: tuple[str, str, int, str | None], of: str = "user", ids: tuple[str, ...] = ("u",)
) -> dict[str, Any]:
    """The features of an entity ten days later; a line is user, product, time after the start and order."""
    plan = whole.of(of)
    algebra, entity = Algebra(plan), EntityValues(plan)
    state = algebra.empty()
    for number, (user, product, at, order) in enumerate(lines):
        fact = some_fact("purchase", user, product, START_US + at, 10**6, 1, f"e{number}", order_id=order)
        if tuple(getattr(fact, key) for key in plan.join_keys) == ids:
            algebra.update(state, fact)
    return dict(zip(entity.names, entity.get(state, START_US + 10 * DAY_US), strict=True))


def test_lines_hours_apart_are_one_order_at_the_last_of_them(plan: Plan) -> None:
    found = values(plan, ("u", "p", 0, "1"), ("u", "q", 9 * HOUR_US, "1"), ("u", "p", 2 * DAY_US, "2"))
    assert found["user_purchase_count"] == 3
    assert found["user_order_count"] == found["user_orders_30d"] == 2
    assert found["user_avg_days_between_orders"] == found["user_order_gap_1"] == 2 - 9 / 24


def test_an_id_that_two_users_share_is_an_order_of_each(plan: Plan) -> None:
    lines = (("u", "p", 0, "1"), ("v", "p", DAY_US, "1"), ("u", "q", 2 * DAY_US, "1"))
    for user in ("u", "v"):
        assert values(plan, *lines, ids=(user,))["user_order_count"] == 1
        assert values(plan, *lines, of="user_product", ids=("p", user))["user_product_order_count"] == 1


def test_a_basket_is_one_order_with_an_id_and_without(plan: Plan) -> None:
    for order in ("7", None):
        basket = [("u", f"p{line}", line * MINUTE_US, order) for line in range(90)]
        assert values(plan, *basket)["user_order_count"] == 1
        assert values(plan, *basket, ("u", "p", DAY_US, None))["user_order_count"] == 2


def test_a_return_of_an_order_from_before_the_history_is_a_return_and_no_rate(plan: Plan) -> None:
    whole = plan.of("user")
    algebra, entity = Algebra(whole), EntityValues(whole)
    state = algebra.empty()
    algebra.update(state, some_fact("return", "u", "p", START_US, 5 * 10**6, 1, "e", order_id="1"))
    found = dict(zip(entity.names, entity.get(state, START_US + DAY_US), strict=True))
    assert (found["user_return_count"], found["user_returned_amount"], found["user_return_rate"]) == (1, 5, None)
    assert (found["user_order_count"], found["user_purchase_count"], found["user_net_spend"]) == (0, 0, -5)
    algebra.update(state, some_fact("purchase", "u", "p", START_US + 1, 10**6, 1, "f", order_id="2"))
    assert dict(zip(entity.names, entity.get(state, START_US + DAY_US), strict=True))["user_return_rate"] == 1
