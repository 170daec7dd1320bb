"""States in Redis, where Redis itself matters: a node without the script, and no node at all."""

from collections.abc import Callable
from typing import Any

import pytest
from event_streams import TOPIC, Act, act, place, sourced
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from data.errors import UnavailableError
from features.plan.plan import Plan
from features.state.fold import Fold
from features.state.memory import MemoryStates
from features.state.online.answers import take_turn
from features.state.online.cluster import LateCluster
from features.state.online.states import OnlineStates
from features.state.states import EntityKey


@pytest.mark.parametrize("redis_client", ["one", "cluster"], indirect=True)
def test_a_node_without_the_script_is_given_it(plan: Plan, redis_client: "Redis[bytes]") -> None:
    placed = place([act(Act("purchase", f"u{n}", f"p{n}", n), f"e{n}") for n in range(20)], 1)
    redis_client.script_flush()
    written, expected = OnlineStates(redis_client), MemoryStates()
    for states in (written, expected):
        Fold(plan, states, TOPIC).apply(sourced(placed))
    keys = [EntityKey(entity, (f"{entity[0]}{n}",)) for entity in ("user", "product") for n in range(20)]
    assert written.read(keys) == expected.read(keys)
    assert all(stored.state for stored in written.read(keys))


@pytest.mark.parametrize("kind", [Redis, LateCluster])
def test_no_redis_is_said_clearly(plan: Plan, kind: Any) -> None:
    client = kind(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    placed = place([act(Act("view", "u", "p", 0), "e")], 1)
    with pytest.raises(UnavailableError, match="REDIS_HOST"):
        Fold(plan, OnlineStates(client), TOPIC).apply(sourced(placed))


def test_trying_every_command_does_not_look_at_every_key(redis_client: "Redis[bytes]") -> None:
    """A rollout tries them first: over a million states a whole scan would keep it waiting for a minute."""
    redis_client.mset({f"k{n}": b"" for n in range(1_000)})
    before = _scans(redis_client)
    OnlineStates(redis_client).try_all()
    assert _scans(redis_client) - before == 1


def test_counting_and_clearing_look_at_every_key_once(plan: Plan, redis_client: "Redis[bytes]") -> None:
    """Not once for every kind of entity: a rollout does it beside what answers."""
    redis_client.mset({f"k{n}": b"" for n in range(10_000)})
    states = OnlineStates(redis_client)
    Fold(plan, states, TOPIC).apply(sourced(place([act(Act("view", "u", "p", 0), "e")], 1)))

    def cost(work: Callable[[], object]) -> int:
        before = _scans(redis_client)
        work()
        return _scans(redis_client) - before

    once = cost(lambda: list(states.redis_keys("user")))
    assert once > 10
    assert cost(states.counts) < 1.5 * once
    assert cost(states.clear) < 1.5 * once
    assert sum(states.counts().values()) == 0


def test_a_copy_has_all_that_a_state_has(plan: Plan, redis_client: "Redis[bytes]") -> None:
    states, copies = OnlineStates(redis_client), OnlineStates(redis_client, "encore@1")
    placed = place([act(Act("view", f"u{n}", "p", n), f"e{n}") for n in range(300)], 1)
    Fold(plan, states, TOPIC).apply(sourced(placed))
    users = [EntityKey("user", (f"u{n}",)) for n in range(300)]
    redis_client.pexpire(states.redis_key(users[0]), 100_000)
    redis_client.set(states.redis_key(users[1]), b"no state")
    assert sum(states.copy("user", copies)) == 300
    assert copies.read(users) == states.read(users)
    assert copies.counts() == dict.fromkeys(states.counts(), 0) | {"user": 300}
    assert 0 < redis_client.pttl(copies.redis_key(users[0])) <= 100_000
    assert redis_client.pttl(copies.redis_key(users[2])) == -1


def _scans(client: "Redis[bytes]") -> int:
    return int(client.info("commandstats").get("cmdstat_scan", {"calls": 0})["calls"])


@pytest.mark.parametrize("redis_client", ["one", "cluster"], indirect=True)
def test_all_that_names_a_key_is_found_and_removed(plan: Plan, redis_client: "Redis[bytes]") -> None:
    """Whatever signs an id has, and whoever has a longer one; another project's states are others."""
    users = ("a*", "a", "a*b", "[a]", "ü?", "\\")
    placed = place([act(Act("view", user, f"p{n}", n), f"e{user}{n}") for user in users for n in range(3)], 1)
    states, *others = (OnlineStates(redis_client, project) for project in ("encore", "encore_2", "my_encore"))
    for its in (states, *others):
        its.inventory.begin(done=False)
        Fold(plan, its, TOPIC, store=its).apply(sourced(placed))
    for user in users:
        pairs = {EntityKey("user_product", (f"p{n}", user)) for n in range(3)}
        assert set(states.naming("user_id", user)) == {EntityKey("user", (user,)), *pairs}
    assert len(list(states.naming("product_id", "p1"))) == 1 + len(users)
    assert states.remove(list(states.naming("user_id", "a*"))) == 4
    assert states.remove([EntityKey("user", ("a*",))]) == 0
    assert list(states.naming("user_id", "a*")) == []
    assert states.counts() == states.inventory.look().expected
    assert states.counts()["user"] == len(users) - 1
    assert states.clear() > 0
    assert set(states.counts().values()) == {0}
    assert [other.counts()["user"] for other in others] == [len(users)] * 2


@pytest.mark.parametrize("redis_client", ["one", "cluster"], indirect=True)
def test_a_turn_is_ones_at_a_time_and_a_key_that_would_stay_is_nobodys(redis_client: "Redis[bytes]") -> None:
    """Else whatever somebody left in its place would keep every rollout, and every repair, from its turn for good."""
    assert take_turn(redis_client, "turn", b"a", 60)
    assert not take_turn(redis_client, "turn", b"b", 60)
    assert redis_client.get("turn") == b"a"
    assert 0 < redis_client.pttl("turn") <= 60_000
    for left in (b"x", None):
        redis_client.delete("turn")
        redis_client.rpush("turn", b"x") if left is None else redis_client.set("turn", left)
        assert take_turn(redis_client, "turn", b"c", 60)
        assert redis_client.get("turn") == b"c"
        assert not take_turn(redis_client, "turn", b"d", 60)
