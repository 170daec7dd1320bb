"""A store that forgets is found out: its inventory goes with the states, or says more than there is."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from chaos.redis_cluster import RedisCluster
from event_streams import TOPIC, Act, act, as_log, place, sourced
from polling import poll_until
from redis import Redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import MovedError
from stores import client_of

from data.errors import ForgottenError, RedisRefusalError, UnavailableError
from data.log.event_log import EventLog
from data.units import HOUR_US
from features.batch.engine import DuckDBEngine
from features.batch.materializer import materialize
from features.entities import ENTITIES
from features.plan.plan import Plan
from features.state.fold import Fold
from features.state.online.cluster import LateCluster
from features.state.online.inventory import Inventory
from features.state.online.keys import redis_key
from features.state.online.states import OnlineStates
from features.state.states import EntityKey
from server.process.server_process import free_port
from server.process.store import Store

pytestmark = pytest.mark.integration

NAMES = tuple(entity.name for entity in ENTITIES)
PLACED = place([act(Act("purchase", f"u{n % 5}", f"p{n % 3}", n * HOUR_US), f"e{n}") for n in range(30)])


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator["Redis[bytes]"]:
    """A store of this test alone, which it may harm."""
    with Store(free_port(), tmp_path / "store") as store, client_of(store) as client:
        yield client


@pytest.fixture
def guarded(redis_client: "Redis[bytes]") -> OnlineStates:
    return OnlineStates(redis_client, guarded=True)


def test_an_empty_store_begins_with_nothing_and_counts(plan: Plan, guarded: OnlineStates) -> None:
    assert guarded.inventory.look().forgotten == NAMES
    guarded.inventory.begin(done=False)
    fold = Fold(plan, guarded, TOPIC, store=guarded)
    fold.apply(sourced(PLACED[:20]))
    fold.apply(sourced(PLACED))
    look = guarded.inventory.look()
    assert (
        look.expected
        == guarded.counts()
        == {"user": 5, "product": 3, "user_product": 15, "category": 0, "user_category": 0}
    )
    assert (look.forgotten, look.doubtful, look.problems()) == ((), (), [])
    guarded.inventory.begin(done=True)
    assert guarded.inventory.look() == look


def test_nothing_is_folded_onto_a_store_that_was_emptied(
    plan: Plan, redis_client: "Redis[bytes]", guarded: OnlineStates
) -> None:
    guarded.inventory.begin(done=False)
    fold = Fold(plan, guarded, TOPIC, store=guarded)
    fold.apply(sourced(PLACED[:20]))
    redis_client.flushall()
    with pytest.raises(
        ForgottenError,
        match=r"forgotten the user, product, user_product, category, user_category states.*`encore rebuild`",
    ):
        fold.apply(sourced(PLACED[20:]))
    assert not redis_client.exists(redis_key(EntityKey("user", ("u1",))))
    guarded.note_event(1)
    with pytest.raises(ForgottenError):
        guarded.inventory.begin(done=True)
    assert guarded.inventory.look().doubtful == NAMES


def test_a_flush_between_reading_and_writing_is_found_out(
    plan: Plan, redis_client: "Redis[bytes]", guarded: OnlineStates, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded.inventory.begin(done=False)
    fold = Fold(plan, guarded, TOPIC, store=guarded)
    fold.apply(sourced(PLACED[:20]))
    write = OnlineStates.compare_and_set

    def emptied(states: OnlineStates, writes):  # type: ignore[no-untyped-def]
        redis_client.flushall()
        return write(states, writes)

    monkeypatch.setattr(OnlineStates, "compare_and_set", emptied)
    with pytest.raises(ForgottenError):
        fold.apply(sourced(PLACED[20:]))
    assert guarded.inventory.look().forgotten == NAMES, "what was created does not vouch for the rest"


def test_a_store_of_before_there_were_inventories_is_taken_as_it_is(
    plan: Plan, redis_client: "Redis[bytes]", guarded: OnlineStates
) -> None:
    redis_client.set("encore:materialized", "1/2/3/shop-7")
    guarded.inventory.begin(done=True)
    assert Fold(plan, guarded, TOPIC, store=guarded).apply(sourced(PLACED)).folded == 30


def test_one_entity_can_be_absent(plan: Plan, redis_client: "Redis[bytes]", guarded: OnlineStates) -> None:
    guarded.inventory.vouch(dict.fromkeys(set(NAMES) - {"user_product"}, 0))
    redis_client.set("encore:materialized", "1/2/3/shop-7")
    with pytest.raises(ForgottenError, match=r"forgotten the user_product states"):
        guarded.inventory.begin(done=True)
    assert guarded.inventory.look().doubtful == ("user_product",)


def test_materialization_vouches_for_each_entity(
    plan: Plan, redis_client: "Redis[bytes]", guarded: OnlineStates, tmp_path: Path
) -> None:
    log = as_log(EventLog(tmp_path), PLACED)
    states = OnlineStates(redis_client)
    with DuckDBEngine(log, threads=1) as engine:
        for entity_plan in plan.entities:
            assert entity_plan.entity in guarded.inventory.look().forgotten
            materialize(states, engine.states(entity_plan), entity_plan, log)
            assert entity_plan.entity not in guarded.inventory.look().forgotten
    assert guarded.inventory.look().expected == guarded.counts()
    guarded.clear()
    assert guarded.inventory.look().forgotten == NAMES


def test_states_that_were_deleted_are_missed(plan: Plan, redis_client: "Redis[bytes]", guarded: OnlineStates) -> None:
    guarded.inventory.begin(done=False)
    Fold(plan, guarded, TOPIC, store=guarded).apply(sourced(PLACED))
    for product in range(3):
        for user in range(5):
            redis_client.delete(redis_key(EntityKey("user_product", (f"p{product}", f"u{user}"))))
    look = guarded.inventory.look()
    assert look.doubtful == NAMES
    assert "23 states were written" in look.problems()[0]


def test_an_inventory_of_another_type_is_none(redis_client: "Redis[bytes]", guarded: OnlineStates) -> None:
    redis_client.set("encore:inventory", "x")
    assert guarded.inventory.look().forgotten == NAMES
    with pytest.raises(ForgottenError):
        guarded.read([EntityKey("user", ("u1",))])
    guarded.inventory.begin(done=False)
    assert guarded.inventory.look().forgotten == ()


def test_evicted_keys_are_told(own_store: "Redis[bytes]") -> None:
    """As `redis-server --maxmemory 20mb --maxmemory-policy allkeys-lru` does it, which says nothing."""
    states = OnlineStates(own_store, guarded=True)
    states.inventory.begin(done=False)
    assert states.inventory.look().policy == "noeviction"
    own_store.config_set("maxmemory-policy", "allkeys-lru")
    assert states.inventory.look().problems() == [], "without a limit it drops nothing"
    own_store.config_set("maxmemory", int(own_store.info("memory")["used_memory"]) + 300_000)
    (warning,) = states.inventory.look().problems()
    assert "maxmemory-policy allkeys-lru" in warning
    for number in range(3_000):
        own_store.set(f"filler-{number}", b"x" * 200)
    poll_until(lambda: states.inventory.look().evicted)
    look = states.inventory.look()
    if not look.forgotten:  # the inventory may be among what was dropped
        assert look.doubtful == NAMES
        assert "has evicted" in look.problems()[0]
    own_store.config_set("maxmemory", 0)
    states.inventory.vouch(dict.fromkeys(NAMES, 0))
    assert states.inventory.look().evicted == 0


@pytest.mark.parametrize("place", range(3))
def test_what_one_node_of_a_cluster_evicts_is_told(store_cluster: RedisCluster, place: int) -> None:
    node = store_cluster.nodes[place]
    with Redis(host=node.host, port=node.port) as one:
        client: Any = LateCluster(host=store_cluster.nodes[0].host, port=store_cluster.nodes[0].port)
        states = OnlineStates(client, guarded=True)
        states.inventory.vouch(dict.fromkeys(NAMES, 0))
        before = states.inventory.look().evicted
        one.config_set("maxmemory-policy", "allkeys-random")
        one.config_set("maxmemory", int(one.info("memory")["used_memory"]) + 100_000)
        assert states.inventory.look().policy == "allkeys-random"
        try:
            for number in range(3_000):
                with suppress(MovedError):
                    one.set(f"filler-{number}", b"x" * 200)
            assert before == 0
            assert (states.inventory.look().evicted or 0) > 0
        finally:
            one.config_set("maxmemory", 0)
            one.config_set("maxmemory-policy", "noeviction")
            client.flushall()
            client.close()


@pytest.mark.parametrize("refusal", ["OOM", "READONLY", "NOREPLICAS", "NOPERM"])
def test_a_refusal_is_waited_for_like_a_lost_connection(plan: Plan, own_store: "Redis[bytes]", refusal: str) -> None:
    states = OnlineStates(own_store)
    fold = Fold(plan, states, TOPIC, store=states)
    fold.apply(sourced(PLACED[:10]))
    admin = Redis(port=own_store.connection_pool.connection_kwargs["port"])
    begin, end = {
        "OOM": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        "READONLY": (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        "NOREPLICAS": (
            ("CONFIG", "SET", "min-replicas-to-write", "1"),
            ("CONFIG", "SET", "min-replicas-to-write", "0"),
        ),
        "NOPERM": (("ACL", "SETUSER", "default", "-@all", "+acl"), ("ACL", "SETUSER", "default", "+@all")),
    }[refusal]
    admin.execute_command(*begin)
    with pytest.raises(UnavailableError, match="Redis"):
        fold.apply(sourced(PLACED))
    admin.execute_command(*end)
    assert fold.apply(sourced(PLACED)).aside == frozenset()
    admin.close()
    assert states.counts() == {"user": 5, "product": 3, "user_product": 15, "category": 0, "user_category": 0}


def test_what_redis_refuses_is_named(own_store: "Redis[bytes]") -> None:
    own_store.config_set("maxmemory", 1)
    with pytest.raises(RedisRefusalError, match="Redis refuses: OOM command not allowed"):
        OnlineStates(own_store).note_event(1)


@pytest.mark.parametrize("place", range(3))
def test_a_node_of_a_cluster_that_was_emptied_is_missed(plan: Plan, store_cluster: RedisCluster, place: int) -> None:
    """Wherever the inventory lies, and whatever the next events' keys are."""
    nodes = store_cluster.nodes
    for node in nodes:
        with Redis(host=node.host, port=node.port) as client:
            client.flushall()
    client = LateCluster(host=nodes[0].host, port=nodes[0].port)
    guarded = OnlineStates(client, guarded=True)
    guarded.inventory.begin(done=False)
    fold = Fold(plan, guarded, TOPIC, store=guarded)
    fold.apply(sourced(PLACED[:20]))
    assert guarded.inventory.look().forgotten == ()
    with Redis(host=nodes[place].host, port=nodes[place].port) as node_client:
        node_client.flushall()
    for one in PLACED[20:]:
        with pytest.raises(ForgottenError):
            fold.apply(sourced([one]))
    with pytest.raises(ForgottenError):
        guarded.inventory.begin(done=True)
    assert guarded.inventory.look().forgotten
    guarded.inventory.vouch(guarded.counts())  # as a rebuild ends
    fold.apply(sourced(PLACED))
    client.close()


def _are_in(few: range, slots: Sequence[int]) -> list[bool]:
    return [slot in few for slot in slots]


def test_a_small_primary_has_a_marker_too() -> None:
    for first in range(0, REDIS_CLUSTER_HASH_SLOTS - 62, 61):
        small = range(first, first + 63)
        inventory = Inventory(None, "encore", NAMES, partial(_are_in, small))
        assert len(inventory.look_ups()) == 1 + 2, small


def test_a_cluster_of_before_there_were_markers_gets_them(plan: Plan, store_cluster: RedisCluster) -> None:
    node = store_cluster.nodes[0]
    client = LateCluster(host=node.host, port=node.port)
    guarded = OnlineStates(client, guarded=True)
    guarded.clear()
    client.hset("encore:inventory", mapping=dict.fromkeys(NAMES, 0))
    fold = Fold(plan, guarded, TOPIC, store=guarded)
    fold.apply(sourced(PLACED[:20]))
    guarded.inventory.begin(done=True)
    fold.apply(sourced(PLACED))
    slots = [key_slot(key) for key, _ in guarded.inventory.look_ups()]
    assert len(slots) == 4
    assert len(set(client.nodes_of(slots))) == 3, "every primary is asked"
    guarded.clear()
    client.close()
