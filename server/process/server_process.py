"""A server as a child process on this machine: started, watched until it answers, stopped.

Each is in a session of its own, so that a Ctrl-C in the terminal reaches the runner alone, which stops them in order.
On Linux the kernel stops them when the thread that started them ends, however it ends.
"""

import errno
import secrets
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Self

from data.addresses import Address
from data.errors import ConfigurationError, UnavailableError
from data.lock import open_lock
from server.output_file import OutputFile
from server.process.child import spawn, stop_child

__all__ = ["LOOPBACK", "ServerProcess", "free_port", "is_free", "require_free_port"]

LOOPBACK = "127.0.0.1"

_PORTS = range(10_000, 65_536)
_EPHEMERAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port(host: str = LOOPBACK, among: Sequence[int] = _PORTS) -> int:
    """Return a TCP port on which nothing listens, and which this function returns to no other caller.

    While this process runs, neither it nor another process on this machine is given the port again. Nor does the
    kernel give it to an outgoing connection, so it stays free until its server starts and while that is down.
    """
    candidates = _outside_ephemeral(among)
    start = secrets.randbelow(len(candidates))
    for port in candidates[start:] + candidates[:start]:
        if is_free(host, port) and _claim(port):
            return port
    raise ConfigurationError(f"no free port on {host} among {len(candidates)}; stop programs that listen there")


def _outside_ephemeral(ports: Sequence[int]) -> list[int]:
    """Return those of `ports` outside the kernel's range for outgoing connections; all of them if none is."""
    try:
        low, high = map(int, _EPHEMERAL_PORTS.read_text().split())
    except OSError:
        low, high = 49_152, 65_535  # IANA's range, which other systems keep to
    return [port for port in ports if not low <= port <= high] or list(ports)


def _claim(port: int) -> bool:
    """Reserve a port among callers of `free_port`, until this process ends; return whether it was unreserved.

    The reservation is a UDP socket of the same number, which blocks no server (on TCP). It is never closed.
    """
    claim = socket.socket(type=socket.SOCK_DGRAM)
    try:
        claim.bind((LOOPBACK, port))
    except OSError:
        claim.close()
        return False
    claim.detach()
    return True


def is_free(host: str, port: int) -> bool:
    """Return whether a server could listen there now."""
    try:
        require_free_port("probe", host, port)
    except ConfigurationError:
        return False
    return True


def require_free_port(name: str, host: str, port: int) -> None:
    """Raise ConfigurationError unless the server `name` could listen there now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # SO_REUSEADDR, as servers set it: a port with connections in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ConfigurationError(
                    f"{name}: port {port} on {host} is in use; stop the program that listens there, or choose another "
                    "port"
                ) from error
            raise ConfigurationError(
                f"{name}: cannot listen on {Address(host, port)} ({error}); choose another port"
            ) from error


class ServerProcess:
    """One server process. A subclass defines its command and how to check that it answers."""

    environment: Mapping[str, str] | None = {}
    """The child's environment: empty, so that a variable meant for another program (Tansu reads `STORAGE_ENGINE`, for
    example) cannot change how the server runs. None inherits this process's."""

    def __init__(self, name: str, port: int, folder: Path, patience_s: float) -> None:
        self.name = name
        self.host = LOOPBACK
        self.port = port
        self.folder = folder.resolve()
        self.log_path = self.folder / f"{name}.log"
        self.output = OutputFile(self.log_path)
        self._patience_s = patience_s
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises ConfigurationError if the port or folder is taken or nothing can be run; UnavailableError, with the last
        lines of the log, if the server dies or does not answer in time. If another program took a port that the server
        had chosen by itself, it tries again with another.
        """
        while not self.alive:
            try:
                self.launch()
                self.wait()
            except (ConfigurationError, UnavailableError):
                if not self._choose_again():
                    raise

    def launch(self) -> None:
        """Start the server without waiting for it (`wait` does). Raises ConfigurationError as `start`."""
        self.stop()
        command = self._command()
        self.folder.mkdir(parents=True, exist_ok=True)
        require_free_port(f"{self.name}", self.host, self.port)
        try:
            self._lock = self._locked_folder()
            self._prepare()
            self._process = self._spawn(command, self._lock.fileno())
        except BaseException:
            self.stop()
            raise

    def wait(self) -> None:
        """Wait until the launched server answers. Stops it and raises UnavailableError if it dies or does not."""
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self._process.pid if self._process is not None and self.alive else None

    def check(self) -> None:
        """Raise UnavailableError, with the last lines of its log, unless the process runs."""
        if self._process is None:
            raise UnavailableError(f"{self.name}: not started")
        self.output.keep_short()
        code = self._process.poll()
        if code is not None:
            raise UnavailableError(
                f"{self.name}: the process ended (exit code {code}){self._cause()}; its log {self.output.path} ends:\n"
                f"{self.output.tail(is_worthy=self._is_worth_reading)}"
            )

    def ask_to_stop(self) -> None:
        """Ask the process to end, without waiting (`stop` does)."""
        if self._process is not None:
            self._process.terminate()

    def stop(self, grace_s: float = 10.0) -> None:
        """Ask the process to end, kill it after `grace_s` seconds, and wait until it is gone. Safe to repeat."""
        process, self._process = self._process, None
        try:
            if process is not None:
                stop_child(process, grace_s)
        finally:
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def kill(self) -> None:
        """Kill the process, as a crash would, and wait until it is gone. `start` starts it again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _choose_again(self) -> bool:
        """Replace ports that the server chose itself and that are taken now. Return whether there were any."""
        return False

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _prepare(self) -> None:
        """Make the files that the server needs in its folder, which is locked by then."""

    def _answers(self, connection: socket.socket) -> bool:
        raise NotImplementedError

    def _cause(self) -> str:
        """Return why the process ended, if known beyond its log: words that follow its exit code."""
        return ""

    def _is_worth_reading(self, line: str) -> bool:  # noqa: ARG002 - a subclass knows its log
        """Return whether a line of the log belongs into a message."""
        return True

    def _locked_folder(self) -> IO[bytes]:
        """Lock the folder: two stores appending to one file would destroy it, whatever their ports.

        The child inherits the lock, so it lasts as long as the child does.
        """
        try:
            return open_lock(self.folder / f"{self.name}.lock", wait=False)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"{self.name}: another one is running in {self.folder}; stop it, or choose another folder"
            ) from error

    def _spawn(self, command: list[str], lock: int) -> subprocess.Popen[bytes]:
        with self.output.open() as log:
            return spawn(command, log, environment=self.environment, folder=self.folder, keep=(lock,))

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
                    f"{self.name}: no answer on {self.host}:{self.port} after {self._patience_s:g} s; its "
                    f"log {self.output.path} ends:\n{self.output.tail(is_worthy=self._is_worth_reading)}"
                )
            time.sleep(0.02)
