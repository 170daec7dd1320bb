"""The synthetic shop: the same from its seed, alive like a shop, its repeats to be learnt but not to be read off."""

import dataclasses
from datetime import timedelta
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data.clock import ManualClock
from data.default_shop import EVENT_TYPES, SHOP, decode_event
from data.discount import rescued
from data.errors import ConfigurationError
from data.event import Event, encode_event
from data.log.event_table import EVENT_COLUMNS
from data.shop.live import live_events
from data.shop.shop import Shop, ShopConfig
from data.shop.traffic import DEVICES
from data.units import DAY_US, to_micros

pytestmark = pytest.mark.integration  # each makes a whole shop

END_US = 1_760_000_000_000_000  # 2025-10-09 08:53:20 UTC
SMALL = ShopConfig(END_US, users=300, products=120, days=40, events_per_day=600, seed=3)


def table(shop: Shop) -> pa.Table:
    return pa.concat_tables(shop.history())


@pytest.fixture(scope="module")
def shop() -> Shop:
    """The shop of the demo."""
    return Shop(ShopConfig(END_US))


@pytest.fixture(scope="module")
def history(shop: Shop) -> pa.Table:
    return table(shop)


class Purchases:
    """The purchases of a history with what was known at each of them, and whether it was repeated in 30 days."""

    def __init__(self, history: pa.Table) -> None:
        bought = history.filter(pc.equal(history["event_type"], "purchase"))
        self.user = bought["user_id"].to_pylist()
        self.product = bought["product_id"].to_pylist()
        self.day = bought["timestamp"].cast(pa.int64()).to_numpy() / DAY_US
        self.repeated = np.zeros(len(self.day), bool)
        rows: list[list[float]] = []
        last: dict[tuple[str, str], int] = {}
        counts: dict[object, tuple[int, int]] = {}  # purchases, of which repeats
        for row, pair in enumerate(zip(self.user, self.product, strict=True)):
            before = last.get(pair)
            if before is not None:
                self.repeated[before] = self.day[row] - self.day[before] <= 30
            since = self.day[row] - self.day[before] if before is not None else 365.0
            known = [counts.get(key, (0, 0)) for key in (pair, pair[0], pair[1])]
            rates = [(repeats + 1) / (purchases + 4) for purchases, repeats in known]
            rows.append([np.log1p(since), *rates, *(np.log1p(purchases) for purchases, _ in known)])
            for key in (pair, pair[0], pair[1]):
                purchases, repeats = counts.get(key, (0, 0))
                counts[key] = (purchases + 1, repeats + (before is not None))
            last[pair] = row
        self.features = np.array(rows)

    def between(self, start: float, end: float) -> NDArray[np.bool_]:
        """The purchases of the days from `start` until `end`, counted back from the end of the history."""
        ago = self.day[-1] - self.day
        within: NDArray[np.bool_] = (ago <= start) & (ago > end)
        return within


@pytest.fixture(scope="module")
def purchases(history: pa.Table) -> Purchases:
    return Purchases(history)


def test_the_same_configuration_gives_the_same_bytes() -> None:
    first, again = table(Shop(SMALL)), table(Shop(SMALL))
    assert first.equals(again)
    other = table(Shop(ShopConfig(END_US, users=300, products=120, days=40, events_per_day=600, seed=4)))
    assert not first.equals(other)
    assert Shop(SMALL).catalogue.table().equals(Shop(SMALL).catalogue.table())
    assert Shop(SMALL).shoppers.table().equals(Shop(SMALL).shoppers.table())


def test_a_history_is_events_in_time_order_until_its_end(shop: Shop, history: pa.Table) -> None:
    for part in shop.history():
        part.validate(full=True)
        assert part.schema.equals(EVENT_COLUMNS)
    times = history["timestamp"].cast(pa.int64()).to_numpy()
    assert (np.diff(times) >= 0).all()
    assert times[0] // DAY_US == END_US // DAY_US - 120
    assert END_US - DAY_US / 24 < times[-1] <= END_US
    assert len(pc.unique(history["event_id"])) == history.num_rows
    assert set(pc.unique(history["event_type"]).to_pylist()) == set(EVENT_TYPES)


def test_the_default_shop_is_the_size_it_says(history: pa.Table, purchases: Purchases) -> None:
    assert 225_000 < history.num_rows < 280_000
    assert len(purchases.day) > 15_000
    assert 0.15 < purchases.repeated[purchases.between(200, 30)].mean() < 0.35


