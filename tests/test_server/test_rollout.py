"""Definitions change while everything runs: nobody is answered as a stranger, and no count goes back."""

import time
from pathlib import Path

import pytest
from editions import differing
from polling import poll_until
from redis import Redis
from rolling import CHANGED, Live, changed, live, made
from serving import plan

from data.errors import ConfigurationError, DefinitionError, UnavailableError
from data.log.event_log import EventLog
from features.state.editions.editions import Editions
from features.state.editions.standing import Standing
from server.jobs.rollout import drop
from server.jobs.rollout.lease import held
from server.jobs.rollout.rollout import finish_rollout, go_back, rebuild, roll_out, rollout_status
from server.jobs.verification import run_verification
from server.process.kafka_broker import KafkaBroker
from server.process.store import Store
from server.redis.connections import connect_redis
from server.redis.editions import open_live


def quiet(_: str) -> None:
    """Tell nobody."""


def await_plan(system: Live, hash_: str) -> None:
    poll_until(lambda: system.plans[-1:] == [hash_])


@pytest.mark.long
@pytest.mark.parametrize("of_topic", [False, True])
def test_changed_definitions_go_live_under_load(
    broker: KafkaBroker, store: Store, redis_client: "Redis[bytes]", tmp_path: Path, *, of_topic: bool
) -> None:
    settings = made(tmp_path / "home", store.port, broker.servers, of_topic=of_topic)
    wider = changed(settings, tmp_path / "shop")
    told = list[str]()
    with live(settings) as system:
        system.await_folded(50)
        done = roll_out(wider, told.append)
        await_plan(system, done.after)
    assert (system.cold, system.backwards, system.failed) == (0, [], [])
    assert system.plans == [plan().hash, done.after]
    copied = [line for line in told if line.endswith(" stay as they are, and are copied")]
    assert len(copied) == (0 if of_topic else 1), "who made these states noted no offsets of the earlier topic"
    with connect_redis(settings) as client:
        assert differing(open_live(client, settings), EventLog(settings.log)) == []


@pytest.mark.system
def test_definitions_go_back_and_forth_and_states_are_made_anew_under_load(
    broker: KafkaBroker, store: Store, redis_client: "Redis[bytes]", tmp_path: Path
) -> None:
    settings = made(tmp_path / "home", store.port, broker.servers)
    wider = changed(settings, tmp_path / "shop")
    with live(settings, workers=2) as system:
        system.await_folded(200)
        done = roll_out(wider, quiet)
        assert (done.before, done.stage, done.made) == (plan().hash, "switched", True)
        await_plan(system, done.after)
        assert go_back(settings, quiet).live.plan == plan().hash
        await_plan(system, plan().hash)
        assert go_back(wider, quiet).live.plan == done.after
        await_plan(system, done.after)
        assert finish_rollout(wider, quiet) > 0
        rebuild(wider, quiet)
        time.sleep(1)
    assert (system.cold, system.backwards, system.failed) == (0, [], [])
    assert system.plans == [plan().hash, done.after] * 2
    verdict = run_verification(wider, sample=10, as_of_us=None, seed=0)
    assert verdict.ok, verdict.disagreements[:3]
    assert set(verdict.compared) == {"batch", "state", "feast"}


@pytest.mark.long
def test_what_cannot_be_rolled_out_is_refused_and_changes_nothing(
    store: Store, redis_client: "Redis[bytes]", tmp_path: Path
) -> None:
    settings = made(tmp_path / "home", store.port)
    before = {key: redis_client.dump(key) for key in redis_client.keys("*")}
    broken = changed(settings, tmp_path / "broken", CHANGED.replace("Sum", "Median"))
    with pytest.raises(DefinitionError, match="primitive Median has no mergeable form"):
        roll_out(broken, quiet)
    poorer = changed(settings, tmp_path / "poorer", CHANGED.replace("*before(shop), seen", "*before(shop)[1:], seen"))
    with pytest.raises(ConfigurationError, match=r"repeat_purchase .* needs user_view_count; train on the new"):
        roll_out(poorer, quiet)
    wider = changed(settings, tmp_path / "shop")
    with held(redis_client, "encore"), pytest.raises(UnavailableError, match="another rollout is on its way"):
        roll_out(wider, quiet)
    for undo in (go_back, finish_rollout):
        with pytest.raises(ConfigurationError, match=r"nothing to go back to|no rollout to finish"):
            undo(settings, quiet)
    assert {key: redis_client.dump(key) for key in redis_client.keys("*")} == before


@pytest.mark.long
def test_a_rollout_is_finished_before_the_next_one_and_not_undone_after(
    store: Store, redis_client: "Redis[bytes]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drop, "_SETTLES_S", 0.0)  # nobody reads here
    settings = made(tmp_path / "home", store.port)
    wider = changed(settings, tmp_path / "shop")
    first = roll_out(wider, quiet)
    assert first.stage == "switched"
    with pytest.raises(ConfigurationError, match="the rollout before is not finished"):
        roll_out(settings, quiet)
    assert finish_rollout(wider, quiet) == sum(first.states.values()) - first.states["device"]
    with pytest.raises(ConfigurationError, match="nothing to go back to"):
        go_back(wider, quiet)
    assert not roll_out(wider, quiet).made, "it answers already"
    # One to other definitions that was given up half-way is in nobody's way.
    editions = Editions(redis_client, "encore")
    standing = editions.read()
    assert standing is not None
    given_up = editions.new(wider_plan := open_live(redis_client, settings).plan)
    editions.move(standing, Standing(standing.live, given_up, "building"))
    assert rollout_status(settings).interrupted
    done = roll_out(settings, quiet, finish=True)
    assert (done.before, done.after, done.stage) == (wider_plan.hash, plan().hash, "settled")
    assert not redis_client.keys(f"*@{given_up.id}*")
