"""The synthetic shop's shoppers: names, tastes, budgets, loyalty, and how often, when and on what they visit."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
from faker import Faker
from numpy.typing import NDArray

from data.shop.catalogue import Catalogue
from data.units import DAY_US

__all__ = ["Shoppers"]

_FOUNDERS_SHARE = 0.7  # of the shoppers are there on the first day
_TASTE_FOCUS = 0.5  # of a Dirichlet draw: the smaller, the fewer categories a shopper cares for


@dataclass(frozen=True)
class Shoppers:
    """Shoppers as columns, one row each.

    `taste` is (shoppers, categories) and sums to 1 per row; `budget` is on the scale of the catalogue's `tier`;
    `loyalty` are log-odds added to a product's own of being bought again; `activity` is relative to the mean of 1;
    `night_owl` shifts the shopper's hours; `join_day` is a day since 1970; `mobile` is the share of visits on a phone;
    `fickleness` are log-odds added to a product's own of being sent back.
    """

    ids: list[str]
    names: list[str]
    taste: NDArray[np.float64]
    budget: NDArray[np.float64]
    loyalty: NDArray[np.float64]
    eagerness: NDArray[np.float64]
    activity: NDArray[np.float64]
    night_owl: NDArray[np.float64]
    join_day: NDArray[np.int64]
    mobile: NDArray[np.float64]
    fickleness: NDArray[np.float64]

    @classmethod
    def draw(cls, users: int, catalogue: Catalogue, *, first_day: int, days: int, seed: int) -> Self:
        """Draw `users` shoppers, three in ten of whom join during the `days` after `first_day` (days since 1970)."""
        rng = np.random.default_rng([seed, 2])
        shares = np.array([category.share for category in catalogue.categories])
        activity = rng.gamma(0.9, 1.0, users) + 0.05
        founders = rng.random(users) < _FOUNDERS_SHARE
        return cls(
            ids=[f"u{index:06d}" for index in range(users)],
            names=_names(users, rng, seed),
            taste=rng.dirichlet(_TASTE_FOCUS * len(shares) * shares / shares.sum() + 0.02, users),
            budget=rng.normal(0.0, 0.4, users),
            loyalty=rng.normal(0.0, 0.9, users),
            eagerness=np.exp(rng.normal(-0.08, 0.4, users)),
            activity=activity / activity.mean(),
            night_owl=rng.normal(0.0, 1.5, users),
            join_day=np.where(founders, first_day, first_day + rng.integers(1, max(days, 2), users)),
            mobile=rng.beta(1.2, 1.0, users),
            fickleness=rng.normal(0.0, 0.8, users),
        )

    def table(self) -> pa.Table:
        """Return the shoppers as a table: user_id, name and joined (UTC)."""
        joined = pa.array(self.join_day * DAY_US, pa.timestamp("us", tz="UTC"))
        return pa.table({"user_id": self.ids, "name": self.names, "joined": joined})


def _names(users: int, rng: np.random.Generator, seed: int) -> list[str]:
    """Combine first and last names. Faker is slow, so a bounded number of each is drawn."""
    fake = Faker("en_GB")
    fake.seed_instance(seed + 1)
    firsts = [fake.first_name() for _ in range(min(users, 300))]
    lasts = [fake.last_name() for _ in range(min(users, 300))]
    chosen = rng.integers(0, len(firsts), (users, 2)).tolist()
    return [f"{firsts[first]} {lasts[last]}" for first, last in chosen]
