"""`verify` compares what can be compared: a state that events reached meanwhile is left out, not called wrong."""

from pathlib import Path

import pytest
from event_streams import START_US, TOPIC, Act, act, as_log, place, sourced
from paths import fold_all
from verifying import verify_log

from data.log.event_log import EventLog
from data.units import DAY_US, HOUR_US
from features.plan.plan import Plan
from features.state.fold import Fold
from features.state.states import States

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
def test_two_events_with_one_id_are_compared_as_two(plan: Plan, tmp_path: Path, states: States) -> None:
    acts = [Act("purchase", "u", "p", hour * HOUR_US, 5.0) for hour in range(3)]
    placed = place([act(acts[0], "same"), act(acts[1], "same"), act(acts[1], "same"), act(acts[2], "other")])
    Fold(plan, states, TOPIC).apply(sourced(placed), logged=True)  # a log from before they counted once
    verdict = verify_log(plan, as_log(EventLog(tmp_path), placed), states, sample=5, at_us=START_US + DAY_US)
    assert verdict.ok, verdict.disagreements
    assert verdict.entities == 3
