"""Commits wait for replicas, and what a failover may have forgotten is never committed; over real servers.

begin ── write ── confirm          replica has it: passes; replica stands still: NotReplicated
begin ── write ── ✗ ── confirm     primary was restarted, or its replica took over: FailedOver
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos.redis_cluster import Node, RedisCluster
from polling import poll_until
from redis import Redis
from stores import client_of

from data.errors import FailedOverError, NotReplicatedError, UnavailableError
from features.state.fence import Fence
from features.state.online.cluster import LateCluster
from features.state.online.replication import NO_REPLICATION, Replication
from features.state.online.states import OnlineStates
from features.state.states import EntityKey
from server.process.server_process import free_port
from server.process.store import Store

KEYS = [f"key-{number}" for number in range(60)]


class Clock:
    """Seconds that pass when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Three primaries with a replica each."""
    with RedisCluster(tmp_path_factory.mktemp("replicated"), replicas=1) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: RedisCluster) -> RedisCluster:
    """The same, all nodes being well."""
    for node in running.nodes:
        if not node.alive:
            node.start()
    poll_until(running.is_whole)
    return running


@pytest.fixture
def client(cluster: RedisCluster) -> Iterator[Any]:
    """A client of the cluster, as the worker has it."""
    found: Any = LateCluster(host="127.0.0.1", port=cluster.nodes[0].port, socket_timeout=5.0)
    yield found
    found.close()


class Prompt(Store):
    """A store that copies itself to its first replica at once, and does not wait five seconds for a second one."""

    def _command(self) -> list[str]:
        return [*super()._command(), "--repl-diskless-sync-delay", "0"]


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[Store]:
    """One Redis without replicas."""
    with Prompt(free_port(), tmp_path / "primary") as store:
        yield store


@pytest.fixture
def pair(primary: Store, tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """One Redis and its replica."""
    with Prompt(free_port(), tmp_path / "replica") as replica:
        with client_of(replica) as its, client_of(primary) as first:
            its.replicaof("127.0.0.1", primary.port)
            poll_until(lambda: first.info("replication")["connected_slaves"] == 1)
            poll_until(lambda: its.info("replication")["master_link_status"] == "up")
        yield primary, replica


def write(client: Any, value: str) -> None:
    for key in KEYS:
        client.set(key, value)


def stand_still(node: Store) -> None:
    assert node.pid
    os.kill(node.pid, signal.SIGSTOP)


def go_on(node: Store) -> None:
    assert node.pid
    os.kill(node.pid, signal.SIGCONT)


def fail_over(cluster: RedisCluster, primary: Node) -> Node:
    """Kill a primary; the replica that took over."""
    [replica] = cluster.replicas_of(primary)
    primary.kill()
    poll_until(lambda: replica in cluster.primaries())
    return replica


def begin_anew(replication: Replication) -> None:
    def began() -> bool:
        try:
            replication.begin()
        except UnavailableError:
            return False
        return True

    poll_until(began)


@pytest.mark.parametrize("replicas", [None, 1])
def test_what_replicas_have_is_confirmed(cluster: RedisCluster, client: Any, replicas: int | None) -> None:
    replication = Replication(client, replicas, 2_000)
    replication.begin()
    for number in range(3):
        write(client, f"confirmed {number}")
        replication.confirm()
    keys = {key for node in cluster.primaries() for key in Redis(port=node.port).keys("encore:flush:*")}
    assert len(keys) >= 3


def test_nothing_is_confirmed_before_begin(client: Any) -> None:
    with pytest.raises(FailedOverError):
        Replication(client, 1).confirm()


def test_more_replicas_than_there_are_never_confirm(client: Any) -> None:
    replication = Replication(client, 2, 50)
    replication.begin()
    with pytest.raises(NotReplicatedError, match=r"1 of 2 replicas of 127.0.0.1:\d+ .*ENCORE_REDIS_REPLICAS") as raised:
        replication.confirm()
    assert (raised.value.replicas, raised.value.wanted) == (1, 2)


def test_a_replica_that_stands_still_holds_up_the_commit(cluster: RedisCluster, client: Any) -> None:
    replication = Replication(client, None, 100)
    replication.begin()
    stopped = cluster.primaries()[1]
    [replica] = cluster.replicas_of(stopped)
    stand_still(replica)
    try:
        write(client, "not there yet")
        for _ in range(2):
            with pytest.raises(NotReplicatedError) as raised:
                replication.confirm()
            assert raised.value.node == f"127.0.0.1:{stopped.port}"
    finally:
        go_on(replica)
    replication.confirm()


def test_a_write_that_a_failover_forgot_is_not_confirmed(cluster: RedisCluster, client: Any) -> None:
    replication = Replication(client, None, 1_000)
    replication.begin()
    write(client, "before")
    replication.confirm()

    old = cluster.primaries()[0]
    [replica] = cluster.replicas_of(old)
    go_on = cluster.forsake(old)
    write(client, "forgotten")
    old.kill()
    go_on()
    poll_until(lambda: replica in cluster.primaries())
    poll_until(lambda: _answers(client))
    assert "before" in {client.get(key).decode() for key in KEYS}

    for _ in range(2):  # also when asked again
        with pytest.raises((FailedOverError, UnavailableError)) as raised:
            replication.confirm()
    assert isinstance(raised.value, FailedOverError)
    assert raised.value.nodes

    # The new primary has no replica, so nothing is committed until the old one is back.
    begin_anew(replication)
    write(client, "again")
    with pytest.raises(NotReplicatedError):
        replication.confirm()
    old.start()
    poll_until(cluster.is_whole)
    replication.confirm()
    assert {client.get(key) for key in KEYS} == {b"again"}


def test_a_dead_primary_is_unavailable_and_then_failed_over_though_nobody_writes(
    cluster: RedisCluster, client: Any
) -> None:
    replication = Replication(client, None, 500)
    replication.begin()
    write(client, "all there")
    old = cluster.primaries()[2]
    [replica] = cluster.replicas_of(old)
    old.kill()
    with pytest.raises(UnavailableError, match="does not answer"):
        replication.confirm()
    poll_until(lambda: replica in cluster.primaries())

    def failed_over() -> bool:
        try:
            replication.confirm()
        except FailedOverError:
            return True
        except UnavailableError:
            return False
        raise AssertionError("confirmed")

    poll_until(failed_over)


def test_a_worker_that_comes_while_a_primary_has_no_replica_waits(cluster: RedisCluster) -> None:
    fail_over(cluster, cluster.primaries()[0])
    survivor = next(node for node in cluster.nodes if node.alive)
    client: Any = LateCluster(host="127.0.0.1", port=survivor.port, socket_timeout=5.0)
    replication = Replication(client, None, 50)
    begin_anew(replication)
    with pytest.raises(NotReplicatedError):
        replication.confirm()
    client.close()


def test_two_failovers_back_to_the_first_primary_are_seen(cluster: RedisCluster, client: Any) -> None:
    replication = Replication(client, None, 2_000)
    replication.begin()
    first = cluster.primaries()[0]
    [second] = cluster.replicas_of(first)
    for new in (second, first):
        poll_until(cluster.is_whole)
        Redis(port=new.port).execute_command("CLUSTER FAILOVER")
        poll_until(lambda new=new: new in cluster.primaries(), 30)  # type: ignore[misc]
    poll_until(cluster.is_whole)
    with pytest.raises(FailedOverError):
        replication.confirm()


def test_states_are_written_though_their_primary_was_replaced(cluster: RedisCluster, client: Any) -> None:
    keys = [EntityKey("user", (f"u{number}",)) for number in range(300)]
    states = OnlineStates(client)

    def write_states(offset: int) -> None:
        fence = Fence(b"t" * 16, {0: offset})
        for _ in range(2):  # a node that does not know the script yet has the others' writes count as lost
            writes = {key: (one, b"state", fence) for key, one in zip(keys, states.read(keys), strict=True)}
            if not states.compare_and_set(writes):
                break
        assert all(one.fence == fence.encode() for one in states.read(keys))

    write_states(1)
    old = cluster.primaries()[0]
    [new] = cluster.replicas_of(old)
    Redis(port=new.port).execute_command("CLUSTER FAILOVER")
    poll_until(lambda: new in cluster.primaries())
    write_states(2)  # the client learns that they have moved
    poll_until(cluster.is_whole)
    new.kill()
    poll_until(lambda: old in cluster.primaries())
    write_states(3)  # and that nobody answers there


def test_a_client_of_a_cluster_that_was_never_used_connects_to_nobody() -> None:
    with LateCluster(host="127.0.0.1", port=free_port()):
        pass


def test_slots_may_move_between_primaries(cluster: RedisCluster, client: Any) -> None:
    replication = Replication(client, None, 2_000)
    replication.begin()
    giver, taker, _ = (Redis(port=node.port, decode_responses=True) for node in cluster.primaries())
    slots = [client.keyslot(key) for key in ["encore:flush:0", *KEYS]]
    ours = {one["node_id"]: one for one in giver.execute_command("CLUSTER NODES").values()}
    [range_] = ours[giver.execute_command("CLUSTER MYID")]["slots"]
    for slot in sorted({slot for slot in slots if int(range_[0]) <= slot <= int(range_[-1])}):
        source, target = (one.execute_command("CLUSTER MYID") for one in (giver, taker))
        taker.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source)
        giver.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target)
        keys = giver.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1_000)
        if keys:
            port = taker.connection_pool.connection_kwargs["port"]
            giver.execute_command("MIGRATE", "127.0.0.1", port, "", 0, 5_000, "KEYS", *keys)
        for one in (taker, giver):
            one.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target)
    poll_until(lambda: len(cluster.primaries()) == 3)

    def confirmed() -> bool:
        write(client, "moved")
        try:
            replication.confirm()
        except NotReplicatedError:  # its own key has moved: it takes another one
            return False
        return True

    poll_until(confirmed)


def test_a_restarted_primary_of_a_cluster_may_have_forgotten(cluster: RedisCluster, client: Any) -> None:
    replication = Replication(client, None, 2_000)
    replication.begin()
    write(client, "restart")
    node = cluster.primaries()[1]
    node.kill()
    node.start()
    poll_until(cluster.is_whole)
    with pytest.raises(UnavailableError) as raised:
        replication.confirm()
    if not isinstance(raised.value, FailedOverError):  # the first answer was that the connection is gone
        with pytest.raises(FailedOverError):
            replication.confirm()


@pytest.mark.long
def test_a_primary_with_a_replica(pair: tuple[Store, Store]) -> None:
    primary, replica = pair
    client = client_of(primary)
    replication = Replication(client, None, 200)
    replication.begin()
    client.set("k", "v")
    replication.confirm()
    stand_still(replica)
    with pytest.raises(NotReplicatedError, match="0 of 1 replicas"):
        replication.confirm()
    go_on(replica)
    replication.confirm()

    primary.kill()
    with pytest.raises(UnavailableError):
        replication.confirm()
    primary.start()
    with pytest.raises(FailedOverError):
        replication.confirm()
    with client_of(replica) as its:
        poll_until(lambda: its.info("replication")["master_link_status"] == "up")
    begin_anew(replication)
    client.set("k", "w")
    replication.confirm()

    client.replicaof("127.0.0.1", replica.port)
    with pytest.raises(FailedOverError):
        replication.confirm()
    with pytest.raises(UnavailableError, match="a replica and no primary"):
        replication.begin()
    client.close()


@pytest.mark.long
def test_replicas_of_a_primary_are_noticed_later(primary: Store, tmp_path: Path) -> None:
    clock = Clock()
    client = client_of(primary)
    replication = Replication(client, None, 100, monotonic=clock)
    replication.begin()
    replication.confirm()
    with Store(free_port(), tmp_path / "late") as replica, client_of(replica) as its:
        its.replicaof("127.0.0.1", primary.port)
        poll_until(lambda: client.info("replication")["connected_slaves"] == 1)
        poll_until(lambda: its.info("replication")["master_link_status"] == "up")
        stand_still(replica)
        replication.confirm()  # it has not looked again
        clock.now += 31
        # With its first replica a primary begins a new history: what is not committed is read again, once.
        with pytest.raises(FailedOverError):
            replication.confirm()
        replication.begin()
        with pytest.raises(NotReplicatedError):
            replication.confirm()
        go_on(replica)
        replication.confirm()
    poll_until(lambda: client.info("replication")["connected_slaves"] == 0)
    with pytest.raises(NotReplicatedError):
        replication.confirm()
    client.close()


def test_one_redis_without_replicas_is_not_asked(primary: Store) -> None:
    client = client_of(primary)

    def commands() -> int:
        return int(client.info("stats")["total_commands_processed"])

    replication = Replication(client, None)
    replication.begin()
    before = commands()
    for _ in range(10):
        replication.confirm()
        Replication(client, 0).confirm()
        NO_REPLICATION.begin()
        NO_REPLICATION.confirm()
    assert commands() == before + 1
    client.close()


def _answers(client: Any) -> bool:
    try:
        return all(client.get(key) for key in KEYS)
    except Exception:  # noqa: BLE001 - the failover is not over
        return False
