"""The A/B calculator against published numbers."""

import pytest
from scipy import stats

from data.errors import ConfigurationError
from server.console.calculators.experiment import compare, power, sample_size, wilson


def test_sample_size_and_power_are_those_of_r() -> None:
    # R's help page of power.prop.test: p1 = .50, p2 = .75, power = .90 gives n = 76.7; n = 50 gives power = 0.740.
    assert sample_size(0.50, 0.75, wanted_power=0.9) == 77
    assert power(0.50, 0.75, 50) == pytest.approx(0.740, abs=5e-4)


def test_sample_size_gives_the_power_that_was_asked_for() -> None:
    for first, second in ((0.1, 0.12), (0.3, 0.29), (0.5, 0.8)):
        needed = sample_size(first, second, alpha=0.01, wanted_power=0.85)
        assert power(first, second, needed, alpha=0.01) >= 0.85
        assert power(first, second, needed - 1, alpha=0.01) < 0.85


def test_shares_have_wilsons_interval() -> None:
    # Newcombe (1998a), table I: 81 of 263 gives 0.2553 to 0.3662; 0 of 20 gives 0 to 0.1611.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_a_difference_has_newcombes_interval() -> None:
    # Newcombe (1998b), table II: 56 of 70 against 48 of 80 gives 0.0524 to 0.3339.
    found = compare(48, 80, 56, 70)
    assert found.difference == pytest.approx(0.2)
    assert found.interval == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_significance_is_the_chi_squared_tests() -> None:
    found = compare(500, 5000, 580, 5000)
    chi = stats.chi2_contingency([[500, 4500], [580, 4420]], correction=False)
    assert found.p_value == pytest.approx(chi.pvalue)
    assert found.z**2 == pytest.approx(chi.statistic)
    assert not found.exact


def test_few_customers_are_tested_exactly() -> None:
    # Fisher's lady tasting tea: 3 of 4 right, p = 0.4857 two-sided.
    found = compare(1, 4, 3, 4)
    assert found.exact
    assert found.p_value == pytest.approx(0.4857, abs=5e-5)


def test_nobody_bought() -> None:
    found = compare(0, 10, 0, 10)
    assert (found.difference, found.z, found.p_value) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("bad", [(0.1, 0.1), (0.0, 0.1), (0.1, 1.0), (-0.2, 0.1)])
def test_shares_that_make_no_sense_are_refused(bad: tuple[float, float]) -> None:
    with pytest.raises(ConfigurationError):
        sample_size(*bad)


@pytest.mark.parametrize("bad", [(6, 5, 1, 5), (1, 5, 6, 5), (0, 0, 0, 5), (-1, 5, 1, 5)])
def test_counts_that_make_no_sense_are_refused(bad: tuple[int, int, int, int]) -> None:
    with pytest.raises(ConfigurationError, match="bought"):
        compare(*bad)
