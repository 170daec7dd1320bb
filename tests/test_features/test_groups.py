"""Every feature is of one group, by whose it is and what it is computed from."""

import pytest

from data.errors import ConfigurationError
from features.plan.groups import groups_of, names_without
from features.plan.plan import Plan


def test_each_feature_is_of_a_group(plan: Plan) -> None:
    groups = groups_of(plan)
    assert set(groups) == {feature.name for feature in plan.features}
    expected = {
        "user_order_count": "user.orders",
        "user_spend_30d": "user.money",
        "product_views_7d": "product.windows",
        "user_product_days_since_last_view": "user_product.times",
        "product_view_count": "product.counts",
        "user_product_order_share": "request.orders",
        "amount_vs_user_avg": "request.money",
        "hour_of_day": "request.calendar",
    }
    assert {name: groups[name] for name in expected} == expected


def test_a_model_does_without_a_group(plan: Plan) -> None:
    kept = names_without(plan, ["user.orders", "request.calendar"])
    assert [name for name in plan.names if name in kept] == list(kept)
    assert not [name for name in kept if name.startswith(("user_order", "hour", "day"))]
    assert "user_product_order_count" in kept
    assert names_without(plan, []) == plan.names


@pytest.mark.integration
def test_an_unknown_group_and_all_groups_are_refused(plan: Plan) -> None:
    with pytest.raises(ConfigurationError, match=r"--leave-out users\.money: no such group .* user\.money"):
        names_without(plan, ["users.money"])
    with pytest.raises(ConfigurationError, match="leave one"):
        names_without(plan, [groups_of(plan)[name] for name in plan.names])
