"""An experiment on two shares (customers who buy, with and without a treatment): size, power, and difference.

n      (z₁₋α/₂ √(2 p̄ q̄) + z₁₋β √(p₁q₁ + p₂q₂))² / (p₁ − p₂)²     Fleiss, Levin & Paik (2003), eq. 4.14
power  Φ((√n |p₁ − p₂| − z₁₋α/₂ √(2 p̄ q̄)) / √(p₁q₁ + p₂q₂))      the same, solved for power
z      (p₂ − p₁) / √(p̄ q̄ (1/n₁ + 1/n₂))                          ibid., eq. 3.6 squared, without continuity correction
share  Wilson's score interval                                      Wilson (1927); Newcombe (1998a), method 3
p₂−p₁  the two Wilson intervals combined                            Newcombe (1998b), method 10
small  Fisher's exact test                                          Fisher (1935), The Design of Experiments
"""

import math
from typing import NamedTuple

from scipy import stats

from data.errors import ConfigurationError

__all__ = ["Comparison", "Interval", "compare", "power", "sample_size", "wilson"]

_SMALL = 5
"""Expected customers in a cell below which the normal approximation is unreliable."""


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class Comparison(NamedTuple):
    """The result of an experiment: shares and their difference (second less first) with intervals; two-sided `p_value`.

    `exact`: the test is Fisher's, since some cell is small.
    """

    first: float
    second: float
    first_interval: Interval
    second_interval: Interval
    difference: float
    interval: Interval
    z: float
    p_value: float
    exact: bool


def sample_size(first: float, second: float, *, alpha: float = 0.05, wanted_power: float = 0.8) -> int:
    """Return the customers per arm needed to detect a change from `first` to `second` (shares) at this power and level.

    Raises ConfigurationError if there is no difference, or a number is no share.
    """
    _check_shares(first, second, alpha, wanted_power)
    if first == second:
        raise ConfigurationError("sample size: the two shares are equal; no number of customers shows no difference")
    pooled, apart = _spreads(first, second)
    needed = (_z(1 - alpha / 2) * pooled + _z(wanted_power) * apart) / (first - second)
    return math.ceil(needed**2)


def power(first: float, second: float, customers: float, *, alpha: float = 0.05) -> float:
    """Return the probability that an experiment with so many customers per arm detects a change."""
    _check_shares(first, second, alpha)
    pooled, apart = _spreads(first, second)
    if apart == 0:
        return 1.0 if first != second else alpha
    result: float = stats.norm.cdf((math.sqrt(customers) * abs(first - second) - _z(1 - alpha / 2) * pooled) / apart)
    return result


def wilson(bought: int, customers: int, *, alpha: float = 0.05) -> Interval:
    """Return Wilson's score interval of a share."""
    z = _z(1 - alpha / 2)
    share = bought / customers
    scale = 1 + z**2 / customers
    middle = (share + z**2 / (2 * customers)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / customers + z**2 / (4 * customers**2))
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def compare(
    first_bought: int, first_customers: int, second_bought: int, second_customers: int, *, alpha: float = 0.05
) -> Comparison:
    """Return the result of an experiment. Raises ConfigurationError for more buyers than customers, or no customers."""
    for name, bought, customers in (
        ("control", first_bought, first_customers),
        ("treatment", second_bought, second_customers),
    ):
        if customers < 1 or not 0 <= bought <= customers:
            raise ConfigurationError(
                f"{name}: {bought} of {customers} bought; give at least one customer, and no more buyers than customers"
            )
    first, second = first_bought / first_customers, second_bought / second_customers
    first_interval = wilson(first_bought, first_customers, alpha=alpha)
    second_interval = wilson(second_bought, second_customers, alpha=alpha)
    difference = second - first
    interval = Interval(
        difference - math.hypot(second - second_interval.low, first_interval.high - first),
        difference + math.hypot(second_interval.high - second, first - first_interval.low),
    )
    pooled = (first_bought + second_bought) / (first_customers + second_customers)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / first_customers + 1 / second_customers))
    z = difference / spread if spread else 0.0
    exact = min(first_customers, second_customers) * min(pooled, 1 - pooled) < _SMALL
    if exact:
        table = [[first_bought, first_customers - first_bought], [second_bought, second_customers - second_bought]]
        p_value = float(stats.fisher_exact(table).pvalue)
    else:
        p_value = 2 * float(stats.norm.sf(abs(z)))
    return Comparison(first, second, first_interval, second_interval, difference, interval, z, p_value, exact)


def _spreads(first: float, second: float) -> tuple[float, float]:
    """Return √(2 p̄ q̄), the spread without a difference, and √(p₁q₁ + p₂q₂)."""
    mean = (first + second) / 2
    return math.sqrt(2 * mean * (1 - mean)), math.sqrt(first * (1 - first) + second * (1 - second))


def _z(probability: float) -> float:
    return float(stats.norm.ppf(probability))


def _check_shares(*shares: float) -> None:
    for share in shares:
        if not 0 < share < 1:
            raise ConfigurationError(f"{share:g} is no share between 0 and 1 (a conversion, a level, a power)")
