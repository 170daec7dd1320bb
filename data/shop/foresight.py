"""The best score that a model of the synthetic shop's events can reach: of purchases and carts in the next 24 hours.

It knows the shop's parameters and, like a model, the events so far, but not the random draws: neither when a product is
due for a repeat purchase nor who will check out. Whether the present visit is a repeat is inferred by Bayes' rule from
what was done in it so far, as the odds of a repeat against a visit by chance:

    odds = (product of f over the products bought before - product of (1 - h) over the same) / visits by chance a day

with h the probability that a product is due today (`Habits.due_probability`), and f = 1 for a product not met yet, 1 -
h for one passed by, 1 - h + h / m for the one being looked at, 1 - h + h / (m c) for one in the cart; m is how often a
visitor by chance meets the product in a visit and c how often they then put it into the cart. What was sent back is
not due. That a product is met once a visit, and in which order, is left out, and so is that discounts may change over
night.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data.shop.shop import Shop
from data.shop.traffic import CHECKOUT_RATES, DEVICES, ITEMS_STOP, REMOVE_RATE
from data.units import DAY_US

__all__ = ["Foresight"]

_RARE = 1e-12


class _Past(NamedTuple):
    """A shopper's events in time order; a return has no visit, and an unknown device."""

    time_us: NDArray[np.int64]
    kind: NDArray[np.str_]
    product: NDArray[np.int64]
    visit: NDArray[np.str_]
    device: NDArray[np.int64]


class _Visit(NamedTuple):
    """A visit as observed so far; `due` and `owned` are of the products bought before it and not sent back.

    `checkout` is the probability that it ends at the checkout if it is by chance.
    """

    user: int
    day: int
    checkout: float
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
        """Odds of a repeat against a visit by chance."""
        return max(float(np.prod(self.factor)) - self.nothing_due, 0.0)


