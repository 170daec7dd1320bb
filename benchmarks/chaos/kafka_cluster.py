"""Several Apache Kafka brokers on one machine, as a cluster that survives the loss of one."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from data.errors import EncoreError
from server.process.kafka_broker import KafkaBroker, new_cluster_id
from server.process.server_process import LOOPBACK, free_port, is_free

__all__ = ["KafkaCluster"]

_IDS = (1, 2, 3)


class KafkaCluster:
    """Three KRaft nodes, each broker and controller, with their data in subfolders of `folder`.

    Topics have three copies, of which two must take a message before it is acknowledged. `advertised_ports` are those
    of a proxy in front of each broker, `controller_ports` those between the nodes. Ports stay the same when a
    node is killed and restarted.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ports: Sequence[int] | None = None,
        advertised_ports: Sequence[int] | None = None,
        controller_ports: Sequence[int] | None = None,
        jars: Path | None = None,
        patience_s: float = 120.0,
    ) -> None:
        self._folder = folder
        self._ports = ports
        self._advertised_ports = advertised_ports
        self._controller_ports = controller_ports
        self._jars = jars
        self._patience_s = patience_s
        self._cluster_id = new_cluster_id()
        self.nodes = self._new_nodes()

    def _new_nodes(self) -> list[KafkaBroker]:
        """Return the nodes, on free ports unless ports were given."""
        ports = self._ports or [free_port() for _ in _IDS]
        controllers = self._controller_ports or [free_port() for _ in _IDS]
        self._chosen = {*ports, *controllers} - {*(self._ports or ()), *(self._controller_ports or ())}
        voters = dict(zip(_IDS, controllers, strict=True))
        return [
            KafkaBroker(
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

    @property
    def servers(self) -> str:
        """The bootstrap servers for Kafka clients."""
        return ",".join(node.servers for node in self.nodes)

    def node(self, node_id: int) -> KafkaBroker:
        """Return the node with this id, as in Kafka's metadata."""
        return next(node for node in self.nodes if node.node_id == node_id)

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
