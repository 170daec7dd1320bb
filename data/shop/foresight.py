"""The best score that a model of the synthetic shop's events can reach: of purchases and carts in the next 24 hours.

It knows the shop's parameters and, like a model, the events so far, but not the random draws: neither when a product is
due for a repeat purchase nor who will check out. Whether the present visit is a return is inferred by Bayes' rule from
what was done in it so far, as the odds of a return against a visit by chance:

    odds = (product of f over the products bought before - product of (1 - h) over the same) / visits by chance a day

with h the probability that a product is due today (`Habits.due_probability`), and f = 1 for a product not met yet, 1 -
h for one passed by, 1 - h + h / m for the one being looked at, 1 - h + h / (m c) for one in the cart; m is how often a
visitor by chance meets the product in a visit and c how often they then put it into the cart. That a product is met
once a visit, and in which order, is left out.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data.shop.shop import Shop
from data.shop.traffic import CHECKOUT_RATE, ITEMS_STOP, REMOVE_RATE
from data.units import DAY_US

__all__ = ["Foresight"]

_KEPT = 1 - REMOVE_RATE
_RARE = 1e-12


class _Past(NamedTuple):
    """A shopper's events in time order."""

    time_us: NDArray[np.int64]
    kind: NDArray[np.str_]
    product: NDArray[np.int64]
    visit: NDArray[np.str_]


class _Visit(NamedTuple):
    """A visit as observed so far; `due` and `owned` are of the products bought before it."""

    user: int
    day: int
    met: list[int]
    carted: set[int]
    removed: set[int]
    bought: set[int]
    owned: NDArray[np.int64]
    bought_day: NDArray[np.float64]
    due: NDArray[np.float64]
    factor: NDArray[np.float64]

    @property
    def ended(self) -> bool:
        return bool(self.removed or self.bought)

    @property
    def nothing_due(self) -> float:
        return float(np.prod(1 - self.due))

    @property
    def returning(self) -> float:
        """Odds of a return against a visit by chance."""
        return max(float(np.prod(self.factor)) - self.nothing_due, 0.0)


