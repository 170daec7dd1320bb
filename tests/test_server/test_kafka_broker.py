"""Apache Kafka on one machine: it keeps what it took, and says in one line what is wrong."""

import os
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from consuming import read_topic
from kafka import KafkaProducer
from kafka.errors import KafkaError
from polling import poll_until
from strange import STRANGE_FOLDER

from data.addresses import Address
from data.errors import ConfigurationError, UnavailableError
from events.kafka.topics import ensure_topics, topic_id
from server.process import kafka_broker as broker_module
from server.process.kafka_broker import KafkaBroker, has_topics, new_cluster_id
from server.process.server_process import free_port

IMPATIENT = {"delivery_timeout_ms": 4_000, "request_timeout_ms": 2_000, "max_block_ms": 2_000}


def send(servers: str, topic: str, *values: bytes) -> None:
    producer = KafkaProducer(bootstrap_servers=servers, acks="all")
    for value in values:
        producer.send(topic, value, b"key").get(timeout=60)
    producer.close()


def values(servers: str, topic: str) -> list[bytes]:
    return [record.value for record in read_topic(servers, topic)]


def refusal(broker: KafkaBroker, kind: type[Exception] = ConfigurationError) -> str:
    """What a start says that must fail; one line."""
    with pytest.raises(kind) as found:
        broker.start()
    assert not broker.alive
    assert "\n" not in str(found.value)
    return str(found.value)


