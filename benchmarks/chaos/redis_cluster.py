"""A Redis Cluster, with or without replicas, set up by a few commands: on this machine, or on hosts of a network."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import redis
from redis.cluster import ClusterNode

from chaos.hosts.network import Host
from chaos.hosts.placed import Placed
from features.state.online.cluster import LateCluster
from server.process.server_process import free_port, is_free
from server.process.store import Store

__all__ = ["BUSY_NODE_TIMEOUT_MS", "Node", "RedisCluster"]

BUSY_NODE_TIMEOUT_MS = 1_500
"""Node timeout for a machine that much else runs on: there a healthy node may be silent for a second."""

_SLOTS = 16_384
_PATIENCE_S = 60.0


class Node(Placed, Store):
    """A store that is a cluster node. It answers PING even before it knows its neighbours.

    It listens on `port`, by default a free one, and on another free one for the other nodes. Clients and its replicas
    get `announced_port`: that of a proxy in front of the node. The others consider a node dead that is silent for
    `timeout_ms`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        announced_port: int | None = None,
        timeout_ms: int = 1_000,
        machine: Host | None = None,
    ) -> None:
        super().__init__(port or free_port(), folder)
        if machine is not None:
            self.machine, self.host = machine, machine.address
        self.bus_port = free_port()
        self._named_port = port
        self._announced_port = announced_port
        self._timeout_ms = timeout_ms

    @property
    def announced_port(self) -> int:
        """The port that clients get."""
        return self._announced_port or self.port

    def _choose_again(self) -> bool:
        is_port_taken = self._named_port is None and not is_free(self.host, self.port)
        is_bus_taken = not is_free(self.host, self.bus_port)
        if is_port_taken:
            self.port = free_port()
        if is_bus_taken:
            self.bus_port = free_port()
        return is_port_taken or is_bus_taken

    def _command(self) -> list[str]:
        settings = {
            "cluster-enabled": "yes",
            "cluster-port": self.bus_port,
            "cluster-announce-port": self.announced_port,
            "cluster-announce-bus-port": self.bus_port,
            "cluster-node-timeout": self._timeout_ms,
            # A shard keeps its own replica, even while another shard has none.
            "cluster-allow-replica-migration": "no",
            "repl-diskless-sync-delay": 0,
            # Without a password Redis answers its own host only.
            "protected-mode": "no" if self.machine else "yes",
        }
        return [*super()._command(), *(word for name, value in settings.items() for word in (f"--{name}", f"{value}"))]


