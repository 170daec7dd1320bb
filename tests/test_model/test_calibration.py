"""The sigmoid finds the curve that labels were drawn by, and stays sane where there is nothing to find."""

import numpy as np
import pytest

from model.calibration import Calibration
from model.numbers.calibration import log_odds, probabilities
from model.training.calibrate import carry_over, fit_sigmoid


def test_it_finds_the_curve() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(0.4, 0.1, 20_000)
    labels = (random.random(20_000) < 1 / (1 + np.exp(-(9 * scores - 5)))).astype(np.int64)
    found = fit_sigmoid(scores, labels)
    assert found.slope == pytest.approx(9, rel=0.05)
    assert found.intercept == pytest.approx(-5, rel=0.05)
    assert probabilities(found, scores).mean() == pytest.approx(labels.mean(), abs=1e-3)
    np.testing.assert_allclose(log_odds(found, scores), found.slope * scores + found.intercept)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_perfect_separation_has_an_end(scale: float) -> None:
    labels = np.repeat([0, 1], 50)
    found = probabilities(fit_sigmoid(labels * scale, labels), np.array([0.0, scale]))
    np.testing.assert_allclose(found, [1 / 52, 51 / 52], atol=1e-4)


@pytest.mark.parametrize(("rare", "frequent"), [(0.01, 0.3), (0.03, 0.6)])
def test_a_few_high_scores_among_many_low_ones(rare: float, frequent: float) -> None:
    """Newton's whole steps never end here: they run to and fro, and once ended where every score was the base rate."""
    scores = np.repeat([0.0, 1.0], [2_000, 40])
    labels = np.concatenate([np.arange(2_000) < rare * 2_000, np.arange(40) < frequent * 40]).astype(np.int64)
    found = probabilities(fit_sigmoid(scores, labels), np.array([0.0, 1.0]))
    np.testing.assert_allclose(found, [rare, frequent], rtol=0.1)


def test_scores_that_say_nothing_or_the_opposite_give_the_base_rate() -> None:
    labels = np.array([0, 0, 0, 1])
    for scores in (np.zeros(4), -labels.astype(np.float64)):
        found = fit_sigmoid(scores, labels)
        assert found.slope == 0
        np.testing.assert_allclose(probabilities(found, scores), 1 / 3)


def test_far_scores_do_not_overflow() -> None:
    found = probabilities(Calibration(slope=1.0, intercept=0.0), np.array([-1e4, 1e4]))
    assert found.tolist() == [0.0, 1.0]


def test_a_second_fit_gets_the_log_odds_that_the_first_was_calibrated_to() -> None:
    """Its scores are the first's, on another scale: the probabilities must not differ."""
    random = np.random.default_rng(4)
    held_out = random.normal(size=500)
    first = Calibration(slope=0.7, intercept=-2.0)
    refitted = 3 * held_out + 0.5
    carried = carry_over(first, held_out, refitted)
    np.testing.assert_allclose(probabilities(carried, refitted), probabilities(first, held_out), rtol=1e-12)
    nothing = carry_over(first, held_out, np.ones(500))
    assert nothing.slope == 0
    assert nothing.intercept == pytest.approx(-2 + 0.7 * held_out.mean())