@pytest.fixture(scope="module")
def kept(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a broker that has kept one message, stopped."""
    folder = tmp_path_factory.mktemp("kept")
    with KafkaBroker(free_port(), folder, jars=kafka_jars) as broker:
        ensure_topics(broker.servers, "kept")
        send(broker.servers, "kept", b"value")
    return folder


@pytest.fixture
def stopped(kept: Path, kafka_jars: Path, tmp_path: Path) -> KafkaBroker:
    """That broker, over a copy of the folder."""
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    return KafkaBroker(free_port(), tmp_path, jars=kafka_jars)


def test_topics_and_messages_outlast_a_crash_and_a_stop(
    kafka_jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A cluster id that begins with a minus sign, as one in 64 does.
    monkeypatch.setattr("server.process.kafka_broker.uuid.uuid4", lambda: UUID(bytes=b"\xf8" * 16))
    broker = KafkaBroker(free_port(), tmp_path, jars=kafka_jars)
    with broker:
        ensure_topics(broker.servers, "kept")
        made = topic_id(broker.servers, "kept")
        send(broker.servers, "kept", b"value")
        broker.kill()
        assert not broker.alive
        broker.start()
        assert topic_id(broker.servers, "kept") == made
    with broker:
        assert topic_id(broker.servers, "kept") == made
        assert values(broker.servers, "kept") == [b"value"]


def test_a_home_of_the_release_before_goes_on(stopped: KafkaBroker) -> None:
    (stopped.folder / "kafka.version").unlink()  # it was not written then
    with stopped:
        assert values(stopped.servers, "kept") == [b"value"]


def test_the_environment_does_not_change_java(stopped: KafkaBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1k")
    monkeypatch.setenv("PATH", "")
    with stopped:
        stopped.check()


def test_data_of_another_node_or_cluster_is_refused(stopped: KafkaBroker) -> None:
    folder, jars = stopped.folder, stopped.jars
    port = free_port()
    other_node = KafkaBroker(port, folder, jars=jars, node_id=2)
    assert f"the topics in {folder} have node.id 1, not 2; they are another broker's" in refusal(other_node)
    cluster_id = new_cluster_id()
    other_cluster = KafkaBroker(port, folder, jars=jars, cluster_id=cluster_id)
    assert f", not {cluster_id}; they are another broker's: choose another folder" in refusal(other_cluster)
    with stopped:
        assert values(stopped.servers, "kept") == [b"value"]


def test_data_of_a_newer_kafka_is_refused(stopped: KafkaBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    (stopped.folder / "kafka.version").write_text("4.10.0\n")
    assert "were kept by Apache Kafka 4.10.0, and this is 4.1.1; use the newer Encore again" in refusal(stopped)
    # An upgrade goes on, and then there is no way back.
    monkeypatch.setattr(broker_module, "KAFKA_VERSION", "4.10.0")
    with stopped:
        assert values(stopped.servers, "kept") == [b"value"]


def test_unreadable_data_is_refused(stopped: KafkaBroker) -> None:
    (stopped.folder / "data" / "meta.properties").write_bytes(b"\xff\x00")
    assert f"the topics in {stopped.folder} have node.id None, not 1" in refusal(stopped)


def test_a_controller_port_in_use_is_named(kafka_jars: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        broker = KafkaBroker(free_port(), tmp_path, jars=kafka_jars, voters={1: Address("127.0.0.1", port)})
        assert f"broker (its controller): port {port} on 127.0.0.1 is in use" in refusal(broker)


def test_what_kafka_says_as_it_dies_is_shown_without_its_stack(stopped: KafkaBroker) -> None:
    for snapshot in (stopped.folder / "data" / "__cluster_metadata-0").iterdir():
        snapshot.unlink()
    (stopped.folder / "data" / "bootstrap.checkpoint").write_bytes(b"no records")
    with pytest.raises(UnavailableError, match=r"broker: the process ended \(exit code 1\)") as found:
        stopped.start()
    assert "\tat " not in str(found.value)
    assert len(str(found.value).splitlines()) <= 11


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 100 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk is not permitted")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_named_and_loses_nothing(kafka_jars: Path, small_disk: Path) -> None:
    broker = KafkaBroker(free_port(), small_disk / "broker", jars=kafka_jars)
    taken = 0
    with broker:
        ensure_topics(broker.servers, "t", partitions=1)
        producer = KafkaProducer(bootstrap_servers=broker.servers, acks="all", **IMPATIENT)
        try:
            while True:
                producer.send("t", os.urandom(500_000)).get(timeout=5)
                taken += 1
        except KafkaError:
            pass
        finally:
            producer.close(timeout=1)
        poll_until(lambda: not broker.alive)
        with pytest.raises(UnavailableError, match=r"exit code 1\): the disk of .* is full \(0 MB free.*stay as they"):
            broker.check()
    assert "the disk of" in refusal(broker)
    subprocess.run(["mount", "-o", "remount,size=400m", small_disk], check=True)
    with broker:
        assert len(values(broker.servers, "t")) >= taken > 10


def test_a_limit_on_files_ends_it_and_loses_nothing(stopped: KafkaBroker) -> None:
    """As a full disk, where none can be mounted: no file may grow."""
    with stopped:
        assert stopped.pid is not None
        resource.prlimit(stopped.pid, resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        with pytest.raises(KafkaError):
            fill(stopped.servers)
        poll_until(lambda: not stopped.alive)
        with pytest.raises(UnavailableError, match=r"broker: the process ended"):
            stopped.check()
        stopped.start()
        assert values(stopped.servers, "kept")[0] == b"value"


def fill(servers: str) -> None:
    producer = KafkaProducer(bootstrap_servers=servers, acks="all", **IMPATIENT)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            producer.send("kept", os.urandom(50_000), b"key").get(timeout=5)
    finally:
        producer.close(timeout=1)


def test_a_folder_of_any_name_holds_the_topics(tmp_path: Path, kafka_jars: Path) -> None:
    folder = tmp_path / STRANGE_FOLDER
    with KafkaBroker(free_port(), folder, jars=kafka_jars) as broker:
        ensure_topics(broker.servers, "kept", partitions=3)
    assert has_topics(folder)
    assert len(list((folder / "data").glob("kept-*"))) == 3
    assert [path.name for path in tmp_path.iterdir()] == [STRANGE_FOLDER]
