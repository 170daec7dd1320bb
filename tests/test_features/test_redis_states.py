"""States in Redis, where Redis itself matters: a node without the script, and no node at all."""

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
from features.state.redis import LateCluster, OnlineStates
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
