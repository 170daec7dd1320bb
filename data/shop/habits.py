"""What follows a purchase in the synthetic shop: the hidden truth that a model can only learn from events.

A purchase is followed by another of the same product with probability r(user, product), after T days; otherwise it is
sent back with probability s(user, product), after B days:

    r = 1 / (1 + exp(-(replenish[product] + loyalty[user] + liking[user, product])))
    s = 1 / (1 + exp(-(sent_back[product] + fickleness[user])))
    ln T ~ Normal(ln cycle_days[product], SPREAD)
    ln (B - 1) ~ Normal(ln BACK_DAYS, BACK_SPREAD)

A purchase of the pair in between restarts all of this. Liking is a fixed draw per pair, computed by hashing rather than
stored, since pairs are many.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.shop.catalogue import Catalogue
from data.shop.shoppers import Shoppers

__all__ = ["BACK_DAYS", "BACK_SPREAD", "SPREAD", "Habits"]

SPREAD = 0.4
"""Standard deviation of the logarithm of the days until a product is bought again."""

BACK_DAYS, BACK_SPREAD = 7.0, 0.6
"""Days after the first until a product is sent back: the median, and the deviation of the logarithm."""

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
        """Return the probability of another purchase within `horizon_days`, given that nothing followed so far.

        With F and G the distributions of T and B: r (F(since + horizon) - F(since)) / (1 - r F(since) - (1 - r) s
        G(since)). Purchases that are unrelated to the last one (a shopper meets the product again by chance) come on
        top and are left out.
        """
        since = np.broadcast_to(np.asarray(days_since, np.float64), user.shape)
        return self._repeated(user, product, since, since + horizon_days)

    def sent_back_probability(
        self, user: NDArray[np.int64], product: NDArray[np.int64], horizon_days: float
    ) -> NDArray[np.float64]:
        """Return the probability that a purchase is sent back within `horizon_days`: (1 - r) s G(horizon)."""
        back: NDArray[np.float64] = (1 - self.propensity(user, product)) * self._sends_back(user, product)
        return back * _back_by(np.full(len(user), horizon_days))

    def due_probability(
        self, user: NDArray[np.int64], product: NDArray[np.int64], bought_day: NDArray[np.float64], day: int
    ) -> NDArray[np.float64]:
        """Return the probability that a product last bought at `bought_day` (days since 1970) is due on `day`.

        Given that it was neither due nor sent back before; the earliest is the day after. Zero where it was bought on
        `day` or later.
        """
        # What would be due earlier is due on the day after the purchase.
        since = np.where(day > np.floor(bought_day) + 1, np.maximum(day - bought_day, 0.0), 0.0)
        due = self._repeated(user, product, since, np.maximum(day + 1 - bought_day, 0.0))
        probability: NDArray[np.float64] = np.where(day > np.floor(bought_day), due, 0.0)
        return probability

    def follow_ups(
        self, user: NDArray[np.int64], product: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Draw the days from a purchase to the next of the same product, and to its being sent back.

        At least one of them is infinite: what does not happen.
        """
        repeats = rng.random(len(user)) < self.propensity(user, product)
        days = self._catalogue.cycle_days[product] * np.exp(rng.normal(0.0, SPREAD, len(user)))
        sent_back = ~repeats & (rng.random(len(user)) < self._sends_back(user, product))
        back_days = 1 + BACK_DAYS * np.exp(rng.normal(0.0, BACK_SPREAD, len(user)))
        return np.where(repeats, days, np.inf), np.where(sent_back, back_days, np.inf)

    def _sends_back(self, user: NDArray[np.int64], product: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return s, the probability that what is not bought again is sent back."""
        log_odds = self._catalogue.sent_back[product] + self._shoppers.fickleness[user]
        sends: NDArray[np.float64] = 1 / (1 + np.exp(-log_odds))
        return sends

    def _repeated(
        self,
        user: NDArray[np.int64],
        product: NDArray[np.int64],
        since: NDArray[np.float64],
        until: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the probability of a repeat from `since` to `until` days after, given that nothing followed before."""
        repeats, cycle_days = self.propensity(user, product), self._catalogue.cycle_days[product]
        before, by_then = (_log_normal_cdf(days / cycle_days, SPREAD) for days in (since, until))
        over = repeats * before + (1 - repeats) * self._sends_back(user, product) * _back_by(since)
        repeated: NDArray[np.float64] = repeats * (by_then - before) / (1 - over)
        return repeated


def _back_by(days: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return G(days): of what is sent back, the share that has been by then."""
    return _log_normal_cdf(np.maximum(days - 1, 0.0) / BACK_DAYS, BACK_SPREAD)


def _log_normal_cdf(share: NDArray[np.float64], spread: float) -> NDArray[np.float64]:
    """Return the distribution of a log-normal number at a share of its median."""
    with np.errstate(divide="ignore"):
        cdf: NDArray[np.float64] = _normal_cdf(np.log(share) / spread)
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
