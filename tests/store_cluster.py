"""A Redis Cluster of three nodes on this machine, without replicas, made by a few commands."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from polling import poll_until
from redis import Redis

from server.process.server_process import free_port
from server.process.store import Store

__all__ = ["running_cluster"]

_SLOTS = 16_384
_NODES = 3


class _Node(Store):
    """A store that is a node. Its answer to PING is as good before it knows its neighbours."""

    def _command(self) -> list[str]:
        return [*super()._command(), "--cluster-enabled", "yes", "--cluster-port", str(free_port())]


@contextmanager
def running_cluster(folder: Path) -> Iterator[list[Store]]:
    """The nodes, started and agreed with each other on who holds which keys."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(_Node(free_port(), folder / str(number))) for number in range(_NODES)]
        clients = [stack.enter_context(Redis(host=node.host, port=node.port)) for node in nodes]
        for number, client in enumerate(clients):
            first, last = (_SLOTS * n // _NODES for n in (number, number + 1))
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, last - 1)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for node, client in zip(nodes[1:], clients[1:], strict=True):
            port = client.config_get("cluster-port")["cluster-port"]
            clients[0].execute_command("CLUSTER MEET", node.host, node.port, port)
        poll_until(lambda: all(_is_whole(client) for client in clients), 30)
        yield nodes


def _is_whole(client: "Redis[bytes]") -> bool:
    info = client.execute_command("CLUSTER INFO")
    found = info if isinstance(info, dict) else dict(line.split(":") for line in info.decode().split())
    return found["cluster_state"] == "ok" and int(found["cluster_known_nodes"]) == _NODES
