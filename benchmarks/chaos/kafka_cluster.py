"""Three Apache Kafka brokers, of which one may be lost: on this machine, or on hosts of a network."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from chaos.hosts.network import Host
from chaos.hosts.placed import Placed
from data.addresses import Address
from data.errors import EncoreError
from server.process.kafka_broker import KafkaBroker, new_cluster_id
from server.process.server_process import LOOPBACK, free_port, is_free

__all__ = ["KafkaCluster"]

_IDS = (1, 2, 3)


class _Node(Placed, KafkaBroker):
    pass


class KafkaCluster:
    """Three KRaft nodes, each broker and controller, with their data in subfolders of `folder`.

    Topics have three copies, of which two must take a message before it is acknowledged. `advertised_ports` are those
    of a proxy in front of each broker, `controller_ports` those between the nodes. Ports stay the same when a
    node is killed and restarted. Each node runs on its own of `hosts`, if they are given.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ports: Sequence[int] | None = None,
        advertised_ports: Sequence[int] | None = None,
        controller_ports: Sequence[int] | None = None,
        hosts: Sequence[Host] = (),
        jars: Path | None = None,
        patience_s: float = 120.0,
    ) -> None:
        self._folder = folder
        self._ports = ports
        self._advertised_ports = advertised_ports
        self._controller_ports = controller_ports
        self._hosts: Sequence[Host | None] = hosts or [None] * len(_IDS)
        self._jars = jars
        self._patience_s = patience_s
        self._cluster_id = new_cluster_id()
        self._admin: Any = None
        self.nodes = self._new_nodes()

    def _new_nodes(self) -> list[_Node]:
        """Return the nodes, on free ports unless ports were given."""
        ports = self._ports or [free_port() for _ in _IDS]
        controllers = self._controller_ports or [free_port() for _ in _IDS]
        self._chosen = {*ports, *controllers} - {*(self._ports or ()), *(self._controller_ports or ())}
        addresses = [host.address if host else LOOPBACK for host in self._hosts]
        voters = dict(zip(_IDS, map(Address, addresses, controllers), strict=True))
        nodes = [
            _Node(
                port,
                self._folder / str(node_id),
                advertised_port=advertised,
                patience_s=self._patience_s,
                jars=self._jars,
                node_id=node_id,
                voters=voters,
                cluster_id=self._cluster_id,
            )
            for node_id, port, advertised in zip(_IDS, ports, self._advertised_ports or ports, strict=True)
        ]
        for node, host in zip(nodes, self._hosts, strict=True):
            node.machine = host
        return nodes

    @property
    def servers(self) -> str:
        """The bootstrap servers for Kafka clients."""
        return ",".join(node.servers for node in self.nodes)

    def node(self, node_id: int) -> KafkaBroker:
        """Return the node with this id, as in Kafka's metadata."""
        return next(node for node in self.nodes if node.node_id == node_id)

    def topics(self) -> dict[str, Any]:
        """Return what any live node says of all topics, by name; empty if none answers. Bypasses a proxy."""
        if self._admin is None:
            nodes = ",".join(f"{node.host}:{node.port}" for node in self.nodes)
            self._admin = AdminClient({"bootstrap.servers": nodes, "log_level": 0})
        with suppress(KafkaException):
            return dict(self._admin.list_topics(timeout=2.0).topics)
        return {}

    def topics_if_whole(self) -> dict[str, Any]:
        """Return all topics; none while a node is down or behind in any partition."""
        if not all(node.alive for node in self.nodes):
            return {}
        topics = self.topics()
        partitions = [partition for topic in topics.values() for partition in topic.partitions.values()]
        return {} if any(len(p.isrs) < len(p.replicas) or p.leader < 0 for p in partitions) else topics

    def start(self) -> None:
        """Start the nodes that do not run and wait for them: none answers before a majority runs.

        If another program took a port that was chosen here, all start again on other ports.
        """
        try:
            down = [node for node in self.nodes if not node.alive]
            for node in down:
                node.launch()
            for node in down:
                node.wait()
        except BaseException as error:
            self.stop()
            is_port_taken = not all(is_free(LOOPBACK, port) for port in self._chosen)
            if not (is_port_taken and isinstance(error, EncoreError)):
                raise
            self.nodes = self._new_nodes()
            self.start()

    def stop(self) -> None:
        """Stop all nodes at once: a single one would wait for the others to take its partitions. Safe to repeat."""
        for node in self.nodes:
            node.ask_to_stop()
        for node in self.nodes:
            node.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
