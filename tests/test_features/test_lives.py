"""States that leave the store when idle, and a log that is cut: no feature that looks a window back differs."""

from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from event_streams import START_US, TOPIC, Act, act, as_log, place, sourced
from polling import poll_until
from redis import Redis
from verifying import verify_log

from data.log.event_log import EventLog
from data.log.removal import Removed
from data.units import DAY_US, HOUR_US, to_micros
from features.plan.plan import Plan
from features.plan.reach import reach_of, reach_of_all, refusal_of_lives
from features.state.fold import Fold
from features.state.online.keys import redis_key
from features.state.online.states import OnlineStates
from features.state.states import EntityKey
from server.jobs.retention.apply import refusal_of_log

DAYS = 10


def define(shop: Any) -> list[Any]:
    """Windows alone: of users a week, of products an hour, of categories nothing."""
    import featuretools as ft

    event = shop["events"].ww

    def over(column: str, primitive: Any, frame: str, last: str, name: str, **options: Any) -> Any:
        made = ft.Feature(event[column], parent_dataframe_name=frame, primitive=primitive, use_previous=last, **options)
        return made.rename(name)

    bought = ft.Feature(event["event_type"]) == "purchase"
    return [
        over("event_id", ft.primitives.Count, "users", "7 days", "user_events_7d"),
        over("amount", ft.primitives.Sum, "users", "24 hours", "user_spend_24h", where=bought),
        over("event_id", ft.primitives.Count, "products", "1 hour", "product_events_1h"),
    ]


@pytest.fixture(scope="module")
def windowed() -> Plan:
    from features.plan.compiler import compile_features
    from features.plan.entity_set import entity_set

    return compile_features(define(entity_set()))


def events(first: int, number: int) -> list[Any]:
    return [
        act(Act(("view", "purchase")[n % 2], f"u{n % 4}", f"p{n % 3}", n * HOUR_US, n / 4), f"e{n}")
        for n in range(first, first + number)
    ]


def test_what_looks_back_for_ever_lives_for_ever(plan: Plan) -> None:
    assert refusal_of_lives(plan, {}) == ""
    assert "user_" in refusal_of_lives(plan, {"user": 400 * DAY_US})
    assert "of all time" in refusal_of_lives(plan, {"user": 400 * DAY_US})
    assert "count each user_product once" in refusal_of_lives(plan, {"user_product": 400 * DAY_US})
    assert "no such entity" in refusal_of_lives(plan, {"visit": DAY_US})
    assert reach_of_all(plan)[0] is None
    assert "is of all time, so states that are made anew need every event" in refusal_of_log(4000 * DAY_US, [plan])


@pytest.mark.integration  # importing Featuretools takes seconds
def test_a_life_is_no_shorter_than_what_features_look_back(windowed: Plan) -> None:
    assert reach_of(windowed.of("user")) == (7 * DAY_US, "the feature user_events_7d")
    assert reach_of(windowed.of("product")) == (HOUR_US, "the feature product_events_1h")
    assert refusal_of_lives(windowed, {"user": 7 * DAY_US, "product": HOUR_US, "category": HOUR_US}) == ""
    assert "user_events_7d looks 7 days back" in refusal_of_lives(windowed, {"user": 6 * DAY_US})
    assert refusal_of_log(8 * DAY_US, [windowed]) == ""
    assert "keeps 7 days of it, and the feature user_events_7d looks 7 days back" in refusal_of_log(
        7 * DAY_US, [windowed]
    )


@pytest.mark.long
def test_a_state_that_left_is_as_if_it_had_never_been(
    windowed: Plan, redis_client: "Redis[bytes]", tmp_path: Path
) -> None:
    states = OnlineStates(redis_client)
    states.inventory.begin(done=False)
    states.inventory.let_live({"user": 1_000})
    log = EventLog(tmp_path / "log")
    fold = Fold(windowed, states, TOPIC, store=states)
    placed = place(events(0, 24 * DAYS))
    as_log(log, placed)
    fold.apply(sourced(placed))
    states.note_event(max(one.event.timestamp_us for one in placed))
    assert 0 < redis_client.pttl(redis_key(EntityKey("user", ("u1",)))) <= 1_000
    assert redis_client.pttl(redis_key(EntityKey("product", ("p1",)))) == -1, "it stays"
    poll_until(lambda: states.counts()["user"] == 0)
    assert states.counts()["product"] == 3
    look = states.inventory.look()
    assert (look.problems(), look.doubtful) == ([], ())
    later_us = START_US + 60 * DAY_US

    def differing(at_us: int) -> list[Any]:
        verdict = verify_log(windowed, log, states, sample=9, at_us=at_us, definitions=define)
        assert verdict.compared["state"] == 11
        return list(verdict.disagreements)

    assert differing(later_us) == []
    # They come again: onto nothing, and it is what the log says.
    again = [act(Act("purchase", f"u{n}", "p1", 60 * DAY_US + n * HOUR_US, 5.0), f"again-{n}") for n in range(4)]
    more = place([*(one.event for one in placed), *again])[len(placed) :]
    as_log(log, more)
    states.inventory.let_live({"user": 3_600_000})
    fold.apply(sourced(more))
    assert states.counts()["user"] == 4
    assert differing(later_us + 5 * HOUR_US) == []


def test_a_life_begins_anew_with_every_event(windowed: Plan, redis_client: "Redis[bytes]") -> None:
    states = OnlineStates(redis_client)
    states.inventory.let_live({"user": 3_600_000})
    fold, key = Fold(windowed, states, TOPIC, store=states), redis_key(EntityKey("user", ("u1",)))
    placed = place(events(0, 8), partitions=1)
    fold.apply(sourced(placed[:4]))
    redis_client.pexpire(key, 60_000)
    fold.apply(sourced(placed[4:]))
    assert redis_client.pttl(key) > 3_000_000


@pytest.mark.integration  # it writes and queries logs
def test_a_log_that_is_cut_gives_the_same_features(windowed: Plan, states: Any, tmp_path: Path) -> None:
    placed = place(events(0, 24 * 2 * DAYS))
    log = as_log(EventLog(tmp_path / "log"), placed)
    Fold(windowed, states, TOPIC).apply(sourced(placed))
    rows, at_us = log.count(), placed[-1].event.timestamp_us
    covered = [log.covered(log.sources()[0], partition) for partition in range(2)]
    cut = log.drop_before(at_us - 8 * DAY_US)
    assert cut.files > 10
    assert log.count() == rows - cut.rows < rows
    assert [log.covered(log.sources()[0], partition) for partition in range(2)] == covered
    assert log.holes() == []
    assert log.drop_before(at_us - 8 * DAY_US) == Removed()
    assert log.compact(log.sources()[0]).joined > 10
    before_us = at_us - 7 * DAY_US - HOUR_US
    log.compact(log.sources()[0], grace_s=-60)  # the parts are not waited for

    def oldest_us() -> int:
        return min(to_micros(pc.min(table["timestamp"]).as_py()) for table in log.tables() if table.num_rows)

    log.drop_before(before_us, 2 * DAY_US)
    assert oldest_us() < before_us, "a joined file is written anew only once that is due"
    rows = log.count()
    assert log.drop_before(before_us, HOUR_US).rows == rows - log.count() > 0
    assert oldest_us() >= before_us
    assert [log.covered(log.sources()[0], partition) for partition in range(2)] == covered
    verdict = verify_log(windowed, log, states, sample=9, at_us=at_us, definitions=define)
    assert verdict.disagreements == []
    assert verdict.compared["state"] == 11