class Foresight:
    """Probabilities of what follows the events of a shop.

    `events` are those of `Shop.history`, in any order. Questions are asked at the times of events, that is, within
    visits.
    """

    def __init__(self, shop: Shop, events: pa.Table) -> None:
        self._shop = shop
        self._traffic = shop.traffic()
        self._user_of = {each: index for index, each in enumerate(shop.shoppers.ids)}
        self._product_of = {each: index for index, each in enumerate(shop.catalogue.ids)}
        self._pasts = self._pasts_of(events)
        self._meetings = lru_cache(maxsize=4_096)(self._traffic.meeting_rates)

    def purchase(self, user_ids: Sequence[str], times_us: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probability, shape (n,), that each shopper buys anything within 24 hours after a time in a visit.

        Raises `KeyError` for a shopper without an event until then.
        """
        asked = zip(user_ids, times_us.tolist(), strict=True)
        return np.array([self._purchase(self._user_of[user], time_us) for user, time_us in asked])

    def abandonment(
        self, user_ids: Sequence[str], product_ids: Sequence[str], times_us: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the probability, shape (n,), that a product just put into the cart is not bought within 24 hours.

        Raises `KeyError` for a shopper without an event until then, or a product that is not the shop's.
        """
        asked = zip(user_ids, product_ids, times_us.tolist(), strict=True)
        return np.array(
            [self._abandonment(self._user_of[user], self._product_of[product], time) for user, product, time in asked]
        )

    def _purchase(self, user: int, time_us: int) -> float:
        visit = self._visit(user, time_us)
        by_chance = float(self._traffic.visit_rate(visit.day)[user])
        returning = visit.returning / (visit.returning + by_chance)
        kept = float(self._meetings(visit.day, user) @ self._cart_rates(visit.day, user)) * _KEPT
        if visit.bought:
            now = 0.0
        elif visit.ended:
            now = returning + (1 - returning) * CHECKOUT_RATE * bool(visit.carted - visit.removed)
        else:
            none_kept = REMOVE_RATE ** len(visit.carted) * ITEMS_STOP / (1 - (1 - ITEMS_STOP) * (1 - kept))
            if visit.met[-1] not in visit.carted:
                none_kept *= 1 - self._cart_rates(visit.day, user)[visit.met[-1]] * _KEPT
            now = returning + (1 - returning) * CHECKOUT_RATE * (1 - none_kept)

        today = self._traffic.begins_later(user, time_us)
        still_due = float(np.prod(1 - visit.due[~np.isin(visit.owned, list(visit.bought))]))
        back_today = (1 - still_due) * today / (still_due + (1 - still_due) * today) * (1 - returning)
        back_tomorrow = (1 - float(np.prod(1 - self._due_tomorrow(visit)))) * (1 - today)
        # A visit by chance that buys nothing, summed over the number of products met.
        buys = CHECKOUT_RATE * (1 - ITEMS_STOP * (1 - kept) / (1 - (1 - ITEMS_STOP) * (1 - kept)))
        chances = self._chances(visit, today)
        return 1 - (1 - now) * (1 - back_today) * (1 - back_tomorrow) * math.exp(-chances * buys)

    def _abandonment(self, user: int, product: int, time_us: int) -> float:
        visit = self._visit(user, time_us)
        by_chance = float(self._traffic.visit_rate(visit.day)[user])
        own = visit.owned == product
        others = float(np.prod(visit.factor[~own]))
        not_due = float(np.prod(1 - visit.due[own]))
        came_for_others = max(not_due * others - visit.nothing_due, 0.0)
        came_for_it = max(visit.returning - came_for_others, 0.0)
        every = came_for_it + came_for_others + by_chance
        bought = (came_for_it + _KEPT * came_for_others + _KEPT * CHECKOUT_RATE * by_chance) / every

        today = self._traffic.begins_later(user, time_us)
        back_today = float(visit.due[own].sum()) * today * by_chance / every
        back_tomorrow = float(self._due_tomorrow(visit)[own].sum()) * (1 - today)
        meets = self._meetings(visit.day, user)[product] / ITEMS_STOP * self._cart_rates(visit.day, user)[product]
        by_chance_later = math.exp(-self._chances(visit, today) * float(meets) * _KEPT * CHECKOUT_RATE)
        never_later = (1 - back_today) * (1 - back_tomorrow) * by_chance_later
        return float((1 - bought) * never_later)

    def _visit(self, user: int, time_us: int) -> _Visit:
        past = self._pasts[user]
        seen = int(np.searchsorted(past.time_us, time_us, side="right"))
        if not seen:
            raise KeyError(self._shop.shoppers.ids[user])
        now = past.visit[:seen] == past.visit[seen - 1]
        kind, product = past.kind[:seen][now], past.product[:seen][now]
        day = int(past.time_us[:seen][now][0] // DAY_US)
        before = ~now & (past.kind[:seen] == "purchase")
        last_bought = dict(zip(past.product[:seen][before].tolist(), past.time_us[:seen][before].tolist(), strict=True))
        owned = np.array(list(last_bought), np.int64)
        bought_day = np.array(list(last_bought.values()), np.float64) / DAY_US
        due = self._shop.habits.due_probability(np.full(len(owned), user), owned, bought_day, day)

        def done(name: str) -> set[int]:
            return set(product[kind == name].tolist())

        met = list(dict.fromkeys(product[kind == "view"].tolist()))
        visit = _Visit(
            user, day, met, done("add_to_cart"), done("remove_from_cart"), done("purchase"), owned, bought_day, due, due
        )
        return visit._replace(factor=self._factors(visit))

    def _factors(self, visit: _Visit) -> NDArray[np.float64]:
        """Return the likelihood ratio of each product bought before, by whether it was met, carted or passed by."""
        meets = np.maximum(self._meetings(visit.day, visit.user)[visit.owned] / ITEMS_STOP, _RARE)
        carts = np.maximum(self._cart_rates(visit.day, visit.user)[visit.owned], _RARE)
        carted = np.isin(visit.owned, list(visit.carted))
        looked_at = ~carted & (visit.owned == visit.met[-1]) & (not visit.ended)
        passed = ~carted & ~looked_at & (np.isin(visit.owned, visit.met) | visit.ended)
        likelihood = np.where(carted, 1 / (meets * carts), np.where(looked_at, 1 / meets, np.where(passed, 0.0, 1.0)))
        factors: NDArray[np.float64] = 1 - visit.due + visit.due * likelihood
        return factors

    def _due_tomorrow(self, visit: _Visit) -> NDArray[np.float64]:
        user = np.full(len(visit.owned), visit.user)
        due = self._shop.habits.due_probability(user, visit.owned, visit.bought_day, visit.day + 1)
        return np.where(np.isin(visit.owned, list(visit.bought)), 0.0, due)

    def _chances(self, visit: _Visit, today: float) -> float:
        """Return the expected number of visits by chance within 24 hours."""
        days = (self._traffic.visit_rate(visit.day)[visit.user], self._traffic.visit_rate(visit.day + 1)[visit.user])
        return float(days[0] * today + days[1] * (1 - today))

    def _cart_rates(self, day: int, user: int) -> NDArray[np.float64]:
        every = np.arange(len(self._product_of))
        return np.minimum(self._traffic.cart_rate(day, np.full(len(every), user), every), 1.0)

    def _pasts_of(self, events: pa.Table) -> dict[int, _Past]:
        events = events.sort_by([("user_id", "ascending"), ("timestamp", "ascending")])
        time_us = pc.cast(events["timestamp"], pa.int64()).to_numpy()
        user = np.array([self._user_of[each] for each in events["user_id"].to_pylist()], np.int64)
        product = np.array([self._product_of[each] for each in events["product_id"].to_pylist()], np.int64)
        kind, visit = (np.array(events[name].to_pylist()) for name in ("event_type", "session_id"))
        found, first = np.unique(user, return_index=True)
        ends = np.append(first[1:], len(user))
        return {
            owner: _Past(time_us[a:b], kind[a:b], product[a:b], visit[a:b])
            for owner, a, b in zip(found.tolist(), first.tolist(), ends.tolist(), strict=True)
        }
