"""The shop's foresight: calibrated on what then happens, and true to the way in which the shop draws."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from data.shop.foresight import Foresight
from data.shop.shop import Shop, ShopConfig
from data.units import DAY_US

pytestmark = pytest.mark.integration  # it makes shops for seconds

END_US = 1_760_000_000_000_000
ASKED = 1_500


class Asked:
    """A sample of the events of one type in days whose next 24 hours are known, and what followed."""

    def __init__(
        self, events: pa.Table, kind: str, *, same_product: bool, among: NDArray[np.bool_] | bool = True, days: int = 12
    ) -> None:
        rows = events.select(["user_id", "product_id", "event_type"]).to_pydict()
        times = pc.cast(events["timestamp"], pa.int64()).to_numpy()
        bought: dict[tuple[str, ...], list[int]] = {}
        keys = list(zip(rows["user_id"], rows["product_id"], strict=True) if same_product else zip(rows["user_id"]))
        for key, event_type, time_us in zip(keys, rows["event_type"], times.tolist(), strict=True):
            if event_type == "purchase":
                bought.setdefault(key, []).append(time_us)
        whole = (
            (times >= END_US - days * DAY_US)
            & (times < END_US - DAY_US)
            & (np.array(rows["event_type"]) == kind)
            & among
        )
        places = np.random.default_rng(5).permutation(np.flatnonzero(whole))[:ASKED]
        self.times_us: NDArray[np.int64] = times[places]
        self.users = [rows["user_id"][place] for place in places]
        self.products = [rows["product_id"][place] for place in places]
        self.follows = np.array(
            [any(times[place] < at <= times[place] + DAY_US for at in bought.get(keys[place], ())) for place in places]
        )


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(ShopConfig(END_US, users=600, products=300, days=90, events_per_day=1_500))


@pytest.fixture(scope="module")
def events(shop: Shop) -> pa.Table:
    return pa.concat_tables(shop.history())


@pytest.fixture(scope="module")
def foresight(shop: Shop, events: pa.Table) -> Foresight:
    return Foresight(shop, events)


def assert_calibrated(truth: NDArray[np.float64], happened: NDArray[np.bool_]) -> None:
    for own in np.array_split(np.argsort(truth), 5):
        error = 3 * np.sqrt(truth[own].mean() * (1 - truth[own].mean()) / len(own))
        assert abs(happened[own].mean() - truth[own].mean()) < error + 0.04


@pytest.mark.long
@pytest.mark.parametrize("kind", ["view", "remove_from_cart", "purchase"])
def test_purchases_are_foreseen(events: pa.Table, foresight: Foresight, kind: str) -> None:
    asked = Asked(events, kind, same_product=False)
    assert_calibrated(foresight.purchase(asked.users, asked.times_us), asked.follows)


def test_abandoned_carts_are_foreseen_and_some_remain_in_doubt(events: pa.Table, foresight: Foresight) -> None:
    asked = Asked(events, "add_to_cart", same_product=True)
    left = foresight.abandonment(asked.users, asked.products, asked.times_us)
    assert_calibrated(left, ~asked.follows)
    assert 0.6 < roc_auc_score(~asked.follows, left) < 0.9


@pytest.mark.long
@pytest.mark.parametrize(
    ("column", "values"), [("discount", None), ("device", ["mobile"]), ("device", ["desktop"])], ids=str
)
def test_discounts_and_devices_are_known_to_foresight(
    events: pa.Table, foresight: Foresight, column: str, values: list[str] | None
) -> None:
    chosen = pc.greater(events[column], 0) if values is None else pc.is_in(events[column], pa.array(values))
    among = chosen.to_numpy(zero_copy_only=False)
    asked = Asked(events, "add_to_cart", same_product=True, among=among, days=60)
    left = foresight.abandonment(asked.users, asked.products, asked.times_us)
    error = 3 * np.sqrt(left.mean() * (1 - left.mean()) / len(left))
    assert left.mean() == pytest.approx((~asked.follows).mean(), abs=error + 0.015)


@pytest.mark.long
def test_what_was_sent_back_is_not_waited_for(shop: Shop, events: pa.Table, foresight: Foresight) -> None:
    """The same shopper at the same time, in a history where the product was kept."""
    kept = Foresight(shop, events.filter(pc.not_equal(events["event_type"], "return")))
    back = set(events.filter(pc.equal(events["event_type"], "return"))["user_id"].to_pylist())
    asked = Asked(events, "view", same_product=False)
    places = [place for place, user in enumerate(asked.users) if user in back]
    users, times = [asked.users[place] for place in places], asked.times_us[places]
    fewer, more = foresight.purchase(users, times), kept.purchase(users, times)
    assert (fewer <= more + 1e-9).all()
    assert (fewer < more).any()


def test_foresight_does_not_see_the_future(shop: Shop, events: pa.Table, foresight: Foresight) -> None:
    asked = Asked(events, "view", same_product=False)
    some = int(np.argmin(asked.times_us))
    now = asked.times_us[some]
    past = events.filter(pc.less_equal(pc.cast(events["timestamp"], pa.int64()), int(now)))
    users, times = [asked.users[some]], asked.times_us[[some]]
    assert Foresight(shop, past).purchase(users, times) == foresight.purchase(users, times)


def test_meetings_by_chance_are_as_often_as_they_are_drawn(shop: Shop) -> None:
    traffic, day, user = shop.traffic(), shop.config.first_day + 40, 3
    rates = traffic.meeting_rates(day, user)
    assert rates.sum() == pytest.approx(1)
    drawn = np.bincount(traffic.browse(day, np.full(200_000, user)), minlength=len(rates)) / 200_000
    assert drawn == pytest.approx(rates, abs=0.004)


def test_visits_begin_through_the_day(shop: Shop) -> None:
    traffic, user = shop.traffic(), 5
    starts = traffic.start_times(0, np.full(50_000, user))
    for hour in (0, 6, 12, 20):
        at = hour * DAY_US // 24
        assert traffic.begins_later(user, at) == pytest.approx((starts > at).mean(), abs=0.01)


def test_who_has_done_nothing_is_not_known(shop: Shop, foresight: Foresight) -> None:
    with pytest.raises(KeyError):
        foresight.purchase(shop.shoppers.ids[:1], np.array([0]))
