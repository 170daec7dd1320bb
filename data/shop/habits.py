"""Repeat purchases in the synthetic shop: the hidden truth that a model can only learn from events.

A purchase is followed by another of the same product with probability r(user, product), after a time T:

    r = 1 / (1 + exp(-(replenish[product] + loyalty[user] + liking[user, product])))
    ln T ~ Normal(ln cycle_days[product], SPREAD)

A purchase of the pair in between restarts the time. Liking is a fixed draw per pair, computed by hashing rather than
stored, since pairs are many.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.shop.catalogue import Catalogue
from data.shop.shoppers import Shoppers

__all__ = ["SPREAD", "Habits"]

SPREAD = 0.4
"""Standard deviation of the logarithm of the days until a product is bought again."""

_LIKING = 0.6

_normal_cdf = np.vectorize(lambda z: 0.5 * math.erfc(-z / math.sqrt(2)), otypes=[np.float64])


class Habits:
    """Probabilities of repeat purchases. Users and products are given as row numbers of equal shape (n,)."""

    def __init__(self, catalogue: Catalogue, shoppers: Shoppers, seed: int) -> None:
        self._catalogue = catalogue
        self._shoppers = shoppers
        self._seed = seed

    def propensity(self, user: NDArray[np.int64], product: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probability r that a purchase is ever followed by another of the same product."""
        uniform = _uniform(self._seed, user, product)
        liking = _LIKING * np.log(uniform / (1 - uniform))
        log_odds = self._catalogue.replenish[product] + self._shoppers.loyalty[user] + liking
        propensity: NDArray[np.float64] = 1 / (1 + np.exp(-log_odds))
        return propensity

    def probability(
        self, user: NDArray[np.int64], product: NDArray[np.int64], days_since: ArrayLike, horizon_days: float
    ) -> NDArray[np.float64]:
        """Return the probability of another purchase within `horizon_days`, given none in the `days_since` the last.

        With F the distribution of T: r (F(since + horizon) - F(since)) / (1 - r F(since)). Purchases that are unrelated
        to the last one (a shopper meets the product again by chance) come on top and are left out.
        """
        since = np.broadcast_to(np.asarray(days_since, np.float64), user.shape)
        returns = self.propensity(user, product)
        before = self._returned(product, since)
        until = self._returned(product, since + horizon_days)
        probability: NDArray[np.float64] = returns * (until - before) / (1 - returns * before)
        return probability

    def due_probability(
        self, user: NDArray[np.int64], product: NDArray[np.int64], bought_day: NDArray[np.float64], day: int
    ) -> NDArray[np.float64]:
        """Return the probability that a product last bought at `bought_day` (days since 1970) is due on `day`.

        Given that it was not due before; the earliest is the day after. Zero where it was bought on `day` or later.
        """
        returns = self.propensity(user, product)
        until = self._returned(product, np.maximum(day + 1 - bought_day, 0.0))
        before = np.where(day > np.floor(bought_day) + 1, self._returned(product, np.maximum(day - bought_day, 0.0)), 0)
        probability: NDArray[np.float64] = np.where(
            day > np.floor(bought_day), returns * (until - before) / (1 - returns * before), 0.0
        )
        return probability

    def days_until_return(
        self, user: NDArray[np.int64], product: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Draw the days from a purchase to the next of the same product; infinite where there is none."""
        returns = rng.random(len(user)) < self.propensity(user, product)
        days = self._catalogue.cycle_days[product] * np.exp(rng.normal(0.0, SPREAD, len(user)))
        return np.where(returns, days, np.inf)

    def _returned(self, product: NDArray[np.int64], days: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return F(days): of those who return, the share that has returned by then."""
        with np.errstate(divide="ignore"):
            z = np.log(days / self._catalogue.cycle_days[product]) / SPREAD
        cdf: NDArray[np.float64] = _normal_cdf(z)
        return cdf


def _uniform(seed: int, user: NDArray[np.int64], product: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a fixed number in (0, 1) per pair: the finalizer of SplitMix64 (Steele et al., 2014), twice."""
    bits = _mixed(user.astype(np.uint64) + (np.uint64(seed % 2**32) << np.uint64(32)))
    bits = _mixed(bits ^ product.astype(np.uint64))
    uniform: NDArray[np.float64] = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53
    return uniform


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
