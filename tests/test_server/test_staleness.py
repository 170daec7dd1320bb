"""A model is judged with features of earlier times, the question being of its own."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from answered_shop import AnsweredShop, traffic
from event_streams import START_US
from msgspec import structs
from serving import plan, promote, tiny_model
from system import SystemHere

from data.units import DAY_US, HOUR_US, from_micros
from features.batch.engine import DuckDBEngine
from model.artifact.metadata import Part
from model.targets import REPEAT_PURCHASE
from server.jobs.build import apply_features, feature_reader

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> AnsweredShop:
    """A shop of 20 days, and a champion whose test was its second half."""
    shop = AnsweredShop(tmp_path_factory.mktemp("staleness") / "home")
    shop.write(shop.place(traffic(4_800, users=20, products=5)))
    model = tiny_model(plan().names)
    test = Part(
        rows=100, base_rate=0.5, first=from_micros(START_US + 10 * DAY_US), last=from_micros(START_US + 20 * DAY_US)
    )
    question = replace(REPEAT_PURCHASE, horizon_us=DAY_US)
    parts = model.metadata.parts | {"test": test}
    promote(shop.home, replace(model, metadata=structs.replace(model.metadata, question=question, parts=parts)))
    return shop


def test_features_are_of_so_long_before_and_the_request_of_its_time(shop: AnsweredShop) -> None:
    apply_features(shop.settings, lambda _: None)
    times = [START_US + day * DAY_US + 12_345_678 for day in range(3, 15)]
    asked = pd.DataFrame({"user_id": "u1", "product_id": "p1", "request_amount": 5.0, "event_timestamp": times})
    asked["event_timestamp"] = pd.to_datetime(asked["event_timestamp"], unit="us", utc=True).astype(
        "datetime64[us, UTC]"
    )
    found = feature_reader(shop.settings, REPEAT_PURCHASE, age_us=5 * HOUR_US)(asked.copy()).sort_values(
        "event_timestamp"
    )
    assert found["event_timestamp"].tolist() == asked["event_timestamp"].tolist()
    spine = pd.DataFrame({"user_id": "u1", "time_us": [time - 5 * HOUR_US for time in times]})
    names = ("user_view_count", "user_days_since_last_view", "user_views_1h", "user_avg_transaction_amount")
    with DuckDBEngine(shop.log, threads=1) as engine:
        then = engine.values(plan(), "user", spine, names).to_pandas()
    for name in names:
        np.testing.assert_array_equal(found[name].to_numpy(np.float64), then[name].to_numpy(np.float64))
    average = then["user_avg_transaction_amount"].to_numpy(np.float64)
    np.testing.assert_allclose(found["amount_vs_user_avg"].to_numpy(np.float64), 5.0 / average, rtol=1e-12)
    assert found["hour_of_day"].tolist() == [(from_micros(time) - timedelta(0)).hour for time in times]


@pytest.mark.long
def test_metrics_are_told_by_age_with_intervals_and_a_plot(shop: AnsweredShop, tmp_path: Path) -> None:
    here = SystemHere(shop.home)
    report = tmp_path / "ages.json"
    shown = here.run("evaluate", "--staleness", "0s,90m,2d", "--max-rows", "500", "--report", str(report))
    assert shown.returncode == 0, shown.stderr
    assert all(age in shown.stdout for age in ("0s", "90m", "2d", "base rate"))
    told = json.loads(report.read_bytes())
    assert [age["age_us"] for age in told["ages"]] == [0, 90 * 60_000_000, 2 * DAY_US]
    assert 0 < told["questions"] <= 500
    for age in told["ages"]:
        low, high = age["intervals"]["pr_auc"]
        assert low <= age["metrics"]["pr_auc"] <= high
    assert told["ages"][0]["lost"] == {}
    low, high = told["ages"][2]["lost"]["roc_auc"]
    assert low <= told["ages"][0]["metrics"]["roc_auc"] - told["ages"][2]["metrics"]["roc_auc"] <= high
    assert report.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    wrong = here.run("evaluate", "--staleness", "1h,soon")
    assert (wrong.returncode, "--staleness soon: give a duration" in wrong.stderr) == (2, True)
