"""Apache Kafka, the embedded broker: KRaft, on disk, a single node or one of several."""

import base64
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from data.addresses import Address
from data.errors import ConfigurationError, UnavailableError
from server.process.broker import Broker
from server.process.java import find_java
from server.process.kafka_jars import KAFKA_VERSION, fetch_jars
from server.process.kafka_settings import CLUSTER_SETTINGS, NODE_SETTINGS, SINGLE_SETTINGS
from server.process.server_process import free_port, is_free, require_free_port

__all__ = ["KafkaBroker", "has_topics", "new_cluster_id"]

_JVM = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.net.preferIPv4Stack=true",
    "-Dorg.apache.logging.log4j.level=WARN",
    # Kafka unmaps files and its codecs load C libraries; Java 25 warns of both at every start.
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
)

_LEAST_FREE_BYTES = 64 * 1024 * 1024
"""Free space that Kafka needs: on a full disk it dies during its start, or in a write to a mapped file."""


def has_topics(folder: Path) -> bool:
    """Return whether a broker has stored topics in this folder."""
    return (folder / "data" / "meta.properties").exists()


class KafkaBroker(Broker):
    """One Apache Kafka broker that is a controller too. Topics and groups are stored in `folder`.

    `voters` are the controllers of all nodes by node id, its own among them, on whose host it listens; without it the
    broker is alone. All nodes of a cluster have the same `cluster_id`, which `new_cluster_id` makes.
    """

    environment = {"LC_ALL": "C.UTF-8"}  # noqa: RUF012 - else Java cannot name files that are not ASCII

    def __init__(
        self,
        port: int,
        folder: Path,
        *,
        advertised_port: int | None = None,
        patience_s: float = 60.0,
        jars: Path | None = None,
        node_id: int = 1,
        voters: Mapping[int, Address] | None = None,
        cluster_id: str | None = None,
    ) -> None:
        super().__init__(port, folder, advertised_port=advertised_port, patience_s=patience_s)
        self.jars = jars
        self.node_id = node_id
        # Only a cluster's nodes need to know the controller's port; a single broker uses any free one.
        self._is_alone = voters is None
        self._voters = voters or {node_id: Address(self.host, free_port())}
        self.host = self._voters[node_id].host
        self._cluster_id = cluster_id
        self._properties = self.folder / "server.properties"
        self._data = self.folder / "data"
        self._scratch = self.folder / "tmp"
        self._version_file = self.folder / "kafka.version"

    def _choose_again(self) -> bool:
        if not self._is_alone or is_free(*self._voters[self.node_id]):
            return False
        self._voters = {self.node_id: Address(self.host, free_port())}
        return True

    def _command(self) -> list[str]:
        return self._java("kafka.Kafka", self._properties.name)

    def _prepare(self) -> None:
        if full := self._full_disk():
            raise ConfigurationError(f"broker: {full}")
        voters, own = self._voters, self._voters[self.node_id]
        require_free_port("broker (its controller)", *own)
        self._check_data()
        settings = {
            "process.roles": "broker,controller",
            "node.id": str(self.node_id),
            "controller.quorum.voters": ",".join(f"{node}@{voter}" for node, voter in voters.items()),
            "listeners": f"BROKER://{self.host}:{self.port},CONTROLLER://{own}",
            "advertised.listeners": f"BROKER://{self.servers}",
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "BROKER",
            "controller.listener.names": "CONTROLLER",
            # Relative to its working directory: Kafka splits a path into a list at each comma.
            "log.dirs": self._data.name,
            **NODE_SETTINGS,
            **(SINGLE_SETTINGS if len(voters) == 1 else CLUSTER_SETTINGS),
        }
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        # Libraries that Kafka unpacks, left behind by a broker that was killed.
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir()
        if not has_topics(self.folder):
            self._format()
        self._version_file.write_text(KAFKA_VERSION + "\n")

    def _full_disk(self) -> str | None:
        free = shutil.disk_usage(self.folder).free
        if free >= _LEAST_FREE_BYTES:
            return None
        return (
            f"the disk of {self.folder} is full ({free // 2**20} MB free, {_LEAST_FREE_BYTES // 2**20} MB are needed); "
            "free some space, the topics stay as they are"
        )

    def _cause(self) -> str:
        full = self._full_disk()
        return f": {full}" if full else ""

    def _is_worth_reading(self, line: str) -> bool:
        return not line.startswith("\tat ")  # a line of a Java stack trace

    def _check_data(self) -> None:
        """Refuse data that is another node's, or newer than the jars, in one line where Kafka prints a hundred."""
        if not has_topics(self.folder):
            return
        meta = _read_properties(self._data / "meta.properties")
        for name, expected in (("node.id", str(self.node_id)), ("cluster.id", self._cluster_id)):
            if expected is not None and meta.get(name) != expected:
                raise ConfigurationError(
                    f"broker: the topics in {self.folder} have {name} {meta.get(name)}, not {expected}; they are "
                    "another broker's: choose another folder"
                )
        written_by = self._version_file.read_text().strip() if self._version_file.exists() else KAFKA_VERSION
        if _numbers(written_by) > _numbers(KAFKA_VERSION):
            raise ConfigurationError(
                f"broker: the topics in {self.folder} were kept by Apache Kafka {written_by}, and this is "
                f"{KAFKA_VERSION}; use the newer Encore again, or choose another folder"
            )

    def _format(self) -> None:
        # One argument, since one id in 64 begins with a minus sign and would be taken for an option.
        identity = f"--cluster-id={self._cluster_id or new_cluster_id()}"
        command = self._java("kafka.tools.StorageTool", "format", identity, "--config", self._properties.name)
        result = subprocess.run(  # noqa: S603 - ours
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.folder,
            check=False,
        )
        if result.returncode:
            raise UnavailableError(
                f"Apache Kafka: its storage in {self.folder} could not be formatted: {result.stderr or result.stdout}"
            )

    def _java(self, *arguments: str) -> list[str]:
        self.jars = self.jars or fetch_jars()
        scratch = f"-Djava.io.tmpdir={self._scratch.name}"
        return [str(find_java()), *_JVM, scratch, "-cp", f"{self.jars}/*", *arguments]


def new_cluster_id() -> str:
    """Return the id of a new cluster in Kafka's format: 16 random bytes in base64."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _read_properties(path: Path) -> dict[str, str]:
    lines = (line.partition("=") for line in path.read_text(errors="replace").splitlines() if not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in lines}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
