"""Uplift: a known effect is recovered, per risk level, and the table says what was measured and what is assumed."""

from typing import Any, cast

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from data.errors import DataError
from model.estimators.base import Estimator
from model.estimators.catalogue import make_estimator
from model.evaluation.uplift import MIN_ARM, Trial, measure_uplift, qini
from model.interventions import DEFAULT_RULES, intervene
from model.uplift import Uplift, with_measured

pytestmark = pytest.mark.integration  # it learns forests

RESCUED = {"LOW": 0.0, "MEDIUM": 0.1, "HIGH": 0.4}
RULES = tuple(msgspec.structs.replace(rule, discount=0.05) for rule in DEFAULT_RULES)


def trial(rows: int, rescued: dict[str, float], seed: int = 0) -> Trial:
    """A shop whose carts are abandoned as the model says, and of which the treatment rescues a share by level."""
    random = np.random.default_rng(seed)
    risk = random.random(rows)
    treated = (random.random(rows) < 0.4).astype(np.int64)
    starts = [rule.from_probability for rule in RULES]
    share = np.array([rescued[rule.risk_level] for rule in RULES])[np.searchsorted(starts, risk, side="right") - 1]
    lost = (random.random(rows) < risk) & ~((treated == 1) & (random.random(rows) < share))
    features = np.column_stack([risk, random.normal(size=rows)]).astype(np.float32)
    return Trial(treated, 1 - lost.astype(np.int64), risk, random.integers(0, rows // 3, rows), features)


def fit(rows: NDArray[np.float32], labels: NDArray[np.int64]) -> Estimator:
    return make_estimator("random_forest", 0, {"n_estimators": 20}).fit(rows, labels)


@pytest.fixture(scope="module")
def measured() -> Uplift:
    return measure_uplift(trial(15_000, RESCUED), RULES, fit)


class Guess:
    """Scores without learning: intervals per level do not need the two models."""

    def score(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        return rows[:, 0].astype(np.float64)


def test_a_known_effect_lies_in_the_intervals_of_every_risk_level() -> None:
    """Of 95 %: some of many miss it."""
    missed = 0
    for seed in range(12):
        for level in measure_uplift(trial(8_000, RESCUED, seed), RULES, lambda *_: cast("Any", Guess())).levels:
            assert level.rescued is not None
            assert level.rescued_interval is not None
            low, high = level.rescued_interval
            assert low <= level.rescued <= high
            missed += not low <= RESCUED[level.risk_level] <= high
    assert missed <= 5, "of 36 two are to be expected"


def test_a_known_effect_is_recovered(measured: Uplift) -> None:
    assert measured.uplift_interval[0] <= measured.uplift <= measured.uplift_interval[1]
    # Of the carts at risk r, uniform: 0.1 of those between 0.4 and 0.7 and 0.4 of those above are rescued.
    assert measured.uplift == pytest.approx(0.1 * (0.49 - 0.16) / 2 + 0.4 * (1 - 0.49) / 2, abs=0.02)


def test_treating_those_first_who_gain_most_is_worth_more_than_at_random(measured: Uplift) -> None:
    assert measured.qini["table"].coefficient > 0.01
    assert measured.qini["two models"].coefficient > 0.01
    again = trial(15_000, RESCUED)
    assert qini(-again.risk, again.treated, again.bought).coefficient < -0.01


def test_a_qini_curve_by_hand() -> None:
    """Treated first: one of the two treated bought, none of the one control; then both arms alike."""
    treated, bought = np.array([1, 1, 0, 1, 0]), np.array([1, 0, 0, 1, 1])
    found = qini(np.array([0.9, 0.9, 0.9, 0.1, 0.1]), treated, bought)
    at = dict(zip(found.curve.x, found.curve.y, strict=True))
    assert at[0.6] == pytest.approx((1 - 0 * 2 / 1) / 3)
    assert at[1.0] == pytest.approx((2 - 1 * 3 / 2) / 3)
    assert found.coefficient == pytest.approx(0.6 * (1 / 3) / 2 + 0.4 * (1 / 3 + 1 / 6) / 2 - (1 / 6) / 2)


def test_what_was_measured_replaces_what_was_assumed_where_there_was_enough(measured: Uplift) -> None:
    few = trial(15_000, RESCUED)
    kept = few.risk < 0.7
    kept[np.flatnonzero(~kept)[:MIN_ARM]] = True
    part = measure_uplift(Trial._make(column[kept] for column in few), RULES, fit)
    assert part.levels[2].rescued is None
    rules = with_measured(RULES, part)
    assert [rule.basis for rule in rules] == ["measured", "measured", "assumed"]
    assert rules[2] == RULES[2]
    assert intervene(0.5, 100.0, rules).impact_basis == "measured"
    assert intervene(0.9, 100.0, rules).impact_basis == "assumed"
    assert [rule.basis for rule in with_measured(RULES, measured)] == ["measured"] * 3
    assert all(rule.basis == "assumed" for rule in RULES)


def test_an_intervention_by_name_is_measured_where_the_table_uses_it() -> None:
    found = measure_uplift(trial(3_000, RESCUED), RULES, fit, intervention="discount_offer")
    assert [level.intervention for level in found.levels] == ["discount_offer"] * 3
    assert [level.assumed for level in found.levels] == [None, None, RULES[2].rescued]
    assert [rule.basis for rule in with_measured(RULES, found)] == ["assumed", "assumed", "measured"]


def test_an_intervention_that_loses_carts_rescues_none() -> None:
    harm = trial(4_000, dict.fromkeys(RESCUED, 0.0))
    hurt = harm._replace(bought=np.where((harm.treated == 1) & (np.arange(4_000) % 2 == 0), 0, harm.bought))
    found = measure_uplift(hurt, RULES, fit)
    assert found.levels[0].rescued is not None
    assert found.levels[0].rescued < 0
    assert [rule.rescued for rule in with_measured(RULES, found)] == [0.0] * 3


@pytest.mark.parametrize("arm", [0, 1])
def test_a_log_of_one_arm_is_refused(arm: int) -> None:
    whole = trial(500, RESCUED)
    with pytest.raises(DataError, match=f"each needs at least {MIN_ARM}"):
        measure_uplift(Trial._make(column[whole.treated == arm] for column in whole), RULES, fit)


def test_everybody_buys_and_one_user_alone() -> None:
    whole = trial(500, RESCUED)
    found = measure_uplift(whole._replace(bought=np.ones(500, np.int64), users=np.zeros(500, np.int64)), RULES, fit)
    assert found.uplift == 0
    assert all(level.rescued is None for level in found.levels)
