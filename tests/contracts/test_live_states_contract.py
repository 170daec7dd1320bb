"""What is promised to who reads states on the event loop: in memory, in Redis, in a Redis Cluster."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from stores import EVERY_STORE

from data.addresses import Address
from features.state.fence import Fence
from features.state.states import NOTHING, EntityKey, States
from server.redis.memory import MemoryLiveStates
from server.redis.states import AsyncStates, LiveStates

pytestmark = EVERY_STORE

Ask = Callable[[Callable[[AsyncStates], Coroutine[Any, Any, Any]]], Any]


@pytest.fixture
def ask(request: pytest.FixtureRequest, states: States) -> Ask:
    """Asks what is in `states` on a loop of its own."""
    kind = request.node.callspec.params["states"]

    async def run(what: Callable[[AsyncStates], Coroutine[Any, Any, Any]]) -> Any:
        if kind == "memory":
            return await what(MemoryLiveStates(states))
        node = (
            request.getfixturevalue("store") if kind == "redis" else request.getfixturevalue("store_cluster").nodes[0]
        )
        live = LiveStates([Address(node.host, node.port)])
        try:
            return await what(live)
        finally:
            live.close()
            await asyncio.sleep(0)

    return lambda what: asyncio.run(run(what))


def test_states_are_read_in_the_order_asked(states: States, ask: Ask) -> None:
    keys = [EntityKey("user", (f"u{number}",)) for number in range(50)] + [EntityKey("user_product", ("p", "u"))]
    states.compare_and_set({key: (NOTHING, f"{key}".encode() * 3, Fence(b"t" * 16, {0: 1})) for key in keys})
    unknown = EntityKey("product", ("nobody's",))
    asked = [*keys[::-1], unknown, keys[0]]
    found = ask(lambda live: live.read(asked))
    assert found == states.read(asked)
    assert found[-2:] == [NOTHING, (f"{keys[0]}".encode() * 3, Fence(b"t" * 16, {0: 1}).encode())]


def test_the_newest_event_is_that_of_the_store(states: States, ask: Ask) -> None:
    assert ask(lambda live: live.newest_event()) is None
    states.note_event(1_767_225_600_000_001)
    assert ask(lambda live: live.newest_event()) == 1_767_225_600_000_001
