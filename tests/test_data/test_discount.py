"""What a discount does, the same to a shop's carts, to the rules about them and to the simulator."""

import numpy as np
import pytest

from data.discount import gain, rescued
from model.interventions import InterventionRule, intervene
from server.console.calculators.intervention import simulate


def test_each_tenth_off_rescues_the_same_share_of_what_is_still_lost() -> None:
    assert rescued(0.0) == 0
    assert rescued(0.1, 0.28) == pytest.approx(0.28)
    assert rescued(0.2, 0.28) == pytest.approx(0.28 + 0.72 * 0.28)
    assert rescued(np.array([0.05, 0.1]), 0.5) == pytest.approx([1 - 0.5**0.5, 0.5])


def test_the_rules_and_the_simulator_say_the_same_of_a_cart() -> None:
    rule = InterventionRule("HIGH", 0.0, "sale", rescued=rescued(0.15, 0.3), discount=0.15, margin=0.4)
    [outcome] = simulate([0.35], [80.0], [0.15], margin=0.4, response=0.3, cost=0.0)
    assert intervene(0.65, 80.0, (rule,)).estimated_margin_impact == pytest.approx(outcome.profit)


def test_the_gain_of_many_is_the_mean_of_theirs() -> None:
    buys = np.array([0.1, 0.5, 0.9])
    assert gain(buys, 0.3, 0.1, 0.4).mean() == pytest.approx(gain(buys.mean(), 0.3, 0.1, 0.4))
