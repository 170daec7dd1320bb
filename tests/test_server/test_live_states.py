"""States on the event loop: a Redis that is slow, gone or back, and one that is a cluster."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos.redis_cluster import RedisCluster
from redis import ConnectionError as RedisGone
from redis import Redis
from redis.crc import key_slot
from serving import fold_events
from shop_questions import pair_key, product_key, user_key

from data.addresses import Address
from data.errors import RedisRefusalError, UnavailableError
from features.state.online.keys import redis_key
from features.state.online.states import OnlineStates
from features.state.states import NOTHING
from server.process.server_process import free_port
from server.process.store import Store
from server.redis.pipe import command
from server.redis.states import LiveStates

KEYS = [user_key("ann"), product_key("coffee"), pair_key("ann", "coffee"), user_key("nobody")]


def use(states: LiveStates, what: Callable[[LiveStates], Coroutine[Any, Any, Any]]) -> Any:
    """What `what` gives, on a loop of its own."""

    async def run() -> Any:
        try:
            return await what(states)
        finally:
            states.close()
            await asyncio.sleep(0)

    return asyncio.run(run())


def here(store: Store, **more: Any) -> LiveStates:
    return LiveStates([Address(store.host, store.port)], **more)


def test_it_reads_what_others_read(store: Store, redis_client: "Redis[bytes]") -> None:
    online = OnlineStates(redis_client)
    fold_events(online)
    read = use(here(store), lambda states: states.read(KEYS))
    assert read == online.read(KEYS)
    assert all(read[0])
    assert read[3] == NOTHING
    assert use(here(store), lambda states: states.newest_event()) == online.newest_event()


def test_many_callers_share_a_connection_and_get_each_their_own(store: Store, redis_client: "Redis[bytes]") -> None:
    fold_events(OnlineStates(redis_client))

    async def ask(states: LiveStates) -> Any:
        before = _connections(redis_client)
        answers = await asyncio.gather(*(states.read([KEYS[number % 4]]) for number in range(200)))
        return answers, _connections(redis_client) - before

    answers, opened = use(here(store), ask)
    assert len(opened) == 1
    assert answers == [answers[number % 4] for number in range(200)]
    assert len({answer[0] for answer in answers}) == 4


def _connections(client: "Redis[bytes]") -> set[str]:
    """Ids of the connections of all clients; their number says less, since those of other tests end at any time."""
    return {connection["id"] for connection in client.client_list()}


def test_a_slow_redis_is_told_to_all_that_wait_and_recovers(store: Store, redis_client: "Redis[bytes]") -> None:
    fold_events(OnlineStates(redis_client))

    async def ask(states: LiveStates) -> Any:
        assert (await states.read(KEYS))[0] != NOTHING
        redis_client.execute_command("CLIENT", "PAUSE", 400, "ALL")
        late = await asyncio.gather(*(states.read(KEYS) for _ in range(50)), return_exceptions=True)
        deadline = asyncio.get_running_loop().time() + 10
        while True:
            try:
                return late, await states.read(KEYS)
            except UnavailableError:
                assert asyncio.get_running_loop().time() < deadline

    late, again = use(here(store, timeout_s=0.1), ask)
    assert {type(error) for error in late} == {UnavailableError}
    assert "in time" in str(late[0])
    assert all(again[0])


def test_a_connection_that_redis_ended_is_made_again(store: Store, redis_client: "Redis[bytes]") -> None:
    fold_events(OnlineStates(redis_client))

    async def ask(states: LiveStates) -> Any:
        first = await states.read(KEYS)
        redis_client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        return first, await states.read(KEYS)

    first, again = use(here(store), ask)
    assert first == again


def test_a_server_that_is_no_redis_is_told(store: Store) -> None:
    async def ask(states: LiveStates) -> Any:
        async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()
            await writer.wait_closed()
            told.set()

        told = asyncio.Event()
        server = await asyncio.start_server(babble, "127.0.0.1", port)
        async with server:
            with pytest.raises(UnavailableError, match="not its protocol"):
                await states.read(KEYS)
            states.close()
            await told.wait()

    port = free_port()
    use(LiveStates([Address("127.0.0.1", port)]), ask)


def test_commands_are_packed_as_redis_reads_them() -> None:
    assert command("GET", b"\x00k", 17) == b"*3\r\n$3\r\nGET\r\n$2\r\n\x00k\r\n$2\r\n17\r\n"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list["Redis[bytes]"]]:
    """Two nodes of a Redis Cluster, each with half of the slots; the loss of one is not noticed while a test runs."""
    with RedisCluster(tmp_path, shards=2, timeout_ms=60_000) as running, contextlib.ExitStack() as stack:
        yield [stack.enter_context(Redis(host=node.host, port=node.port)) for node in running.nodes]


def test_a_cluster_is_recognized_and_read_in_one_go(
    cluster: list["Redis[bytes]"], store: Store, redis_client: "Redis[bytes]"
) -> None:
    fold_events(OnlineStates(redis_client))
    keys = [redis_key(key) for key in KEYS[:3]] + [b"encore:newest_event"]
    assert {key_slot(key) // 8192 for key in keys} == {0, 1}, "both nodes hold some"
    for key in keys[:3]:
        cluster[key_slot(key) // 8192].hset(key, mapping=redis_client.hgetall(key))
    cluster[key_slot(keys[3]) // 8192].zadd(keys[3], {"event": 17})
    ports = [int(node.connection_pool.connection_kwargs["port"]) for node in cluster]

    async def ask(states: LiveStates) -> Any:
        first = await states.read(KEYS)
        assert await states.newest_event() == 17
        return first, await asyncio.gather(*(states.read([key]) for key in KEYS))

    expected = use(here(store), lambda states: states.read(KEYS))
    for port in ports:
        together, alone = use(LiveStates([Address("127.0.0.1", port)]), ask)
        assert together == expected == [one for [one] in alone]


def test_a_lost_node_is_told_and_the_others_still_answer(cluster: list["Redis[bytes]"]) -> None:
    by_node = [next(k for k in map(user_key, "abcdefgh") if key_slot(redis_key(k)) // 8192 == n) for n in (0, 1)]
    ports = [int(node.connection_pool.connection_kwargs["port"]) for node in cluster]
    for node in cluster:
        node.config_set("cluster-require-full-coverage", "no")

    async def ask(states: LiveStates) -> Any:
        assert await states.read(by_node) == [NOTHING, NOTHING]
        with contextlib.suppress(RedisGone):
            cluster[0].shutdown(nosave=True)
        with pytest.raises(UnavailableError):
            await states.read(by_node)
        return await states.read([by_node[1]])

    assert use(LiveStates([Address("127.0.0.1", ports[0]), Address("127.0.0.1", ports[1])]), ask) == [NOTHING]


def test_a_redis_that_refuses_a_command_says_so(store: Store, redis_client: "Redis[bytes]") -> None:
    with pytest.raises(RedisRefusalError, match="unknown command"):
        use(here(store), lambda states: states.run(b"k", "NONSENSE", b"k"))
