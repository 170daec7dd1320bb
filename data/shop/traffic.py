"""Traffic of the synthetic shop, day by day: visits, what is looked at, and what is bought.

    visit    v        v     v   c           v   c   r                 p
             |        |     |___|           |___|___|                 |
             product 1      product 2       product 3                 checkout: product 2
                            to the cart     to the cart and out again

Shoppers visit by chance, or because a product they bought is used up (a repeat, see `data.shop.habits`). A discount
rescues a share of what would be left in the cart or taken out (`data.discount`). Returns happen outside of
visits, days later. A day is computed at once, as columns; the only state between days is the schedule of what follows
purchases.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.discount import rescued
from data.shop.catalogue import Catalogue
from data.shop.habits import Habits
from data.shop.shoppers import Shoppers
from data.units import DAY_US, MICROS

__all__ = [
    "CHECKOUT_RATES",
    "DEVICES",
    "EVENTS_PER_VISIT",
    "HAPPENING",
    "ITEMS_STOP",
    "REFERRERS",
    "REMOVE_RATE",
    "Traffic",
]

DEVICES = ("mobile", "desktop", "tablet")
REFERRERS = ("direct", "search", "email", "advert")

HAPPENING = np.dtype(
    [
        ("time_us", np.int64),
        ("kind", np.int64),  # index into EVENT_TYPES
        ("user", np.int64),
        ("product", np.int64),
        ("quantity", np.int64),
        ("amount", np.float64),
        ("discount", np.float64),
        ("visit", np.int64),
        ("device", np.int64),
        ("referrer", np.int64),
    ]
)
"""A row per event; what has a name is an index. A return has the visit of its purchase."""

EVENTS_PER_VISIT = 4.9
"""Events per visit by chance, repeats and returns included, measured over the default shop."""

_VIEW, _CART, _REMOVE, _PURCHASE, _RETURN = range(5)

_HOURS = np.array([3, 2, 1, 1, 1, 2, 4, 7, 9, 10, 10, 11, 12, 11, 10, 10, 11, 13, 16, 19, 21, 18, 12, 6], np.float64)
_HOURS_CDF = np.concatenate([[0.0], np.cumsum(_HOURS) / _HOURS.sum()])
_WEEK = np.array([1.0, 0.95, 0.95, 0.97, 1.0, 0.98, 1.15])  # Monday first

ITEMS_STOP = 0.3
"""The probability that a visit by chance ends after a product."""
_ITEMS_MOST = 30
_SECOND_LOOK = 0.25
_CART_RATE = 0.16
REMOVE_RATE = 0.12
"""The share of carted products, wanted ones apart, that are taken out again at the end of the visit."""
CHECKOUT_RATES = np.array([0.5, 0.72, 0.62])
"""The share of visits by chance that end at the checkout, by device; repeats all do."""
_DESKTOP_SHARE = 0.85  # of visits that are not on a phone


class _Visits(NamedTuple):
    """Visits of one day as columns: first repeats, then visits by chance."""

    user: NDArray[np.int64]
    start_us: NDArray[np.int64]
    device: NDArray[np.int64]
    checkout: NDArray[np.bool_]


class _Items(NamedTuple):
    """Products met in visits, in the order in which they are met; `visit` ascends and indexes the rows of `_Visits`."""

    visit: NDArray[np.int64]
    product: NDArray[np.int64]
    wanted: NDArray[np.bool_]


class Traffic:
    """The shop's traffic, day after day from the first. `visits_per_day` is the number of visits by chance."""

    def __init__(
        self, catalogue: Catalogue, shoppers: Shoppers, habits: Habits, *, visits_per_day: float, days: int, seed: int
    ) -> None:
        self._catalogue = catalogue
        self._shoppers = shoppers
        self._habits = habits
        self._rng = np.random.default_rng([seed, 3])
        first_day = int(catalogue.launch_day.min())
        days_there = np.maximum(first_day + days - shoppers.join_day, 1)
        self._visit_rate = visits_per_day * days * shoppers.activity / (shoppers.activity @ days_there)
        self._day = first_day
        self._visits = 0
        self._due = np.empty((0, 3), np.int64)  # day, user, product
        self._back = np.empty(0, HAPPENING)  # returns to come

    def run(self) -> Iterator[NDArray[np.void]]:
        """Yield a day's `HAPPENING` rows in time order, without end; what runs past midnight comes the next day."""
        after_midnight = np.empty(0, HAPPENING)
        while True:
            rows = np.concatenate([after_midnight, *self._one_day(self._day)])
            rows = rows[np.argsort(rows["time_us"], kind="stable")]
            self._day += 1
            end = np.searchsorted(rows["time_us"], self._day * DAY_US)
            after_midnight = rows[end:]
            yield rows[:end]

    def reseed(self, seed: int) -> None:
        """Reseed the generator; what is scheduled is kept."""
        self._rng = np.random.default_rng([seed, 3])

    def visit_rate(self, day: int) -> NDArray[np.float64]:
        """Return the expected visits by chance of each shopper on a day, shape [shoppers]."""
        weekday = (day + 3) % 7  # 1970-01-01 was a Thursday
        rate: NDArray[np.float64] = self._visit_rate * _WEEK[weekday] * _year(day) * (self._shoppers.join_day <= day)
        return rate

    def begins_later(self, user: int, time_us: int) -> float:
        """Return the probability that a visit of the shopper begins after that time of the day."""
        # Hours are drawn from 0 to 24 and rotated by the shopper's own shift.
        shift = float(self._shoppers.night_owl[user]) % 24
        hour = time_us % DAY_US / (DAY_US / 24)
        passed = np.interp([(hour - shift) % 24, (-shift) % 24], np.arange(25.0), _HOURS_CDF)
        return float(1 - (passed[0] - passed[1]) % 1.0)

    def cart_rate(self, user: NDArray[np.int64], product: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probability that a shopper puts a product met by chance into the cart, shape (n,)."""
        strain = np.maximum(self._catalogue.tier[product] - self._shoppers.budget[user], 0.0)
        rate: NDArray[np.float64] = _CART_RATE * self._shoppers.eagerness[user] * np.exp(-strain)
        return rate

    def rescued(self, day: int) -> NDArray[np.float64]:
        """Return the share of each product's lost carts that its discount rescues on a day, shape [products]."""
        share: NDArray[np.float64] = rescued(self._catalogue.discount(day))
        return share

    def device_shares(self, user: int) -> NDArray[np.float64]:
        """Return the share of each device in a shopper's visits, shape [devices]."""
        mobile = self._shoppers.mobile[user]
        return np.array([mobile, (1 - mobile) * _DESKTOP_SHARE, (1 - mobile) * (1 - _DESKTOP_SHARE)])

    def meeting_rates(self, day: int, user: int) -> NDArray[np.float64]:
        """Return the probability of each product to be looked at next by chance, as `browse` draws it."""
        shops, people = self._catalogue, self._shoppers
        taste = people.taste[user] * shops.season(day)
        appeal, distance = shops.appeal(day), np.abs(shops.tier - people.budget[user])
        rates = np.zeros(len(appeal))
        for category, share in enumerate(taste / taste.sum()):
            own = slice(shops.first[category], np.append(shops.first[1:], len(appeal))[category])
            drawn, order = appeal[own] / appeal[own].sum(), np.argsort(distance[own])
            farther = np.empty(len(order))
            farther[order] = np.cumsum(drawn[order][::-1])[::-1] - drawn[order]
            # The nearer of two draws is taken: the product and a farther one in either order, or it twice.
            rates[own] = share * drawn * (2 * farther + drawn)
        return rates

    def _one_day(self, day: int) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """Draw what happens in the visits of a day, and return it with the returns of the day."""
        due = self._due[:, 0] <= day
        returning, wanted = self._due[due, 1], self._due[due, 2]
        self._due = self._due[~due]

        returners = np.unique(returning)
        user = np.concatenate([returners, self._chance_visitors(day)])
        elsewhere = np.where(self._rng.random(len(user)) < _DESKTOP_SHARE, 1, 2)
        device = np.where(self._rng.random(len(user)) < self._shoppers.mobile[user], 0, elsewhere)
        checkout = self._rng.random(len(user)) < CHECKOUT_RATES[device]
        checkout[: len(returners)] = True
        visits = _Visits(user, self.start_times(day, user), device, checkout)
        items = self._items(day, user, np.searchsorted(returners, returning), wanted)
        rows = self._happenings(day, visits, items)
        self._plan(rows[rows["kind"] == _PURCHASE])
        today = self._back["time_us"] < (day + 1) * DAY_US
        returns, self._back = self._back[today], self._back[~today]
        return rows, returns

    def _chance_visitors(self, day: int) -> NDArray[np.int64]:
        """Draw the shoppers who visit by chance, once per visit."""
        rate = self.visit_rate(day)
        visitors: NDArray[np.int64] = np.repeat(np.arange(len(rate)), self._rng.poisson(rate))
        return visitors

    def start_times(self, day: int, user: NDArray[np.int64]) -> NDArray[np.int64]:
        """Draw when visits of a day begin, µs after the first day: one for each entry of `user`."""
        hour = np.interp(self._rng.random(len(user)), _HOURS_CDF, np.arange(25.0))
        hour = (hour + self._shoppers.night_owl[user]) % 24
        start_us: NDArray[np.int64] = day * DAY_US + (hour * (DAY_US / 24)).astype(np.int64)
        return start_us

    def _items(
        self, day: int, user: NDArray[np.int64], wanted_visit: NDArray[np.int64], wanted: NDArray[np.int64]
    ) -> _Items:
        """Return the products that the visits by `user` come for, and those met on the way; each once a visit."""
        count = np.minimum(self._rng.geometric(ITEMS_STOP, len(user)), _ITEMS_MOST)
        browsed_visit = np.repeat(np.arange(len(user)), count)
        visit = np.concatenate([wanted_visit, browsed_visit])
        product = np.concatenate([wanted, self.browse(day, user[browsed_visit])])
        _, first = np.unique(visit * len(self._catalogue.ids) + product, return_index=True)
        first = first[np.argsort(visit[first] + self._rng.random(len(first)))]
        return _Items(visit[first], product[first], first < len(wanted))

    def browse(self, day: int, user: NDArray[np.int64]) -> NDArray[np.int64]:
        """Draw a product for each: a category by taste and season, then the nearer to budget of two popular ones."""
        taste = np.cumsum(self._shoppers.taste[user] * self._catalogue.season(day), axis=1)
        category = (taste < self._rng.random((len(user), 1)) * taste[:, -1:]).sum(axis=1)
        category = np.minimum(category, taste.shape[1] - 1)
        last = np.append(self._catalogue.first[1:], len(self._catalogue.ids))[category] - 1
        appeal = np.concatenate([[0.0], np.cumsum(self._catalogue.appeal(day))])
        low, high = appeal[self._catalogue.first[category]], appeal[last + 1]
        drawn = low + (high - low) * self._rng.random((2, len(user)))
        first, second = np.minimum(np.searchsorted(appeal, drawn, side="right") - 1, last)
        tier, budget = self._catalogue.tier, self._shoppers.budget[user]
        nearer: NDArray[np.int64] = np.where(
            np.abs(tier[first] - budget) <= np.abs(tier[second] - budget), first, second
        )
        return nearer

    def _happenings(self, day: int, visits: _Visits, items: _Items) -> NDArray[np.void]:
        """Draw what is done with each product of each visit."""
        rng, count, visit = self._rng, len(items.visit), items.visit
        user = visits.user[visit]
        listed = self._catalogue.price[items.product]
        price = np.round(listed * (1 - self._catalogue.discount(day)[items.product]), 2)

        carted = items.wanted | (rng.random(count) < self.cart_rate(user, items.product))
        rescued = rng.random(count) < self.rescued(day)[items.product]
        removed = carted & ~items.wanted & (rng.random(count) < REMOVE_RATE) & ~rescued
        bought = carted & ~removed & (visits.checkout[visit] | rescued)
        quantity = 1 + (rng.random(count) < 0.15) + (rng.random(count) < 0.04)

        dwell_us = ((5.0 + rng.exponential(45.0, count)) * MICROS).astype(np.int64)
        looked_us = np.cumsum(dwell_us) - dwell_us
        met_us = visits.start_us[visit] + looked_us - looked_us[np.searchsorted(visit, visit)]
        last = np.searchsorted(visit, visit, side="right") - 1
        end_us = met_us[last] + dwell_us[last]

        facts = np.empty(count, HAPPENING)
        facts["user"], facts["product"], facts["quantity"], facts["amount"] = user, items.product, 1, price
        facts["discount"], facts["visit"] = np.round(listed - price, 2), self._visits + visit
        facts["device"] = visits.device[visit]
        facts["referrer"] = rng.integers(0, len(REFERRERS), len(visits.user))[visit]
        self._visits += len(visits.user)

        def happened(kind: int, where: NDArray[np.bool_], time_us: NDArray[np.int64]) -> NDArray[np.void]:
            rows = facts[where]
            rows["kind"], rows["time_us"] = kind, time_us[where]
            return rows

        purchases = happened(_PURCHASE, bought, end_us + 30 * MICROS)
        purchases["quantity"] = quantity[bought]
        for money in ("amount", "discount"):
            purchases[money] = np.round(purchases[money] * purchases["quantity"], 2)
        return np.concatenate(
            [
                happened(_VIEW, np.ones(count, np.bool_), met_us),
                happened(_VIEW, rng.random(count) < _SECOND_LOOK, met_us + dwell_us // 3),
                happened(_CART, carted, met_us + dwell_us // 2),
                happened(_REMOVE, removed, end_us),
                purchases,
            ]
        )

    def _plan(self, purchases: NDArray[np.void]) -> None:
        """Schedule what follows today's purchases: repeats and returns; it replaces what was scheduled for the pair."""
        products = len(self._catalogue.ids)
        pairs, first = np.unique(purchases["user"] * products + purchases["product"], return_index=True)
        purchases = purchases[first]
        user, product = purchases["user"], purchases["product"]
        days, back_days = self._habits.follow_ups(user, product, self._rng)

        repeats = np.isfinite(days)
        bought_day = purchases["time_us"][repeats] / DAY_US
        due = np.maximum(np.floor(bought_day + days[repeats]).astype(np.int64), self._day + 1)
        still_due = self._due[~np.isin(self._due[:, 1] * products + self._due[:, 2], pairs)]
        self._due = np.concatenate([still_due, np.stack([due, user[repeats], product[repeats]], axis=1)])

        returns = np.isfinite(back_days)
        back = purchases[returns]
        units = self._rng.integers(1, back["quantity"] + 1)
        for money in ("amount", "discount"):
            back[money] = np.round(back[money] * units / back["quantity"], 2)
        back["kind"], back["quantity"] = _RETURN, units
        back["time_us"] += (back_days[returns] * DAY_US).astype(np.int64)
        still_kept = self._back[~np.isin(self._back["user"] * products + self._back["product"], pairs)]
        self._back = np.concatenate([still_kept, back])


def _year(day: int) -> float:
    """Return the seasonal factor of a day: low in summer, a peak before Christmas."""
    part = (day / 365.25) % 1.0
    return float(0.94 + 0.06 * np.cos(2 * np.pi * part) + 0.45 * np.exp(-(((part - 0.92) / 0.04) ** 2)))
