"""Rates from looks: of workers that go on, restart, fall silent and join.

look      1      2      3
worker-1  at 10  at 11  at 11 (no news)     a rate between 1 and 2 alone
"""

from collections.abc import Iterator
from typing import Any

import pytest

from data.default_shop import EVENT_TYPES
from data.units import MICROS
from events.stream.heartbeat import WorkerStatus
from server.console.watch.live_feed import LiveFeed, freshness_ms, lag_by_partition, rates
from server.jobs.status import Status


def worker(name: str = "w1", at_s: float = 10, started_s: float = 0, **fields: Any) -> WorkerStatus:
    known: dict[str, Any] = {
        "received": 0,
        "folded": 0,
        "rate": 0.0,
        "dead_letters": {},
        "conflicts": 0,
        "lag": {},
        "ends": {},
        "newest_event_us": None,
    }
    return WorkerStatus(
        worker=name, at_us=round(at_s * MICROS), started_us=round(started_s * MICROS), **(known | fields)
    )


def look(at_s: float, *workers: WorkerStatus) -> Status:
    return Status(
        at_us=round(at_s * MICROS),
        home="",
        urls={},
        produced=None,
        dead_letters=None,
        workers=list(workers),
        lag=None,
        newest_event_us=None,
        logged_files=0,
        api=None,
        audit=None,
        problems=[],
    )


def test_a_rate_is_of_the_workers_own_time() -> None:
    looks = [look(1, worker(at_s=10, types={"view": 5})), look(5, worker(at_s=12, types={"view": 9, "purchase": 1}))]
    [found] = rates(looks, EVENT_TYPES)
    assert found.at_us == 5 * MICROS
    assert found.by_type == {"view": 2.0, "add_to_cart": 0.0, "remove_from_cart": 0.0, "purchase": 0.5, "return": 0.0}
    assert found.total == 2.5


def test_without_news_there_is_no_rate() -> None:
    same = worker(at_s=10, types={"view": 5})
    assert rates([look(1, same), look(2, same)], EVENT_TYPES) == []
    assert rates([look(1), look(2)], EVENT_TYPES) == []
    assert rates([], EVENT_TYPES) == []


def test_a_worker_that_began_again_is_not_counted_backwards() -> None:
    before, after = worker(at_s=10, types={"view": 500}), worker(at_s=12, started_s=11, types={"view": 3})
    assert rates([look(1, before), look(2, after)], EVENT_TYPES) == []


def test_workers_are_added_up_and_one_that_joins_waits_its_turn() -> None:
    looks = [
        look(1, worker("w1", 10, types={"view": 0})),
        look(2, worker("w1", 11, types={"view": 7}), worker("w2", 11, types={"view": 100})),
        look(3, worker("w1", 12, types={"view": 8}), worker("w2", 12, types={"view": 102})),
    ]
    assert [found.total for found in rates(looks, EVENT_TYPES)] == [7.0, 3.0]


def test_lag_and_freshness_of_several_workers() -> None:
    status = look(1, worker("w1", lag={2: 5, 0: 1}, freshness_ms=(10.0, 90.0)), worker("w2", lag={1: 0}))
    assert lag_by_partition(status) == {0: 1, 1: 0, 2: 5}
    assert freshness_ms(status) == (10.0, 90.0)
    assert freshness_ms(look(1)) is None


def test_a_feed_looks_no_more_often_than_it_should() -> None:
    times = iter(range(1, 10))
    feed = LiveFeed(lambda: look(next(times)), every_s=2)
    assert [status.at_us // MICROS for status in feed.looks(1 * MICROS)] == [1]
    assert len(feed.looks(2 * MICROS)) == 1
    assert len(feed.looks(4 * MICROS)) == 2


def test_a_feed_that_cannot_look_says_so_and_goes_on() -> None:
    answers: Iterator[ValueError | Status] = iter([ValueError("no"), look(1)])

    def looking() -> Status:
        found = next(answers)
        if isinstance(found, ValueError):
            raise found
        return found

    feed = LiveFeed(looking)
    with pytest.raises(ValueError, match="no"):
        feed.looks(0)
    assert len(feed.looks(0)) == 1
