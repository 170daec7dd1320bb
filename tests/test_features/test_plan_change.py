"""What a change of definitions means for states that are kept."""

from typing import Any

import featuretools as ft
import msgspec
import pytest
from featuretools.primitives import Count, Last

from features.definitions import define
from features.plan.change import changes
from features.plan.compiler import compile_features, compile_plan
from features.plan.cost import costs, costs_in_words
from features.plan.entity_set import entity_set
from features.plan.plan import Plan


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_plan()


def with_one_more(name: str, primitive: Any, column: str, happened: str) -> Plan:
    shop = entity_set()
    event = shop["events"].ww
    where = ft.Feature(event["event_type"]) == happened
    feature = ft.Feature(event[column], parent_dataframe_name="users", primitive=primitive, where=where)
    return compile_features([*define(shop), feature.rename(name)])


def test_nothing_changed(plan: Plan) -> None:
    assert [str(change) for change in changes(plan, plan)] == [
        "user: states stay valid",
        "product: states stay valid",
        "user_product: states stay valid",
        "category: states stay valid",
        "user_category: states stay valid",
    ]


def test_an_entity_that_is_new_has_no_states_yet(plan: Plan) -> None:
    before = msgspec.structs.replace(plan, entities=plan.entities[:3])
    *old, category, _ = changes(before, plan)
    assert all(one.states_valid for one in old)
    assert not category.states_valid
    assert "category_view_count" in category.added
    assert "category: new category_view_count, " in str(category)
    assert str(category).endswith(": `encore rollout start`")


def test_a_feature_of_what_states_keep_leaves_them_valid(plan: Plan) -> None:
    user, *others = changes(plan, with_one_more("user_bought", Count, "event_id", "purchase"))
    assert user.added == ("user_bought",)
    assert user.states_valid
    assert all(not other.added and other.states_valid for other in others)


def test_a_feature_of_something_new_needs_a_rebuild(plan: Plan) -> None:
    wider = with_one_more("user_newest", Last, "quantity", "view")
    user, product, *_ = changes(plan, wider)
    assert user.lacking == ("last(quantity) of view",)
    assert not user.states_valid
    assert product.states_valid
    assert str(user) == (
        "user: new user_newest; states must be made anew (they lack last(quantity) of view): `encore rollout start`"
    )
    back, *_ = changes(wider, plan)
    assert (back.removed, back.lacking, back.states_valid) == (("user_newest",), (), False)


@pytest.mark.long
def test_costs_are_told_with_the_tiles_that_they_are_for(plan: Plan) -> None:
    told = costs_in_words(costs(plan)).splitlines()
    assert told[0].startswith("user: a state takes at most 219,")
    assert "      66,371  labels(brand, 64) of purchase" in told
    assert "       4,200  sum(amount) of purchase, in 168 tiles of 3600 s" in told
    assert [line.split(":")[0] for line in told if "a state takes" in line] == [one.entity for one in plan.entities]
