"""The synthetic shop's products: brands, prices, popularity, and how soon they are used up or sent back."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
from faker import Faker
from numpy.typing import NDArray

from data.units import DAY_US

__all__ = ["CATEGORIES", "Catalogue", "Category"]


class Category(NamedTuple):
    """A class of goods: days until a unit is used up, and the probability that a typical shopper buys it again then."""

    name: str
    goods: tuple[str, ...]
    share: float
    price: float
    cycle_days: float
    replenish: float
    peak_month: float
    swing: float


# share of the products | typical price | days a unit lasts | bought again | month of the yearly peak, its height
CATEGORIES = (
    Category("coffee-and-tea", ("Espresso", "Filter Coffee", "Green Tea", "Earl Grey"), 0.10, 9, 13, 0.35, 1, 0.1),
    Category("pet-food", ("Dry Cat Food", "Dog Biscuits", "Wet Cat Food", "Bird Seed"), 0.08, 19, 19, 0.38, 12, 0.05),
    Category("baby-care", ("Nappies", "Baby Wipes", "Infant Formula", "Baby Lotion"), 0.06, 16, 11, 0.34, 9, 0.05),
    Category("snacks", ("Oat Bars", "Mixed Nuts", "Dark Chocolate", "Rice Crackers"), 0.11, 4, 9, 0.2, 12, 0.2),
    Category("cleaning", ("Dish Soap", "Laundry Powder", "Glass Spray", "Sponges"), 0.09, 7, 25, 0.28, 4, 0.1),
    Category("skin-care", ("Face Cream", "Hand Cream", "Shampoo", "Sun Lotion"), 0.10, 14, 33, 0.24, 7, 0.15),
    Category("vitamins", ("Vitamin D", "Magnesium", "Omega 3", "Multivitamin"), 0.06, 13, 28, 0.32, 1, 0.25),
    Category("stationery", ("Notebook", "Gel Pens", "Envelopes", "Planner"), 0.07, 6, 55, 0.12, 9, 0.3),
    Category("books", ("Novel", "Cookbook", "Travel Guide", "Picture Book"), 0.09, 14, 200, 0.01, 12, 0.4),
    Category("clothing", ("T-Shirt", "Wool Socks", "Rain Jacket", "Linen Shirt"), 0.10, 32, 70, 0.05, 11, 0.2),
    Category("toys", ("Wooden Train", "Puzzle", "Board Game", "Kite"), 0.06, 22, 150, 0.02, 12, 0.6),
    Category("electronics", ("Headphones", "Desk Lamp", "Phone Charger", "Speaker"), 0.05, 75, 300, 0.01, 11, 0.4),
    Category("furniture", ("Sofa", "Bookcase", "Desk", "Armchair"), 0.03, 320, 700, 0.005, 3, 0.2),
)

SENT_BACK = {"clothing": 0.3, "electronics": 0.18, "furniture": 0.16, "toys": 0.1, "books": 0.06, "skin-care": 0.05}
_SELDOM_SENT_BACK = 0.015  # of other categories

_YEAR_DAYS = 365.25
_OPENING_SHARE = 0.75  # of the products are there on the first day
_NOVELTY_DAYS = 21.0
_PROMOTED_SHARE = 0.08
_PROMOTION = 0.2
_PRODUCTS_PER_BRAND = 8
_DEAR_COMES_BACK = 0.6  # log-odds, for each unit of `tier`
_FLAW = 0.5  # standard deviation of brands, in log-odds of being sent back


@dataclass(frozen=True)
class Catalogue:
    """Products as columns, one row each; products of one category lie next to each other.

    `price` is in the shop's currency, `tier` its logarithm relative to the category's typical price, `launch_day` a day
    since 1970, `replenish` the log-odds that a typical shopper buys the product again, and `sent_back` those that they
    send it back where they do not. `brand` and `category` are indices.
    """

    ids: list[str]
    names: list[str]
    brands: list[str]
    brand: NDArray[np.int64]
    categories: tuple[Category, ...]
    category: NDArray[np.int64]
    first: NDArray[np.int64]
    price: NDArray[np.float64]
    tier: NDArray[np.float64]
    cycle_days: NDArray[np.float64]
    replenish: NDArray[np.float64]
    sent_back: NDArray[np.float64]
    popularity: NDArray[np.float64]
    launch_day: NDArray[np.int64]
    promotion_week: NDArray[np.int64]

    @classmethod
    def draw(cls, products: int, *, first_day: int, days: int, seed: int) -> Self:
        """Draw `products` products, a quarter of them launched in the `days` after `first_day` (days since 1970)."""
        rng = np.random.default_rng([seed, 1])
        shares = np.array([category.share for category in CATEGORIES])
        drawn = np.sort(rng.choice(len(CATEGORIES), products, p=shares / shares.sum()))
        present, first, category = np.unique(drawn, return_index=True, return_inverse=True)
        categories = tuple(CATEGORIES[index] for index in present)

        tier = rng.normal(0.0, 0.45, products)
        typical = np.array([kind.price for kind in categories])[category]
        price = np.maximum(np.round(typical * np.exp(tier) - 0.01, 2), 0.49)
        odds = np.array([kind.replenish for kind in categories])
        cycle = np.array([kind.cycle_days for kind in categories])
        opening = rng.random(products) < _OPENING_SHARE
        opening[first] = True
        later = rng.integers(1, max(days, 2), products)
        brands = _brands(-(-products // _PRODUCTS_PER_BRAND), seed)
        brand = rng.integers(0, len(brands), products)
        good = rng.integers(0, 4, products)
        flaw = rng.normal(0.0, _FLAW, len(brands))[brand]
        back = np.array([SENT_BACK.get(kind.name, _SELDOM_SENT_BACK) for kind in categories])[category]
        return cls(
            ids=[f"p{index:05d}" for index in range(products)],
            names=[
                f"{brands[b]} {categories[c].goods[g]}"
                for b, c, g in zip(brand.tolist(), category.tolist(), good.tolist(), strict=True)
            ],
            brands=brands,
            brand=brand,
            categories=categories,
            category=category,
            first=first,
            price=price,
            tier=tier,
            cycle_days=cycle[category] * np.exp(rng.normal(0.0, 0.25, products)),
            replenish=np.log(odds / (1 - odds))[category] + rng.normal(0.0, 0.5, products),
            sent_back=np.log(back / (1 - back)) + _DEAR_COMES_BACK * tier + flaw,
            popularity=np.exp(rng.normal(0.0, 1.1, products)),
            launch_day=np.where(opening, first_day, first_day + later),
            promotion_week=rng.integers(0, round(1 / _PROMOTED_SHARE), products),
        )

    def appeal(self, day: int) -> NDArray[np.float64]:
        """Return how strongly each product attracts visitors on a day, shape [products]; 0 before its launch."""
        age = day - self.launch_day
        return np.where(age >= 0, self.popularity * (1 + np.exp(-np.maximum(age, 0) / _NOVELTY_DAYS)), 0.0)

    def season(self, day: int) -> NDArray[np.float64]:
        """Return the seasonal factor of each category on a day, shape [categories]; its mean over a year is 1."""
        peaks = np.array([(category.peak_month - 0.5) / 12 for category in self.categories])
        swings = np.array([category.swing for category in self.categories])
        return 1 + swings * np.cos(2 * np.pi * (day / _YEAR_DAYS - peaks))

    def discount(self, day: int) -> NDArray[np.float64]:
        """Return the share that is off each price on a day, shape [products]: promotions last a week and rotate."""
        turn = (day // 7) % round(1 / _PROMOTED_SHARE)
        return np.where(self.promotion_week == turn, _PROMOTION, 0.0)

    def category_names(self) -> list[str]:
        """Return the category of each product."""
        return [self.categories[index].name for index in self.category]

    def brand_names(self) -> list[str]:
        """Return the brand of each product."""
        return [self.brands[index] for index in self.brand]

    def table(self) -> pa.Table:
        """Return the catalogue as a table: product_id, name, category, brand, price and launched (UTC)."""
        return pa.table(
            {
                "product_id": self.ids,
                "name": self.names,
                "category": self.category_names(),
                "brand": self.brand_names(),
                "price": self.price,
                "launched": pa.array(self.launch_day * DAY_US, pa.timestamp("us", tz="UTC")),
            }
        )


def _brands(count: int, seed: int) -> list[str]:
    """Return the names of brands. Faker is slow, so their number is bounded."""
    fake = Faker("en_GB")
    fake.seed_instance(seed)
    return [fake.last_name() for _ in range(min(count, 300))]