class RedisCluster:
    """`shards` primaries with `replicas` each, started and configured with their key slots.

    `ports`: the ports that the nodes listen on and announce, primaries first; by default each chooses a free one.
    `hosts`, if given: the host of each node, primaries first.
    """

    def __init__(
        self,
        folder: Path,
        *,
        shards: int = 3,
        replicas: int = 0,
        timeout_ms: int = 1_000,
        ports: list[tuple[int, int]] | None = None,
        hosts: Sequence[Host] = (),
    ) -> None:
        self._shards = shards
        self._replicas = replicas
        of_all = range(shards * (1 + replicas))
        given_ports: Sequence[tuple[int | None, int | None]] = ports or [(None, None) for _ in of_all]
        given_hosts: Sequence[Host | None] = hosts or [None for _ in of_all]
        self.nodes = [
            Node(folder / str(number), port=port, announced_port=announced, timeout_ms=timeout_ms, machine=host)
            for number, (port, announced), host in zip(of_all, given_ports, given_hosts, strict=True)
        ]
        self._clients: list[Any] = []

    def start(self) -> None:
        """Start all nodes and wait until they are one cluster."""
        for node in self.nodes:
            node.start()
        clients = self._clients = [
            redis.Redis(host=node.host, port=node.port, socket_timeout=1.0, decode_responses=True)
            for node in self.nodes
        ]
        for number, client in enumerate(clients):
            if number < self._shards:
                first, last = (_SLOTS * n // self._shards for n in (number, number + 1))
                client.execute_command("CLUSTER ADDSLOTSRANGE", first, last - 1)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            clients[0].execute_command("CLUSTER MEET", node.host, node.announced_port, node.bus_port)
        self._await(lambda: all(len(client.execute_command("CLUSTER NODES")) == len(clients) for client in clients))
        ids = [client.execute_command("CLUSTER MYID") for client in clients[: self._shards]]
        for number, client in enumerate(clients[self._shards :]):
            primary = ids[number % self._shards]
            self._await(lambda client=client, primary=primary: _replicates(client, primary))
        self._await(self.is_whole)

    def stop(self) -> None:
        """Stop all nodes."""
        for client in self._clients:
            client.close()
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(Node.stop, self.nodes))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def client(self, timeout_s: float) -> LateCluster:
        """Return a client of any node that answers, which bypasses a proxy."""
        behind = {node.announced_port: (node.host, node.port) for node in self.nodes}
        return LateCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in behind.values()],
            address_remap=lambda address: behind.get(address[1], address),
            socket_timeout=timeout_s,
        )

    def is_whole(self) -> bool:
        """Return whether every node runs and knows all others, and every primary has its replicas in sync."""
        if not all(node.alive for node in self.nodes):
            return False
        try:
            return all(self._is_well(client) for client in self._clients)
        except redis.RedisError:
            return False

    def primaries(self) -> list[Node]:
        """Return the nodes that hold keys now, in order of slots; empty while the nodes that answer disagree."""
        views = []
        for node, client in zip(self.nodes, self._clients, strict=True):
            if node.alive:
                with suppress(redis.RedisError):
                    views.append(
                        sorted((int(slots[0]), int(slots[2][1])) for slots in client.execute_command("CLUSTER SLOTS"))
                    )
        if not views or any(view != views[0] for view in views):
            return []
        by_port = {node.announced_port: node for node in self.nodes}
        return list(dict.fromkeys(by_port[port] for _, port in views[0]))

    def replicas_of(self, primary: Node) -> list[Node]:
        """Return the nodes that have a copy of a primary's keys."""
        client = self._clients[self.nodes.index(primary)]
        replicas = client.execute_command("CLUSTER REPLICAS", client.execute_command("CLUSTER MYID"))
        ports = {int(address.rpartition(":")[2]) for address in replicas}
        return [node for node in self.nodes if node.announced_port in ports]

    def forsake(self, primary: Node) -> Callable[[], None]:
        """Stop a primary's replicas and cut them off, so that they lack its writes from now on.

        Returns a function that lets them continue, to be called when the primary is dead.
        """
        replicas = [node for node in self.replicas_of(primary) if node.pid]
        for node in replicas:
            os.kill(node.pid or 0, signal.SIGSTOP)
        # Data in the connection would still arrive, even after the primary's death.
        self._clients[self.nodes.index(primary)].execute_command("CLIENT", "KILL", "TYPE", "replica")

        def go_on() -> None:
            for node in replicas:
                if node.pid:
                    os.kill(node.pid, signal.SIGCONT)

        return go_on

    def _is_well(self, client: Any) -> bool:
        state = client.execute_command("CLUSTER INFO")
        role, *rest = client.execute_command("ROLE")
        if state["cluster_state"] != "ok" or int(state["cluster_known_nodes"]) != len(self.nodes):
            return False
        return len(rest[1]) == self._replicas if role == "master" else rest[2] == "connected"

    def _await(self, condition: Any) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the nodes in {self.nodes[0].folder.parent} do not become a cluster")
            time.sleep(0.05)


def _replicates(client: Any, primary: str) -> bool:
    """Make a node a replica; return False while it does not know its primary."""
    try:
        client.execute_command("CLUSTER REPLICATE", primary)
    except redis.ResponseError:
        return False
    return True
