"""A server that is started on a host of a network."""

from contextlib import nullcontext

from chaos.hosts.network import Host
from server.process.server_process import ServerProcess

__all__ = ["Placed"]


class Placed(ServerProcess):
    """A server on `machine`, or on this one where that is None. Mixed in before the kind of server."""

    machine: Host | None = None

    def launch(self) -> None:
        """Start the server there, without waiting for it."""
        with self.machine.inside() if self.machine else nullcontext():
            super().launch()
