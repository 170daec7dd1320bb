"""The store and the broker of a run, each one node or a cluster, with a proxy in front of every node.

A client gets one address, which leads to any live node, and from that node the addresses of all others.
"""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, cast

import redis

from chaos.kafka_cluster import KafkaCluster
from chaos.redis_cluster import BUSY_NODE_TIMEOUT_MS, Node, RedisCluster
from data.project import PROJECT
from events.kafka.topics import EVENTS_TOPIC
from features.state.editions.editions import Editions
from features.state.editions.standing import Edition
from server.process.kafka_broker import KafkaBroker
from server.process.server_process import LOOPBACK, ServerProcess, free_port
from server.process.store import Store

__all__ = ["Brokers", "Servers", "Stores", "live_space"]

_SHARDS = 3


class Servers(Protocol):
    """One node or a cluster: started, stopped, and deprived of a node so that the others take over."""

    links: dict[str, tuple[int, list[int]]]
    """By name: the port that a proxy listens on, and the ports behind it, of which the first that answers is used."""
    environment: dict[str, str]
    """Environment for its clients, through the proxy."""
    is_cluster: bool

    def start(self) -> None:
        """Start all nodes."""

    def stop(self) -> None:
        """Stop all nodes."""

    def victim(self, number: int) -> ServerProcess | None:
        """Return the node that leads shard or partition `number`; None while the others could not take over."""

    def kill(self, node: ServerProcess, unheard_s: float) -> None:
        """SIGKILL; in a cluster the others do not receive the node's writes of its last `unheard_s`."""

    def is_replaced(self, node: ServerProcess) -> bool:
        """Return whether others have taken over everything that a dead node led."""


class Stores:
    """One Redis, or a Redis Cluster of three primaries with a replica each."""

    def __init__(self, folder: Path, *, is_cluster: bool) -> None:
        self.is_cluster = is_cluster
        service = free_port()
        self.environment = {
            "REDIS_HOST": LOOPBACK,
            "REDIS_PORT": str(service),
            "REDIS_CLUSTER": str(is_cluster).lower(),
        }
        if not is_cluster:
            self._all: Store | RedisCluster = Store(free_port(), folder)
            self.links = {"redis": (service, [self._all.port])}
            return
        ports = [(free_port(), free_port()) for _ in range(2 * _SHARDS)]
        self._all = RedisCluster(folder, shards=_SHARDS, replicas=1, timeout_ms=BUSY_NODE_TIMEOUT_MS, ports=ports)
        self.links = {"redis": (service, [port for port, _ in ports])}
        self.links |= {f"redis-{number}": (announced, [port]) for number, (port, announced) in enumerate(ports)}

    def start(self) -> None:
        """Start all nodes."""
        self._all.start()

    def stop(self) -> None:
        """Stop all nodes."""
        self._all.stop()

    def victim(self, number: int) -> ServerProcess | None:
        """Return the primary of a shard; None while a node is down or not in sync with its primary."""
        if isinstance(self._all, Store):
            return self._all if self._all.alive else None
        primaries = self._all.primaries() if self._all.is_whole() else []
        return primaries[number % len(primaries)] if primaries else None

    def kill(self, node: ServerProcess, unheard_s: float) -> None:
        """SIGKILL; a replica is suspended and cut off for `unheard_s` before, so that it lacks the writes meanwhile."""
        with ExitStack() as stack:
            if isinstance(self._all, RedisCluster) and unheard_s:
                stack.callback(self._all.forsake(cast("Node", node)))
                time.sleep(unheard_s)
            node.kill()

    def is_replaced(self, node: ServerProcess) -> bool:
        """Return whether the replica of a dead primary is a primary; a single Redis is not replaced."""
        primaries = self._all.primaries() if isinstance(self._all, RedisCluster) else []
        return bool(primaries) and node not in primaries

    def client(self, timeout_s: float) -> Any:
        """Return a client that bypasses the proxy."""
        if isinstance(self._all, Store):
            return redis.Redis(port=self._all.port, socket_timeout=timeout_s)
        return self._all.client(timeout_s)


class Brokers:
    """Apache Kafka with one node, or with three that are brokers and controllers."""

    def __init__(self, folder: Path, *, is_cluster: bool) -> None:
        self.is_cluster = is_cluster
        service = free_port()
        self.servers = f"{LOOPBACK}:{service}"
        self.environment = {"KAFKA_SERVERS": self.servers}
        if not is_cluster:
            self._all: KafkaBroker | KafkaCluster = KafkaBroker(free_port(), folder, advertised_port=service)
            self.links = {"kafka": (service, [self._all.port])}
            return
        ports, advertised, controllers = ([free_port() for _ in range(3)] for _ in range(3))
        self._all = KafkaCluster(folder, ports=ports, advertised_ports=advertised, controller_ports=controllers)
        self.links = {"kafka": (service, ports)}
        self.links |= {
            f"kafka-{node.node_id}": (proxy, [port])
            for node, proxy, port in zip(self._all.nodes, advertised, ports, strict=True)
        }

    def start(self) -> None:
        """Start all nodes."""
        self._all.start()

    def stop(self) -> None:
        """Stop all nodes."""
        self._all.stop()

    def victim(self, number: int) -> ServerProcess | None:
        """Return the leader of a partition of the events; None while a node is down or behind in any partition."""
        if isinstance(self._all, KafkaBroker):
            return self._all if self._all.alive else None
        topics = self._all.topics_if_whole()
        if EVENTS_TOPIC not in topics:
            return None
        events = topics[EVENTS_TOPIC].partitions
        return self._all.node(events[number % len(events)].leader)

    def kill(self, node: ServerProcess, unheard_s: float) -> None:  # noqa: ARG002 - only Redis loses writes
        """SIGKILL."""
        node.kill()

    def is_replaced(self, node: ServerProcess) -> bool:
        """Return whether every partition has a live leader; a single broker is not replaced."""
        if isinstance(self._all, KafkaBroker):
            return False
        leaders = {part.leader for topic in self._all.topics().values() for part in topic.partitions.values()}
        return bool(leaders) and min(leaders) >= 0 and all(self._all.node(leader) is not node for leader in leaders)


def live_space(client: Any) -> str:
    """Return the name in the keys of the live states: a rebuild makes another edition of them."""
    return (Editions(client, PROJECT).live() or Edition()).space(PROJECT)
