"""Several Apache Kafka brokers on one machine, as a cluster that survives the loss of one."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from server.process.kafka_broker import KafkaBroker, new_cluster_id
from server.process.server_process import free_port

__all__ = ["KafkaCluster"]


class KafkaCluster:
    """Three KRaft nodes, each broker and controller, with their data in folders of `folder`.

    Topics have three copies, of which two must take a message before it is acknowledged. `advertised_ports` are those
    of a proxy before each broker, `controller_ports` those of the nodes among themselves. Ports stay the same when a
    node is killed and started again.
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
        ids = (1, 2, 3)
        ports = ports or [free_port() for _ in ids]
        voters = dict(zip(ids, controller_ports or [free_port() for _ in ids], strict=True))
        cluster_id = new_cluster_id()
        self.nodes = [
            KafkaBroker(
                port,
                folder / str(node_id),
                advertised_port=advertised,
                patience_s=patience_s,
                jars=jars,
                node_id=node_id,
                voters=voters,
                cluster_id=cluster_id,
            )
            for node_id, port, advertised in zip(ids, ports, advertised_ports or ports, strict=True)
        ]

    @property
    def servers(self) -> str:
        """What a Kafka client calls bootstrap servers."""
        return ",".join(node.servers for node in self.nodes)

    def node(self, node_id: int) -> KafkaBroker:
        """The node of this id, as Kafka's metadata name it."""
        return next(node for node in self.nodes if node.node_id == node_id)

    def start(self) -> None:
        """Start the nodes that do not run and wait for them: none answers before most of them are there."""
        try:
            down = [node for node in self.nodes if not node.alive]
            for node in down:
                node.launch()
            for node in down:
                node.wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all nodes at once: one alone would wait for the others to take its partitions. Safe to repeat."""
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
