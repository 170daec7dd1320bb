"""A synthetic shop, reproducible from a seed: its catalogue, its shoppers, and their history of events."""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from data.default_shop import EVENT_TYPES
from data.errors import ConfigurationError
from data.log.event_table import EVENT_COLUMNS
from data.shop.catalogue import Catalogue
from data.shop.habits import Habits
from data.shop.shoppers import Shoppers
from data.shop.traffic import DEVICES, EVENTS_PER_VISIT, REFERRERS, Traffic
from data.units import DAY_US

__all__ = ["METADATA", "Shop", "ShopConfig"]

METADATA = [{"referrer": referrer} for referrer in REFERRERS]
"""An event's `metadata`, by the number that traffic gives its referrer."""

_RETURN = EVENT_TYPES.index("return")

_ROWS_PER_TABLE = 100_000


@dataclass(frozen=True)
class ShopConfig:
    """Parameters of a shop and its history: the same configuration gives the same events, byte for byte.

    The history covers the `days` whole UTC days before that of `end_us` (UTC microseconds since 1970), and that day up
    to then. `events_per_day` is the approximate mean; there are fewer at first, and more later.
    """

    end_us: int
    users: int = 2_000
    products: int = 400
    days: int = 120
    events_per_day: float = 2_100.0
    seed: int = 7

    def __post_init__(self) -> None:
        for name, least in (("users", 1), ("products", 1), ("days", 1), ("events_per_day", 1), ("seed", 0)):
            value = getattr(self, name)
            if not value >= least:
                raise ConfigurationError(f"shop: {name} is {value}; give at least {least}")
        if self.first_day < 0:
            raise ConfigurationError(f"shop: {self.days} days before end_us={self.end_us} lie before 1970; give fewer")

    @property
    def first_day(self) -> int:
        """First day of the history, in days since 1970."""
        return self.end_us // DAY_US - self.days


class Shop:
    """The catalogue and shoppers of a configuration, their traffic, and their true repeat probabilities."""

    def __init__(self, config: ShopConfig) -> None:
        self.config = config
        first_day, days, seed = config.first_day, config.days, config.seed
        self.catalogue = Catalogue.draw(config.products, first_day=first_day, days=days, seed=seed)
        self.shoppers = Shoppers.draw(config.users, self.catalogue, first_day=first_day, days=days, seed=seed)
        self.habits = Habits(self.catalogue, self.shoppers, seed)

    def traffic(self) -> Traffic:
        """Return the traffic from the first day on, without end."""
        return Traffic(
            self.catalogue,
            self.shoppers,
            self.habits,
            visits_per_day=self.config.events_per_day / EVENTS_PER_VISIT,
            days=self.config.days,
            seed=self.config.seed,
        )

    def history(self) -> Iterator[pa.Table]:
        """Yield every event up to `end_us`, as tables of `EVENT_COLUMNS` in time order."""
        whole_days = itertools.islice(self.traffic().run(), self.config.days + 1)
        rows = 0
        waiting: list[NDArray[np.void]] = []
        for day in whole_days:
            waiting.append(day[day["time_us"] <= self.config.end_us])
            if sum(map(len, waiting)) >= _ROWS_PER_TABLE:
                yield self._table(np.concatenate(waiting), rows)
                rows += sum(map(len, waiting))
                waiting = []
        if sum(map(len, waiting)):
            yield self._table(np.concatenate(waiting), rows)

    def repeat_probability(
        self,
        user_ids: Sequence[str],
        product_ids: Sequence[str],
        *,
        days_since: ArrayLike = 0.0,
        horizon_days: float = 30.0,
    ) -> NDArray[np.float64]:
        """Return the true probability, shape (n,), that a purchase `days_since` ago is repeated within `horizon_days`.

        See `Habits.probability` for what it leaves out. Raises `KeyError` for an id that is not this shop's.
        """
        user = _positions(self.shoppers.ids, user_ids)
        product = _positions(self.catalogue.ids, product_ids)
        return self.habits.probability(user, product, days_since, horizon_days)

    def sent_back_probability(
        self, user_ids: Sequence[str], product_ids: Sequence[str], *, horizon_days: float = 30.0
    ) -> NDArray[np.float64]:
        """Return the true probability, shape (n,), that a purchase is sent back within `horizon_days`.

        It leaves out that shoppers who buy the product again by chance keep it. Raises `KeyError` as above.
        """
        user = _positions(self.shoppers.ids, user_ids)
        return self.habits.sent_back_probability(user, _positions(self.catalogue.ids, product_ids), horizon_days)

    def _table(self, rows: NDArray[np.void], first_row: int) -> pa.Table:
        """Return rows of `HAPPENING` as events, returns without a visit; repeated text is looked up, not built."""
        name = f"shop-{self.config.seed}-"
        numbers = pa.array(np.arange(first_row, first_row + len(rows))).cast(pa.string())
        visits, visit = np.unique(rows["visit"], return_inverse=True)
        visit_ids = pc.binary_join_element_wise(f"{name}v", pa.array(visits).cast(pa.string()), "")
        no_visit = rows["kind"] == _RETURN
        return pa.table(
            [
                pc.binary_join_element_wise(name, numbers, ""),
                _text(EVENT_TYPES, rows["kind"]),
                _text(self.shoppers.ids, rows["user"]),
                _text(self.catalogue.ids, rows["product"]),
                np.ascontiguousarray(rows["amount"]),
                np.ascontiguousarray(rows["quantity"]),
                np.ascontiguousarray(rows["discount"]),
                pa.array(np.ascontiguousarray(rows["time_us"]), pa.timestamp("us", tz="UTC")),
                visit_ids.take(pa.array(visit, mask=no_visit)),
                _text(self.catalogue.category_names(), rows["product"]),
                _text(self.catalogue.brand_names(), rows["product"]),
                _text(DEVICES, rows["device"], no_visit),
                visit_ids.take(pa.array(visit, mask=rows["kind"] != EVENT_TYPES.index("purchase"))),
                _text([json.dumps(metadata) for metadata in METADATA], rows["referrer"], no_visit),
            ],
            schema=EVENT_COLUMNS,
        )


def _text(words: Sequence[str], indices: NDArray[np.int64], absent: NDArray[np.bool_] | None = None) -> pa.Array:
    return pa.array(words, pa.string()).take(pa.array(np.ascontiguousarray(indices), mask=absent))


def _positions(ids: list[str], wanted: Sequence[str]) -> NDArray[np.int64]:
    position = {name: index for index, name in enumerate(ids)}
    return np.array([position[name] for name in wanted], np.int64)
