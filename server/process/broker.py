"""The interface of the embedded brokers: how a Kafka client reaches one."""

import socket
import struct
from pathlib import Path

from server.process.server_process import ServerProcess

__all__ = ["Broker"]

# Kafka's ApiVersions request (key 18, version 0, correlation id 1, no client id), which every broker answers first.
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)


class Broker(ServerProcess):
    """A Kafka broker on loopback.

    Clients are directed to `advertised_port` after their first connection: that of a proxy before the broker.
    """

    def __init__(
        self, port: int, folder: Path, *, advertised_port: int | None = None, patience_s: float = 30.0
    ) -> None:
        super().__init__("broker", port, folder, patience_s)
        self.advertised_port = advertised_port or port

    @property
    def servers(self) -> str:
        """The bootstrap servers for a Kafka client."""
        return f"{self.host}:{self.advertised_port}"

    def _answers(self, connection: socket.socket) -> bool:
        connection.sendall(_API_VERSIONS)
        return len(connection.recv(8)) == 8