@pytest.mark.parametrize(
    "config",
    [
        ShopConfig(END_US, users=1, products=1, days=3, events_per_day=30),
        ShopConfig(END_US, users=5, products=3, days=1, events_per_day=50),
        ShopConfig(END_US // DAY_US * DAY_US, users=20, products=10, days=2, events_per_day=100),
    ],
)
def test_the_smallest_shops_work(config: ShopConfig) -> None:
    shop = Shop(config)
    assert set(table(shop)["user_id"].to_pylist()) <= set(shop.shoppers.ids)
    assert isinstance(next(live_events(shop, ManualClock(END_US))), Event)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"users": 0}, "users is 0"),
        ({"products": -1}, "products is -1"),
        ({"days": 0}, "days is 0"),
        ({"events_per_day": float("nan")}, "events_per_day is nan"),
        ({"days": 30_000}, "before 1970"),
    ],
)
def test_an_impossible_shop_is_refused(wrong: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        ShopConfig(END_US, **wrong)


def test_visits_go_from_views_to_the_cart_to_the_checkout(history: pa.Table) -> None:
    steps: dict[tuple[str, str], list[str]] = {}
    for session, product, kind in zip(
        *(history[name].to_pylist() for name in ("session_id", "product_id", "event_type")), strict=True
    ):
        if kind == "return":
            assert session is None
        else:
            steps.setdefault((session, product), []).append(kind)
    for kinds in steps.values():
        once = [kind for kind in kinds if kind != "view"]
        assert kinds[0] == "view"
        assert once in ([], ["add_to_cart"], ["add_to_cart", "remove_from_cart"], ["add_to_cart", "purchase"])


def test_an_amount_is_the_price_of_the_day_times_the_quantity(shop: Shop, history: pa.Table) -> None:
    prices = dict(zip(shop.catalogue.ids, shop.catalogue.price.tolist(), strict=True))
    promoted = 0
    for row in history.slice(0, 20_000).to_pylist():
        unit = row["amount"] / row["quantity"]
        listed = prices[row["product_id"]]
        assert unit == pytest.approx(listed, abs=0.006) or unit == pytest.approx(0.8 * listed, abs=0.006)
        assert row["amount"] + row["discount"] == pytest.approx(listed * row["quantity"], abs=0.02)
        promoted += unit < 0.9 * listed
        assert row["quantity"] == 1 or row["event_type"] in ("purchase", "return")
    assert 0.02 < promoted / 20_000 < 0.25


@pytest.mark.long
def test_the_day_the_week_and_the_year_have_their_rhythm(history: pa.Table) -> None:
    hours = np.bincount(pc.hour(history["timestamp"]).to_numpy(), minlength=24)
    assert hours[19:21].sum() > 3 * hours[2:4].sum()
    year = Shop(ShopConfig(1_735_689_600_000_000, users=500, days=365, events_per_day=500))  # all of 2024
    months = np.bincount(pc.month(table(year)["timestamp"]).to_numpy(), minlength=13)
    assert months[11] + months[12] > 1.25 * (months[9] + months[10])
    days = np.bincount(pc.day_of_week(table(year)["timestamp"]).to_numpy(), minlength=7)
    assert days.argmax() == 6  # Sunday


def test_few_products_make_most_of_the_sales_and_new_ones_appear(shop: Shop, history: pa.Table) -> None:
    counts = np.sort(np.unique(history["product_id"].to_numpy(), return_counts=True)[1])[::-1]
    assert counts[:80].sum() > 0.45 * counts.sum()  # a fifth of the products
    early = history.slice(0, history.num_rows // 4)
    for name, least in (("product_id", 50), ("user_id", 300)):
        assert len(set(history[name].to_pylist()) - set(early[name].to_pylist())) > least
    launched = dict(zip(shop.catalogue.ids, (shop.catalogue.launch_day * DAY_US).tolist(), strict=True))
    times = history["timestamp"].cast(pa.int64()).to_pylist()
    assert all(
        launched[product] <= time for product, time in zip(history["product_id"].to_pylist(), times, strict=True)
    )


def test_coffee_comes_back_and_sofas_do_not(history: pa.Table, purchases: Purchases) -> None:
    category = dict(zip(history["product_id"].to_pylist(), history["category"].to_pylist(), strict=True))
    whole = purchases.between(200, 30)
    categories = np.array([category[product] for product in purchases.product])
    rate = {name: purchases.repeated[whole & (categories == name)].mean() for name in set(category.values())}
    assert rate["coffee-and-tea"] > 0.35
    assert rate["pet-food"] > 0.35
    assert rate["furniture"] < 0.2
    assert rate["coffee-and-tea"] > rate["cleaning"] > rate["books"]


@pytest.mark.long
def test_a_discount_rescues_its_share_of_lost_carts() -> None:
    shop = Shop(ShopConfig(END_US, users=4_000, products=1_000, days=120, events_per_day=8_000))
    history = table(shop)
    kind, promoted = history["event_type"].to_numpy(), history["discount"].to_numpy() > 0
    carted, bought = kind == "add_to_cart", kind == "purchase"
    with_it, without = ((bought & which).sum() / (carted & which).sum() for which in (promoted, ~promoted))
    assert (with_it - without) / (1 - without) == pytest.approx(rescued(0.2), abs=0.05)


@pytest.mark.long
def test_what_is_sent_back_was_bought_days_before_and_is_no_more_than_that(history: pa.Table) -> None:
    bought: dict[tuple[str, str], list[dict[str, Any]]] = {}
    back = 0
    for row in history.to_pylist():
        pair = row["user_id"], row["product_id"]
        if row["event_type"] == "purchase":
            bought.setdefault(pair, []).append(row)
        elif row["event_type"] == "return":
            purchase = next(one for one in bought[pair] if days_between(one, row) > 1)
            assert (row["brand"], row["category"]) == (purchase["brand"], purchase["category"])
            fits = [
                one
                for one in bought[pair]
                if row["quantity"] <= one["quantity"]
                and row["amount"] == pytest.approx(one["amount"] * row["quantity"] / one["quantity"], abs=0.006)
                and row["discount"] == pytest.approx(one["discount"] * row["quantity"] / one["quantity"], abs=0.006)
            ]
            assert fits
            assert min(days_between(one, row) for one in fits) < 120
            bought.pop(pair)  # nothing goes back twice
            back += 1
    assert back > 500


def days_between(purchase: dict[str, Any], row: dict[str, Any]) -> float:
    return float((row["timestamp"] - purchase["timestamp"]) / timedelta(days=1))


@pytest.mark.long
def test_returns_are_foreseen_by_class_price_brand_and_shopper() -> None:
    """In a wide shop, where buying a product again by chance before it goes back is rare."""
    shop = Shop(ShopConfig(END_US, users=8_000, products=3_000, days=70, events_per_day=6_000))
    history = table(shop)
    rows = {
        kind: history.filter(pc.equal(history["event_type"], kind)).select(["user_id", "product_id", "timestamp"])
        for kind in ("purchase", "return")
    }
    back = {(user, product): at for user, product, at in zip(*rows["return"].to_pydict().values(), strict=True)}
    users, products, times = rows["purchase"].to_pydict().values()
    whole = [at < times[-1] - timedelta(days=30) for at in times]
    happened = np.array(
        [
            timedelta() < back.get((user, product), at) - at <= timedelta(days=30)
            for user, product, at in zip(users, products, times, strict=True)
        ]
    )[whole]
    truth = shop.sent_back_probability(users, products)[whole]
    assert 0.03 < truth.mean() < 0.1
    assert roc_auc_score(happened, truth) > 0.8
    for own in np.array_split(np.argsort(truth), 5):
        assert happened[own].mean() == pytest.approx(truth[own].mean(), abs=0.02)
    rate = dict(zip(products, shop.sent_back_probability(users, products), strict=True))
    category = dict(zip(shop.catalogue.ids, shop.catalogue.category_names(), strict=True))
    of = {name: np.mean([rate[one] for one in rate if category[one] == name]) for name in ("clothing", "snacks")}
    assert of["clothing"] > 5 * of["snacks"]


def test_who_prefers_a_phone_visits_by_it_and_buys_less_often(history: pa.Table) -> None:
    kind, device = (history[name].to_numpy(zero_copy_only=False) for name in ("event_type", "device"))
    rates = {one: ((kind == "purchase") & (device == one)).sum() / (device == one).sum() for one in DEVICES}
    assert rates["mobile"] < rates["desktop"]
    assert {device for device, back in zip(device, kind == "return", strict=True) if back} == {None}
    visits = dict(zip(history["session_id"].to_pylist(), device, strict=True))
    visited = zip(history["session_id"].to_pylist(), device, strict=True)
    assert all(visits[session] == one for session, one in visited if session)


def test_repeats_can_be_learnt_but_not_read_off(purchases: Purchases) -> None:
    """Trained on purchases whose 30 days were over before the first one that it is tested on."""
    train, test = purchases.between(120, 90), purchases.between(60, 30)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(purchases.features[train], purchases.repeated[train])
    scores = model.predict_proba(purchases.features[test])[:, 1]
    auc = roc_auc_score(purchases.repeated[test], scores)
    assert 0.65 < auc < 0.95


@pytest.mark.long
def test_the_true_probability_is_the_best_score_and_is_calibrated() -> None:
    """In a wide shop, where meeting a product again by chance is rare."""
    shop = Shop(ShopConfig(END_US, users=8_000, products=3_000, days=70, events_per_day=6_000))
    purchases = Purchases(table(shop))
    whole = purchases.between(200, 30)
    users = [user for user, use in zip(purchases.user, whole, strict=True) if use]
    products = [product for product, use in zip(purchases.product, whole, strict=True) if use]
    truth = shop.repeat_probability(users, products)
    repeated = purchases.repeated[whole]
    assert 0.8 < roc_auc_score(repeated, truth) < 0.95
    for low, high in ((0.05, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.9)):
        within = (truth >= low) & (truth < high)
        error = 3 * np.sqrt(truth[within].mean() / within.sum())
        assert -error < repeated[within].mean() - truth[within].mean() < error + 0.03


def test_the_true_probability_falls_when_the_time_has_passed(shop: Shop) -> None:
    user, product = shop.shoppers.ids[:1] * 50, shop.catalogue.ids[:1] * 50
    ever = shop.repeat_probability(user, product, horizon_days=1e6)
    assert ever == pytest.approx(shop.habits.propensity(np.zeros(50, int), np.zeros(50, int)))
    waited = shop.repeat_probability(user, product, days_since=np.linspace(20, 200, 50))
    assert (np.diff(waited) < 0).all()
    with pytest.raises(KeyError, match="nobody"):
        shop.repeat_probability(["nobody"], product[:1])


def test_live_events_are_stamped_by_the_clock_and_follow_the_rules() -> None:
    clock = ManualClock(END_US + 5)
    live = live_events(Shop(SMALL), clock)
    events = []
    for event in islice(live, 3_000):
        assert event.timestamp_us == clock()
        assert decode_event(encode_event(event), key=event.user_id.encode(), now_us=clock()) == event
        events.append(event)
        clock.advance(clock() + 200)
    assert len({event.event_id for event in events}) == len(events)
    assert {event.event_type for event in events} == set(EVENT_TYPES)
    assert to_micros(events[-1].timestamp) == END_US + 5 + 2_999 * 200


def test_live_events_go_on_where_the_history_ends() -> None:
    """A history that ends later on the same day is the shorter one, and then what its live traffic does."""
    later = table(Shop(dataclasses.replace(SMALL, end_us=END_US + 12 * 3_600_000_000))).to_pylist()
    shorter = table(Shop(SMALL)).to_pylist()
    assert later[: len(shorter)] == shorter
    rest = later[len(shorter) :]
    assert len(rest) > 100
    labels = [label for label in SHOP.labels if label != "order_id"]  # which names the run, as sessions do
    names = ("event_type", "user_id", "product_id", "amount", "quantity", *labels, "discount")
    for row, event in zip(rest, live_events(Shop(SMALL), ManualClock(END_US)), strict=False):
        assert [row[name] for name in names] == [getattr(event, name) for name in names]
        assert (row["order_id"] is None) == (event.order_id is None) == (event.event_type != "purchase")


def test_live_runs_differ_by_name_and_by_seed_but_not_in_what_is_due() -> None:
    def some(**arguments: object) -> list[Event]:
        return list(islice(live_events(Shop(SMALL), ManualClock(END_US), **arguments), 2_000))  # type: ignore[arg-type]

    first, again, other = some(run="a"), some(run="a"), some(run="b", seed=99)
    assert first == again
    assert not {event.event_id for event in first} & {event.event_id for event in other}
    assert [event.user_id for event in first] != [event.user_id for event in other]


def test_live_shoppers_buy_again_what_they_bought_in_the_history() -> None:
    shop = Shop(SMALL)
    rows = table(shop).filter(pc.equal(table(shop)["event_type"], "purchase")).to_pylist()
    owned = {(row["user_id"], row["product_id"]) for row in rows}
    live = [event for event in islice(live_events(shop, ManualClock(END_US)), 6_000) if event.event_type == "purchase"]
    again = sum((event.user_id, event.product_id) in owned for event in live) / len(live)
    by_chance = len(owned) / (300 * 120)
    assert again > 3 * by_chance
