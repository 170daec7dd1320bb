"""Apache Kafka itself on one machine, without containers: one KRaft broker, its log on disk.

It is the second choice beside the embedded broker (`encore up --kafka apache`) and the reference for tests: it keeps
its topics over a restart. It needs Java 17 and, the first time, Maven, which brings its jars from Maven Central.
"""

import base64
import fcntl
import hashlib
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

from data.errors import ConfigurationError, UnavailableError
from features.java import check_java, java
from server.process.embedded import Broker
from server.process.server_process import free_port

__all__ = ["ApacheKafka", "fetch_jars"]

_POM = Path(__file__).with_name("kafka_broker_pom.xml")

_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"

_MAVEN_PATIENCE_S = 600

_JVM = (
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Djava.net.preferIPv4Stack=true",
    "-Dorg.apache.logging.log4j.level=WARN",
)
"""A small broker that starts in two seconds."""


def fetch_jars(cache: Path | None = None) -> Path:
    """The folder of Kafka's jars, which Maven fills the first time; `cache` is by default the user's cache folder.

    ConfigurationError, in words, where Java or Maven is missing; UnavailableError where Maven cannot fetch them.
    """
    check_java("Apache Kafka")
    cache = cache or Path.home() / ".cache" / "encore"
    # A change of the pom is another folder.
    jars = cache / f"apache-kafka-{hashlib.sha256(_POM.read_bytes()).hexdigest()[:12]}"
    if jars.is_dir():
        return jars
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "apache-kafka.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.is_dir():
            _copy_jars(cache, jars)
    return jars


def _copy_jars(cache: Path, jars: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ConfigurationError(
            "Apache Kafka: there is no Maven here to fetch its jars; install it (Debian, Ubuntu: apt install maven), "
            "or use the embedded broker (`--kafka tansu`)"
        )
    scratch = Path(tempfile.mkdtemp(prefix=".apache-kafka-", dir=cache))
    try:
        command = [maven, "-B", "-q", "-f", str(_POM), _COPY, "-DincludeScope=runtime", f"-DoutputDirectory={scratch}"]
        done = subprocess.run(  # noqa: S603 - the command is ours
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_MAVEN_PATIENCE_S, check=False
        )
        if done.returncode:
            reason = next((line for line in done.stdout.splitlines() if "ERROR" in line), "it says nothing")
            raise UnavailableError(f"Apache Kafka: Maven could not fetch its jars ({reason}); check the network")
        scratch.rename(jars)
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(
            f"Apache Kafka: Maven did not fetch its jars within {_MAVEN_PATIENCE_S} s; check the network"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class ApacheKafka(Broker):
    """One Apache Kafka broker that is its own controller. Topics and groups live in `folder` and outlast it."""

    # Java is found by JAVA_HOME and PATH.
    environment: Mapping[str, str] | None = None

    def __init__(
        self,
        port: int,
        folder: Path,
        *,
        advertised_port: int | None = None,
        patience_s: float = 60.0,
        jars: Path | None = None,
    ) -> None:
        super().__init__(port, folder, advertised_port=advertised_port, patience_s=patience_s)
        self._jars = jars

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    def _command(self) -> list[str]:
        return self._java("kafka.Kafka", str(self._properties))

    def _prepare(self) -> None:
        data = self.folder / "data"
        controller = free_port(self.host)
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{self.host}:{controller}",
            "listeners": f"BROKER://{self.host}:{self.port},CONTROLLER://{self.host}:{controller}",
            "advertised.listeners": f"BROKER://{self.servers}",
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "BROKER",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(data),
            # One broker holds the only copy of everything.
            "default.replication.factor": "1",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            # After a crash it is taken back only when the controller, which is itself, has given up its forerunner.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # Encore makes its topics itself, with as many partitions as it means them to have.
            "auto.create.topics.enable": "false",
            # A message far too large must reach the worker to be dead-lettered with its reason.
            "message.max.bytes": str(16 * 1024 * 1024),
        }
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        if not (data / "meta.properties").exists():
            self._format()

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # One word: one id in 64 begins with a minus sign, and would be taken for an option.
        identity = f"--cluster-id={cluster}"
        command = self._java("kafka.tools.StorageTool", "format", identity, "--config", str(self._properties))
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603 - ours
        if done.returncode:
            raise UnavailableError(
                f"Apache Kafka: its storage in {self.folder} could not be formatted: {done.stderr or done.stdout}"
            )

    def _java(self, *arguments: str) -> list[str]:
        self._jars = self._jars or fetch_jars()
        return java(*_JVM, "-cp", f"{self._jars}/*", *arguments)