class Foresight:
    """Probabilities of what follows the events of a shop.

    `events` are those of `Shop.history`, in any order. Questions are asked at the times of events, that is, within
    visits.
    """

    def __init__(self, shop: Shop, events: pa.Table) -> None:
        self._shop = shop
        self._traffic = shop.traffic()
        self._user_of = {user_id: index for index, user_id in enumerate(shop.shoppers.ids)}
        self._product_of = {product_id: index for index, product_id in enumerate(shop.catalogue.ids)}
        self._pasts = self._pasts_of(events)
        self._meetings = lru_cache(maxsize=4_096)(self._traffic.meeting_rates)

    def purchase(self, user_ids: Sequence[str], times_us: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probability, shape (n,), that each shopper buys anything within 24 hours after a time in a visit.

        Raises `KeyError` for a shopper without an event until then.
        """
        questions = zip(user_ids, times_us.tolist(), strict=True)
        return np.array([self._purchase(self._user_of[user], time_us) for user, time_us in questions])

    def abandonment(
        self, user_ids: Sequence[str], product_ids: Sequence[str], times_us: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the probability, shape (n,), that a product just put into the cart is not bought within 24 hours.

        Raises `KeyError` for a shopper without an event until then, or a product that is not the shop's.
        """
        questions = zip(user_ids, product_ids, times_us.tolist(), strict=True)
        return np.array(
            [
                self._abandonment(self._user_of[user], self._product_of[product], time)
                for user, product, time in questions
            ]
        )

    def _purchase(self, user: int, time_us: int) -> float:
        visit = self._visit(user, time_us)
        by_chance = float(self._traffic.visit_rate(visit.day)[user])
        returning = visit.returning / (visit.returning + by_chance)
        if visit.ended:
            nothing = self._left_behind(visit)
        else:
            nothing = self._expected(visit.day, visit.checkout, lambda lost: self._nothing_more(visit, lost))
        now = 0.0 if visit.bought else 1 - (1 - returning) * nothing

        today = self._traffic.begins_later(user, time_us)
        still_due = float(np.prod(1 - visit.due[~np.isin(visit.owned, list(visit.bought))]))
        back_today = (1 - still_due) * today / (still_due + (1 - still_due) * today) * (1 - returning)
        back_tomorrow = (1 - float(np.prod(1 - self._due_tomorrow(visit)))) * (1 - today)
        leaves = self._expected(visit.day, self._checkout(user), lambda lost: self._nothing(visit, lost))
        chances = self._chances(visit, today)
        return 1 - (1 - now) * (1 - back_today) * (1 - back_tomorrow) * math.exp(-chances * (1 - leaves))

    def _abandonment(self, user: int, product: int, time_us: int) -> float:
        visit = self._visit(user, time_us)
        by_chance = float(self._traffic.visit_rate(visit.day)[user])
        own = visit.owned == product
        others = float(np.prod(visit.factor[~own]))
        not_due = float(np.prod(1 - visit.due[own]))
        came_for_others = max(not_due * others - visit.nothing_due, 0.0)
        came_for_it = max(visit.returning - came_for_others, 0.0)
        total = came_for_it + came_for_others + by_chance
        buys, chance_buys, buys_later = (
            1 - self._expected(visit.day, checkout, lambda lost: float(lost[product]))
            for checkout in (1.0, visit.checkout, self._checkout(user))
        )
        bought = (came_for_it + buys * came_for_others + chance_buys * by_chance) / total

        today = self._traffic.begins_later(user, time_us)
        back_today = float(visit.due[own].sum()) * today * by_chance / total
        back_tomorrow = float(self._due_tomorrow(visit)[own].sum()) * (1 - today)
        meets = self._meetings(visit.day, user)[product] / ITEMS_STOP * self._cart_rates(user)[product]
        by_chance_later = math.exp(-self._chances(visit, today) * float(meets) * buys_later)
        never_later = (1 - back_today) * (1 - back_tomorrow) * by_chance_later
        return float((1 - bought) * never_later)

    def _visit(self, user: int, time_us: int) -> _Visit:
        past = self._pasts[user]
        events = int(np.searchsorted(past.time_us, time_us, side="right"))
        if not events:
            raise KeyError(self._shop.shoppers.ids[user])
        now = past.visit[:events] == past.visit[events - 1]
        kind, product = past.kind[:events][now], past.product[:events][now]
        day = int(past.time_us[:events][now][0] // DAY_US)
        last_bought: dict[int, int] = {}
        columns = (column[:events][~now].tolist() for column in (past.kind, past.product, past.time_us))
        for event_type, product_index, at_us in zip(*columns, strict=True):
            if event_type == "purchase":
                last_bought[product_index] = at_us
            elif event_type == "return":
                last_bought.pop(product_index, None)
        owned = np.array(list(last_bought), np.int64)
        bought_day = np.array(list(last_bought.values()), np.float64) / DAY_US
        due = self._shop.habits.due_probability(np.full(len(owned), user), owned, bought_day, day)

        def done(name: str) -> set[int]:
            return set(product[kind == name].tolist())

        met = list(dict.fromkeys(product[kind == "view"].tolist()))
        checkout = float(CHECKOUT_RATES[past.device[events - 1]])
        acts = (met, done("add_to_cart"), done("remove_from_cart"), done("purchase"))
        visit = _Visit(user, day, checkout, *acts, owned, bought_day, due, due)
        return visit._replace(factor=self._factors(visit))

    def _checkout(self, user: int) -> float:
        """Return the share of a shopper's visits by chance that end at the checkout."""
        return float(self._traffic.device_shares(user) @ CHECKOUT_RATES)

    def _expected(self, day: int, checkout: float, function: Callable[[NDArray[np.float64]], float]) -> float:
        """Return the mean of a function of `lost` over a visit's checkout, which happens with that probability.

        `lost` is the probability that a product in the cart, wanted ones apart, is not bought, shape [products].
        """
        unsaved = 1 - self._traffic.rescued(day)
        return checkout * function(REMOVE_RATE * unsaved) + (1 - checkout) * function(unsaved)

    def _nothing(self, visit: _Visit, lost: NDArray[np.float64]) -> float:
        """Return the probability that another visit by chance buys nothing: summed over the number of products met."""
        bought = self._bought_when_met(visit, lost)
        return ITEMS_STOP * (1 - bought) / (1 - (1 - ITEMS_STOP) * (1 - bought))

    def _nothing_more(self, visit: _Visit, lost: NDArray[np.float64]) -> float:
        """Return the probability that the present visit, if it is by chance, will buy nothing more."""
        nothing = float(np.prod(lost[list(visit.carted)]))
        last = visit.met[-1]
        if last not in visit.carted:
            nothing *= 1 - self._cart_rates(visit.user)[last] * (1 - lost[last])
        return nothing * ITEMS_STOP / (1 - (1 - ITEMS_STOP) * (1 - self._bought_when_met(visit, lost)))

    def _bought_when_met(self, visit: _Visit, lost: NDArray[np.float64]) -> float:
        return float(self._meetings(visit.day, visit.user) @ (self._cart_rates(visit.user) * (1 - lost)))

    def _left_behind(self, visit: _Visit) -> float:
        """Return the probability that a visit by chance buys nothing after what was taken out at its end."""
        left = list(visit.carted - visit.removed)
        unsaved = 1 - self._traffic.rescued(visit.day)[left]
        kept = float(np.prod((1 - REMOVE_RATE) * unsaved / (1 - REMOVE_RATE * unsaved)))
        return (1 - visit.checkout) * kept if left else 1.0

    def _factors(self, visit: _Visit) -> NDArray[np.float64]:
        """Return the likelihood ratio of each product bought before, by whether it was met, carted or passed by."""
        meets = np.maximum(self._meetings(visit.day, visit.user)[visit.owned] / ITEMS_STOP, _RARE)
        carts = np.maximum(self._cart_rates(visit.user)[visit.owned], _RARE)
        carted = np.isin(visit.owned, list(visit.carted - visit.removed))
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

    def _cart_rates(self, user: int) -> NDArray[np.float64]:
        products = np.arange(len(self._product_of))
        return np.minimum(self._traffic.cart_rate(np.full(len(products), user), products), 1.0)

    def _pasts_of(self, events: pa.Table) -> dict[int, _Past]:
        events = events.sort_by([("user_id", "ascending"), ("timestamp", "ascending")])
        time_us = pc.cast(events["timestamp"], pa.int64()).to_numpy()
        user = np.array([self._user_of[user_id] for user_id in events["user_id"].to_pylist()], np.int64)
        product = np.array([self._product_of[product_id] for product_id in events["product_id"].to_pylist()], np.int64)
        kind, visit = (np.array(pc.fill_null(events[name], "").to_pylist()) for name in ("event_type", "session_id"))
        device = pc.fill_null(pc.index_in(events["device"], pa.array(DEVICES)), -1).to_numpy()
        users, first = np.unique(user, return_index=True)
        ends = np.append(first[1:], len(user))
        return {
            user_index: _Past(time_us[a:b], kind[a:b], product[a:b], visit[a:b], device[a:b])
            for user_index, a, b in zip(users.tolist(), first.tolist(), ends.tolist(), strict=True)
        }
