"""States are made anew from the log, beside those that answer: nothing but what the log says is left of them."""

from pathlib import Path
from typing import Any

import pytest
from event_streams import TOPIC, Act, act, as_log, place, sourced
from redis import Redis
from serving import make_home

from data.errors import DataError, UnavailableError
from data.log.event_log import EventLog
from data.units import HOUR_US
from features.plan.plan import Plan
from features.state.editions.editions import Editions, Marks
from features.state.fold import Fold
from features.state.online.keys import redis_key
from features.state.online.states import OnlineStates
from features.state.states import EntityKey
from server.jobs.build import materialize as fold_log
from server.jobs.rollout import drop
from server.jobs.rollout.lease import Lease
from server.jobs.rollout.rollout import rebuild, rollout_status
from server.process.store import Store
from server.redis.editions import open_live
from server.redis.mark import Mark
from server.settings import Settings, read_settings


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads the states here, so none are kept for readers."""
    monkeypatch.setattr(drop, "_SETTLES_S", 0.0)


@pytest.mark.parametrize("wrong", ["hole", "damaged", "half"])
def test_a_log_that_is_not_whole_costs_no_state(
    plan: Plan, store: Store, redis_client: "Redis[bytes]", tmp_path: Path, wrong: str
) -> None:
    placed = place((act(Act("view", f"u{n % 5}", "p", n * HOUR_US), f"e{n}") for n in range(60)), 2)
    states = OnlineStates(redis_client)
    Fold(plan, states, TOPIC).apply(sourced(placed))
    log = EventLog(tmp_path / "log")
    as_log(log, [one for one in placed if wrong != "half" or one.partition == 0])
    path = log.files()[2].path
    if wrong == "hole":
        path.unlink()
    elif wrong == "damaged":
        path.write_bytes(path.read_bytes()[:-10])
    before = states.counts()
    said = {"hole": "event log: .* lacks", "damaged": "cannot be read", "half": "partition 1"}[wrong]
    with pytest.raises(DataError, match=said):
        rebuild(Settings(home=tmp_path, redis_port=store.port), lambda _: None)
    assert states.counts() == before


@pytest.fixture
def made(tmp_path: Path, store: Store, redis_client: "Redis[bytes]") -> Settings:
    """A home with states of three users and a product in Redis, and settings that name both."""
    home = make_home(tmp_path / "home")
    as_log(EventLog(home / "log"), place([act(Act("view", f"u{n % 3}", "p", n * HOUR_US), f"e{n}") for n in range(12)]))
    settings = read_settings(home=home, redis_port=store.port, clock="events")
    fold_log(settings, lambda _: None)
    return settings


def contents(settings: Settings, client: "Redis[bytes]") -> dict[bytes, dict[bytes, bytes]]:
    """The states that answer as they are stored, by their keys without their edition."""
    states = open_live(client, settings).states
    size = len(states.project)
    return {
        key[:-size]: client.hgetall(key)
        for entity in open_live(client, settings).plan.entities
        for key in states.redis_keys(entity.entity)
        if client.type(key) == b"hash"
    }


def bodies(settings: Settings, client: "Redis[bytes]") -> dict[bytes, list[bytes | None]]:
    """The same without fences."""
    return {key: [fields.get(b"s"), fields.get(b"t")] for key, fields in contents(settings, client).items()}


@pytest.mark.long
def test_a_rebuild_leaves_what_the_log_says_and_nothing_else(made: Settings, redis_client: "Redis[bytes]") -> None:
    right = bodies(made, redis_client)
    user = redis_key(EntityKey("user", ("u1",)))
    redis_client.hset(user, mapping={"s": b"damaged"})
    redis_client.hset(redis_key(EntityKey("user", ("u2",))), "f", b"no fence")
    product = redis_key(EntityKey("product", ("p",)))
    redis_client.delete(product)
    redis_client.set(product, "another type")
    redis_client.hset(redis_key(EntityKey("product", ("damaged",))), mapping={"s": b"x", "f": b"no fence"})
    stranger = redis_key(EntityKey("user", ("nobody",)))
    redis_client.hset(stranger, mapping=redis_client.hgetall(redis_key(EntityKey("user", ("u0",)))))
    redis_client.hset(redis_key(EntityKey("user", ("no fence",))), mapping={"s": b"x"})
    assert rebuild(made, lambda _: None) == {
        "user": 3,
        "product": 1,
        "user_product": 3,
        "category": 0,
        "user_category": 0,
    }
    assert bodies(made, redis_client) == right
    assert rebuild(made, lambda _: None) == {
        "user": 3,
        "product": 1,
        "user_product": 3,
        "category": 0,
        "user_category": 0,
    }, "and once more"
    assert bodies(made, redis_client) == right


@pytest.mark.parametrize("how", ["hole", "truncated", "empty", "strange"])
def test_what_is_wrong_with_the_log_is_found_first(made: Settings, redis_client: "Redis[bytes]", how: str) -> None:
    before, mark = contents(made, redis_client), redis_client.get("encore:materialized")
    path = EventLog(made.log).files()[0].path
    if how == "hole":
        path.unlink()
    else:
        whole = path.read_bytes()
        path.write_bytes({"truncated": whole[:2000], "empty": b"", "strange": b"PAR1 not really PAR1"}[how])
    with pytest.raises(DataError, match="event log"):
        rebuild(made, lambda _: None)
    assert contents(made, redis_client) == before
    assert redis_client.get("encore:materialized") == mark


@pytest.mark.long
@pytest.mark.parametrize("how", ["gone", "damaged", "a view less"])
def test_a_registry_that_is_not_as_the_plan_is_mended(made: Settings, redis_client: "Redis[bytes]", how: str) -> None:
    from server.jobs.feast_repo import open_store

    registry = made.feast / "registry.db"
    if how == "gone":
        registry.unlink()
    elif how == "damaged":
        registry.write_bytes(b"\xff" * 100)
    else:
        open_store(made).delete_feature_view("user_features")
    told: list[str] = []
    redis_client.hset(redis_key(EntityKey("user", ("u1",))), mapping={"s": b"damaged"})
    assert rebuild(made, told.append) == {"user": 3, "product": 1, "user_product": 3, "category": 0, "user_category": 0}
    assert [line for line in told if "registering the views with Feast" in line]
    assert not [fields for fields in contents(made, redis_client).values() if fields[b"s"] == b"damaged"]


@pytest.mark.long
@pytest.mark.parametrize("how", ["full", "replica", "no memory for all"])
def test_a_redis_that_cannot_take_them_is_left_as_it_is(made: Settings, redis_client: "Redis[bytes]", how: str) -> None:
    before = contents(made, redis_client)
    try:
        if how == "full":
            redis_client.config_set("maxmemory", "1mb")
        elif how == "replica":
            redis_client.execute_command("REPLICAOF", "127.0.0.1", "1")
        else:
            events = [act(Act("view", f"more{n}", "p", n * HOUR_US), f"m{n}") for n in range(4000)]
            as_log(EventLog(made.log), place(events), rows_per_file=4000)
            redis_client.config_set("maxmemory", int(redis_client.info("memory")["used_memory"]) + 500_000)
        with pytest.raises(UnavailableError, match=r"(?i)Redis.*nothing was changed"):
            rebuild(made, lambda _: None)
    finally:
        redis_client.config_set("maxmemory", 0)
        redis_client.execute_command("REPLICAOF", "NO", "ONE")
    assert contents(made, redis_client) == before
    assert rebuild(made, lambda _: None)["product"] == 1


@pytest.mark.long
def test_an_interrupted_rebuild_leaves_every_state_says_so_and_goes_on(
    made: Settings, redis_client: "Redis[bytes]"
) -> None:
    before = bodies(made, redis_client)

    def interrupt(step: str) -> None:
        if step.startswith("making"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(made, interrupt)
    assert rollout_status(made).interrupted
    assert bodies(made, redis_client) == before
    rebuild(made, lambda _: None)
    assert bodies(made, redis_client) == before


@pytest.mark.chaos
def test_whoever_is_killed_at_any_step_leaves_states_that_answer_and_goes_on(
    made: Settings, redis_client: "Redis[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bodies(made, redis_client)
    steps = list[str]()
    last = 0

    def killed(of: type, name: str) -> None:
        """Kill before or after a call of a function, whichever is the step whose turn it is."""
        step = getattr(of, name)

        def stepped(*given: Any, **named: Any) -> Any:
            steps.append(name)
            if len(steps) == last:
                raise KeyboardInterrupt
            result = step(*given, **named)
            steps.append(name)
            if len(steps) == last:
                raise KeyboardInterrupt
            return result

        monkeypatch.setattr(of, name, stepped)

    steps_of: list[tuple[type, str]] = [(Lease, "say"), (Marks, "write"), (Mark, "write")]
    steps_of += [(Editions, name) for name in ("begin", "new", "move", "keep", "drop")]
    for one in steps_of:
        killed(*one)
    while last == 0 or len(steps) >= last:
        last += 1
        steps.clear()
        try:
            rebuild(made, lambda _: None)
        except KeyboardInterrupt:
            assert bodies(made, redis_client) == before
            assert rollout_status(made).interrupted or rollout_status(made).step is None
    assert last > 10, steps
    assert bodies(made, redis_client) == before
    standing = rollout_status(made).standing
    assert standing is not None
    assert (standing.stage, standing.other) == ("settled", None)
    spaces = {key.split(b":")[0] for key in redis_client.keys("encore*")}
    assert len(spaces) == 2, "of the project, and of the one edition"
