"""What the event log tells the console, beside what the streamed states say."""

from pathlib import Path

import pytest
from console import write_log
from serving import DAY, HOUR, NOON, SHOPPING, plan

from data.errors import DataError
from data.log.event_log import EventLog
from server.console.calculators.asked_pair import AskedPair
from server.console.calculators.event_history import Done, EventHistory, day_counts

pytestmark = pytest.mark.integration  # it computes features from logs of any shape

PAIR = AskedPair("user_id", "product_id", "purchase", "purchases", "amount")


@pytest.fixture
def history(tmp_path: Path) -> EventHistory:
    write_log(tmp_path, SHOPPING)
    return EventHistory(EventLog(tmp_path / "log"), plan(), memory="256MB")


def test_the_busiest_come_first(history: EventHistory) -> None:
    assert history.most_active("user_id", 10) == ["ann", "bob"]
    assert history.most_active("product_id", 1) == ["coffee"]


def test_what_a_user_did_oldest_first_and_no_more_than_asked(history: EventHistory) -> None:
    done = history.of_user("ann", 2)
    assert done == [Done(NOON - 2 * DAY, "view", "coffee", 11.0), Done(NOON - HOUR, "purchase", "coffee", 11.0)]
    assert history.of_user("' OR 1=1 --", 10) == []
    assert history.had_before(PAIR, "ann", 10) == ["coffee"]
    assert history.had_before(PAIR, "bob", 10) == []


def test_features_at_a_time_are_those_of_the_events_until_then(history: EventHistory) -> None:
    at_us = NOON - 2 * DAY - HOUR
    found = history.features_at("ann", "coffee", 22.5, at_us)
    assert set(found) == set(plan().names)
    assert found["user_purchase_count"] == 2
    assert found["user_product_days_since_last_purchase"] == pytest.approx(8 - 1 / 24)
    assert found["product_distinct_viewers"] == 1  # bob; ann looked at it later
    assert found["amount_vs_user_avg"] == 2.0
    assert found["hour_of_day"] == 11


def test_who_came_twice(history: EventHistory) -> None:
    [found] = history.regulars(PAIR, NOON, 10)
    assert (found.user, found.item, found.times) == ("ann", "coffee", 3)
    assert (found.last_us - found.first_us) / 2 == pytest.approx((20 * DAY - HOUR) / 2)
    assert found.amount == pytest.approx((10 + 12.5 + 11) / 3)
    assert history.regulars(PAIR, NOON - 15 * DAY, 10) == []
    assert history.regulars(PAIR._replace(event_type="' OR 1=1 --", amount=None), NOON, 10) == []


def test_days_without_events_count_as_none() -> None:
    done = [Done(NOON - 2 * DAY, "view", "p", 1.0), Done(NOON, "view", "p", 1.0), Done(NOON, "purchase", "p", 1.0)]
    assert day_counts(done) == {
        "view": {"2026-02-27": 1, "2026-02-28": 0, "2026-03-01": 1},
        "purchase": {"2026-02-27": 0, "2026-02-28": 0, "2026-03-01": 1},
    }
    assert day_counts([]) == {}


def test_an_empty_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="encore generate"):
        EventHistory(EventLog(tmp_path / "log"), plan()).of_user("ann", 1)
