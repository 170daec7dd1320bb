"""`verify` compares what can be compared: a state that events reached meanwhile is left out, not called wrong."""

from pathlib import Path

import pytest
from event_streams import START_US, TOPIC, Act, act, as_log, place, sourced
from paths import fold_all
from verifying import verify_log

from data.log.event_log import EventLog
from data.units import DAY_US, HOUR_US
from features.plan.plan import Plan
from features.state.fence import Fence
from features.state.fold import Fold
from features.state.states import EntityKey, States
from features.verify import verification

pytestmark = pytest.mark.integration  # it takes many seconds


@pytest.mark.long
def test_a_state_that_is_newer_than_the_time_asked_about_is_left_out(
    plan: Plan, tmp_path: Path, states: States
) -> None:
    who = [(f"u{number % 7}", f"p{number % 5}") for number in range(40)]
    acts = [Act("purchase", user, product, hour * HOUR_US, 2.5) for hour, (user, product) in enumerate(who)]
    placed = place([act(one, f"e{number}") for number, one in enumerate(acts)])
    log = EventLog(tmp_path)
    fold_all(plan, placed, states, seed=0)
    as_log(log, placed)
    told: list[str] = []
    late = verify_log(plan, log, states, sample=100, at_us=START_US + DAY_US * 2, tell=told.append)
    assert [line.split(",")[0] for line in told] == [entity.name for entity in plan.schema.entities]
    assert late.ok
    assert (late.moved, late.entities > 10) == (0, True)
    early = verify_log(plan, log, states, sample=100, at_us=START_US + 37 * HOUR_US)
    assert early.ok, early.disagreements
    assert early.moved > 0
    assert early.entities + early.moved == late.entities
    nothing = verify_log(plan, log, states, sample=100, at_us=START_US - 1)
    assert (nothing.ok, nothing.entities) == (False, 0)


@pytest.mark.long
def test_entities_of_too_many_events_for_the_oracle_are_compared_with_batch(
    plan: Plan, tmp_path: Path, states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "_ORACLE_EVENTS", 12)
    often = [("u0", "p0")] * 20 + [(f"u{number}", f"p{number}") for number in (1, 2, 3)] * 3
    acts = [Act("purchase", user, product, hour * HOUR_US, 2.5) for hour, (user, product) in enumerate(often)]
    placed = place([act(one, f"e{number}") for number, one in enumerate(acts)])
    log = as_log(EventLog(tmp_path), placed)
    fold_all(plan, placed, states, seed=0)
    verdict = verify_log(plan, log, states, sample=9, at_us=START_US + DAY_US * 2)
    assert (verdict.ok, verdict.entities, verdict.beyond) == (True, 12, 3), "u0, p0, and both"
    by_kind = {entity.entity: len(entity.features) for entity in plan.entities}
    once = by_kind["user"] + by_kind["product"] + by_kind["user_product"]
    assert verdict.compared["state"] - verdict.compared["batch"] == once
    # What their state lacks is seen all the same.
    keys = [EntityKey("user", (user,)) for user in ("u0", "u1")]
    [often_seen, seldom_seen] = states.read(keys)
    states.compare_and_set({keys[0]: (often_seen, seldom_seen.state, Fence.decode(often_seen.fence))})
    wrong = verify_log(plan, log, states, sample=9, at_us=START_US + DAY_US * 2)
    assert {(one.path, one.ids) for one in wrong.disagreements} == {("state", ("u0",))}


@pytest.mark.long
def test_two_events_with_one_id_are_compared_as_two(plan: Plan, tmp_path: Path, states: States) -> None:
    acts = [Act("purchase", "u", "p", hour * HOUR_US, 5.0) for hour in range(3)]
    placed = place([act(acts[0], "same"), act(acts[1], "same"), act(acts[1], "same"), act(acts[2], "other")])
    Fold(plan, states, TOPIC).apply(sourced(placed), logged=True)  # a log from before they counted once
    verdict = verify_log(plan, as_log(EventLog(tmp_path), placed), states, sample=5, at_us=START_US + DAY_US)
    assert verdict.ok, verdict.disagreements
    assert verdict.entities == 3
