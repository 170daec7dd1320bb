"""The discount simulator, by hand."""

import pytest

from data.errors import ConfigurationError
from server.console.calculators.intervention import simulate


def test_one_customer_by_hand() -> None:
    [outcome] = simulate([0.5], [100.0], [0.1], margin=0.4, response=0.5, cost=2.0)
    # 0.5 becomes 0.75: 0.75 * (0.4 - 0.1) * 100 - 2 = 20.5, against 0.5 * 0.4 * 100 = 20.
    assert outcome.purchases == pytest.approx(0.25)
    assert outcome.profit == pytest.approx(0.5)
    assert (outcome.targeted, outcome.targeted_profit) == (1, outcome.profit)


def test_each_tenth_off_rescues_the_same_share() -> None:
    outcomes = simulate([0.5, 0.2], [1.0, 1.0], [0.1, 0.2], margin=0.4, response=0.5, cost=0.0)
    assert [outcome.purchases for outcome in outcomes] == pytest.approx([1.3 * 0.5, 1.3 * 0.75])


def test_an_offer_goes_only_where_it_pays() -> None:
    # Who would buy anyway only costs margin.
    [outcome] = simulate([0.99, 0.1], [100.0, 100.0], [0.1], margin=0.4, response=0.3, cost=0.0)
    assert outcome.targeted == 1
    assert outcome.targeted_profit > outcome.profit
    assert outcome.targeted_purchases < outcome.purchases


def test_no_discount_changes_nothing() -> None:
    [outcome] = simulate([0.3, 0.9, 0.123], [7.0, 1e9, 0.1], [0.0], margin=0.4, response=0.5, cost=0.0)
    assert outcome.targeted == 0
    assert outcome.profit == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(
    "bad",
    [
        {"scores": [], "amounts": []},
        {"margin": 0.0},
        {"margin": 1.5},
        {"cost": -1.0},
        {"response": 1.0},
        {"discounts": [1.0]},
    ],
)
def test_what_makes_no_sense_is_refused(bad: dict[str, object]) -> None:
    good = {"scores": [0.5], "amounts": [1.0], "discounts": [0.1], "margin": 0.4, "response": 0.5, "cost": 0.0}
    with pytest.raises(ConfigurationError):
        simulate(**(good | bad))  # type: ignore[arg-type]
