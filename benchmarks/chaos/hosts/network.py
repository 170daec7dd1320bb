"""Hosts as network namespaces: each has an address, and a cable to one switch, which can be unplugged.

It needs Linux, root and `ip`. All of it lies in namespaces of its own, the addresses too: this machine's network is not
touched.
"""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

__all__ = ["Host", "Network", "lack"]

_NETWORKS = Path("/run/netns")
_CLONE_NEWNET = 0x4000_0000


def lack() -> str:
    """Why there can be no hosts here, in words; empty where there can be."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "hosts are network namespaces, which root makes on Linux"
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return "hosts need the commands ip (Debian's iproute2) and unshare"
    return ""


class Host:
    """A host of a network, by name and address."""

    def __init__(self, name: str, address: str, network: "Network", number: int) -> None:
        self.name = name
        self.address = address
        self._network = network
        self._number = number

    def __repr__(self) -> str:
        return f"Host({self.name}, {self.address})"

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Have this thread on the host: sockets that it opens, and processes and threads that it starts, stay there."""
        with _entered(self._network.namespace(self._number)):
            yield

    def unplug(self) -> None:
        """Pull the cable: packets are dropped, and nobody is told."""
        self._network.switch_port(self._number, "down")

    def plug(self) -> None:
        """Put the cable back."""
        self._network.switch_port(self._number, "up")


class Network:
    """A switch and its hosts, by name. Within the `with`, this thread and those it starts stand at the switch."""

    def __init__(self, names: Sequence[str]) -> None:
        self._switch = f"encore-hosts-{os.getpid()}"
        self.hosts = {name: Host(name, f"10.77.0.{number}", self, number) for number, name in enumerate(names, 1)}
        self._stack = ExitStack()

    def namespace(self, number: int) -> str:
        """Return the name of a host's namespace."""
        return f"{self._switch}-{number}"

    def switch_port(self, number: int, state: str) -> None:
        """Set a port of the switch "up" or "down"."""
        _ip("-n", self._switch, "link", "set", f"port{number}", state)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._add(stack, self._switch)
            _ip("-n", self._switch, "link", "add", "switch", "type", "bridge")
            _ip("-n", self._switch, "addr", "add", "10.77.0.254/24", "dev", "switch")
            _ip("-n", self._switch, "link", "set", "switch", "up")
            for number, host in enumerate(self.hosts.values(), 1):
                self._connect(stack, number, host)
            stack.enter_context(_entered(self._switch))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _connect(self, stack: ExitStack, number: int, host: Host) -> None:
        far, port = self.namespace(number), f"port{number}"
        self._add(stack, far)
        _ip("-n", self._switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", far)
        _ip("-n", self._switch, "link", "set", port, "master", "switch", "up")
        _ip("-n", far, "addr", "add", f"{host.address}/24", "dev", "eth0")
        _ip("-n", far, "link", "set", "eth0", "up")

    def _add(self, stack: ExitStack, namespace: str) -> None:
        _ip("netns", "add", namespace)
        stack.callback(_ip, "netns", "del", namespace)
        _ip("-n", namespace, "link", "set", "lo", "up")


@contextmanager
def _entered(namespace: str) -> Iterator[None]:
    """Have this thread in a network namespace, and then back where it was."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        within = os.open(_NETWORKS / namespace, os.O_RDONLY)
        try:
            _set_network(within)
        finally:
            os.close(within)
        try:
            yield
        finally:
            _set_network(before)
    finally:
        os.close(before)


def _set_network(descriptor: int) -> None:
    # `os.setns` is there from Python 3.12 on.
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
