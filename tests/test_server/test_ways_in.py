"""Settings reach every client: one value makes all clients of Redis, one all clients of Kafka, and a Redis that wants a
user, a password and TLS takes every way into it."""

import ast
from collections.abc import Iterator
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from event_streams import Act, act, as_log, place
from redis import Redis, SSLConnection
from serving import make_home
from sources import nodes
from tls import make_certificate, tls_before

from data.errors import ConfigurationError, UnavailableError
from data.log.event_log import EventLog
from data.units import HOUR_US
from features.plan.cache import load_plan
from features.state.online.access import RedisAccess
from features.state.online.cluster import LateCluster
from server.jobs.build import materialize
from server.jobs.feast_repo import apply_views, open_store
from server.jobs.rollout.rollout import rebuild
from server.jobs.verification import run_verification
from server.process.server_process import free_port
from server.process.store import Store
from server.redis.connections import connect_redis, live_states
from server.redis.editions import states_of
from server.settings import Settings, read_settings

ROOT = Path(__file__).parents[2]
PACKAGES = ("data", "features", "events", "model", "server")

ALL = {
    "redis_host": "redis.example.org",
    "redis_port": 6390,
    "redis_username": "encore",
    "redis_password": "hun:ter'2 # true",
    "redis_tls": True,
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def everything(tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings in which nothing that concerns Redis is as by default."""
    monkeypatch.setenv("REDIS_PASSWORD", str(ALL["redis_password"]))
    settings = read_settings(**ALL, home=tmp_path, redis_ca=certificate[0])
    default = asdict(RedisAccess())
    same = [name for name, value in asdict(settings.redis_access).items() if value == default[name]]
    assert same == ["cluster"], "give the new setting a value in ALL"
    return settings


@pytest.mark.integration  # importing Feast takes seconds
def test_all_settings_of_redis_reach_feast(everything: Settings) -> None:
    for cluster in (False, True):
        settings = everything.model_copy(update={"redis_cluster": cluster, "project": "other"})
        config = open_store(settings).config
        assert config.online_store.access == settings.redis_access
        assert config.project == "other"
        assert "hun" not in (settings.feast / "feature_store.yaml").read_text()


def test_all_settings_of_redis_reach_the_clients(everything: Settings) -> None:
    access = everything.redis_access
    client = connect_redis(everything)
    assert client.connection_pool.connection_class is SSLConnection
    told = client.connection_pool.connection_kwargs
    assert {name: told[name] for name in ("host", "port", "username", "password", "ssl_ca_certs")} == {
        "host": access.host,
        "port": access.port,
        "username": access.username,
        "password": access.password,
        "ssl_ca_certs": access.ca,
    }
    assert told["ssl_check_hostname"]
    live = live_states(everything)
    (pipe,) = live._pipes.values()  # noqa: SLF001 - what a client was told
    assert tuple(pipe.address) == (access.host, access.port)
    assert pipe._credentials[:2] == (access.username, access.password)  # noqa: SLF001 - what a client was told
    assert pipe._credentials.tls is not None  # noqa: SLF001 - what a client was told
    cluster = everything.model_copy(update={"redis_cluster": True}).redis_access.connect(timeout_s=1)
    assert isinstance(cluster, LateCluster)
    assert {name: cluster._options[name] for name in ("host", "username", "ssl_ca_certs")} == {  # noqa: SLF001 - what a client was told
        "host": access.host,
        "username": access.username,
        "ssl_ca_certs": access.ca,
    }
    assert cluster._options["ssl"] is True  # noqa: SLF001 - what a client was told


@pytest.mark.integration
def test_every_field_of_the_way_in_is_a_field_of_feasts_store() -> None:
    from features.feast_stores.online import EncoreOnlineStoreConfig

    assert {field.name for field in fields(RedisAccess)} <= set(EncoreOnlineStoreConfig.model_fields)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"redis_ca": "ca.pem"}, "REDIS_CA: goes with REDIS_TLS=true"),
        ({"redis_ca": "no-such.pem", "redis_tls": True}, r"REDIS_CA: .*no-such\.pem cannot be read as certificates"),
    ],
)
def test_half_a_setting_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        live_states(read_settings(**given))


def test_certificates_are_found_from_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_settings(redis_tls=True, redis_ca="ca.pem").redis_access.ca == str(tmp_path / "ca.pem")
    assert read_settings(kafka_tls=True, kafka_ca="ca.pem").kafka_access.ca == str(tmp_path / "ca.pem")


@cache
def _calls() -> list[tuple[str, str, ast.Call]]:
    """Of every call in the packages: the file, what is called, and the call."""
    return [
        (str(path.relative_to(ROOT)), ast.unparse(node.func), node)
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in nodes(path)
        if isinstance(node, ast.Call)
    ]


def test_nobody_makes_a_client_of_its_own() -> None:
    redis = {place for place, called, _ in _calls() if called in {"redis.Redis", "Redis", "LateCluster"}}
    assert redis == {"features/state/online/access.py"}
    python = {"KafkaConsumer", "KafkaAdminClient"}
    library = {"Producer", "RdProducer", "RdConsumer", "AdminClient"}
    found = {(place, called) for place, called, _ in _calls() if called in python | library}
    assert {called for _, called in found} == python | library
    # `ConsumerOptions.client()` and `.consumer()` have what `for_librdkafka()` says; `next_readable` is given it.
    given = {
        ("events/predictions/reader.py", "RdConsumer"),
        ("events/kafka/unreadable.py", "RdConsumer"),
        ("events/translation/relay.py", "Producer"),
    }
    words = dict.fromkeys(python, "for_kafka_python()") | dict.fromkeys(library, "for_librdkafka()")
    lacking = {(place, called) for place, called in found if words[called] not in (ROOT / place).read_text()}
    assert lacking == given
    assert "access=access)" in (ROOT / "events/predictions/reader.py").read_text()
    assert "**reading.client()" in (ROOT / "events/translation/relay.py").read_text()


def test_the_memory_of_the_settings_reaches_every_engine() -> None:
    calls = [(place, call) for place, called, call in _calls() if called == "DuckDBEngine"]
    assert len(calls) >= 7
    assert [place for place, call in calls if "memory=" not in ast.unparse(call)] == []


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[tuple[Store, int]]:
    """A Redis that nobody enters but the user `encore`, and the port at which TLS before it begins."""
    with Store(free_port(), tmp_path_factory.mktemp("guarded")) as store:
        with Redis(host=store.host, port=store.port) as client:
            client.execute_command("ACL", "SETUSER", "encore", "on", ">hunter2", "~*", "+@all")
            client.execute_command("ACL", "SETUSER", "default", "resetpass", ">other")
        with tls_before(store, certificate) as port:
            yield store, port


@pytest.mark.long
@pytest.mark.integration
def test_every_way_into_a_guarded_redis(
    guarded: tuple[Store, int], certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features are materialized, made anew, compared on all paths; the default user is let in by nobody's default."""
    home = make_home(tmp_path / "home")
    as_log(EventLog(home / "log"), place([act(Act("view", f"u{n % 3}", "p", n * HOUR_US), f"e{n}") for n in range(20)]))
    monkeypatch.setenv("REDIS_PASSWORD", "hunter2")
    monkeypatch.setenv("REDIS_USERNAME", "encore")
    settings = read_settings(
        home=home,
        redis_host="127.0.0.1",
        redis_port=guarded[1],
        redis_tls=True,
        redis_ca=certificate[0],
        clock="events",
    )
    wanted = {"user": 3, "product": 1, "user_product": 3, "category": 0, "user_category": 0}
    assert materialize(settings, lambda _: None) == wanted
    assert rebuild(settings, lambda _: None) == wanted
    verdict = run_verification(settings, sample=2, as_of_us=None, seed=0)
    assert verdict.ok, verdict.disagreements
    assert set(verdict.compared) == {"batch", "state", "feast"}
    with connect_redis(settings) as client:
        assert states_of(client, settings).counts() == wanted


@pytest.mark.long
@pytest.mark.integration
def test_a_user_who_may_not_write_costs_no_state(
    guarded: tuple[Store, int], certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make_home(tmp_path / "home")
    as_log(EventLog(home / "log"), place([act(Act("view", "u", "p", n * HOUR_US), f"e{n}") for n in range(5)]))
    for name, value in {"REDIS_PASSWORD": "hunter2", "REDIS_USERNAME": "encore", "ENCORE_PROJECT": "rights"}.items():
        monkeypatch.setenv(name, value)
    here = {"home": home, "redis_port": guarded[1], "redis_tls": True, "redis_ca": certificate[0]}
    settings = read_settings(**here)
    apply_views(settings, load_plan(settings.plan))
    before = materialize(settings, lambda _: None)
    with connect_redis(settings) as client:
        for lacking in ("-unlink", "-evalsha", "-scan", "-hset", "-zadd"):
            client.execute_command("ACL", "SETUSER", "weak", "reset", "on", ">pw", "~*", "+@all", lacking)
            monkeypatch.setenv("REDIS_PASSWORD", "pw")
            with pytest.raises(UnavailableError, match=r"(?i)refuses"):
                rebuild(read_settings(**here, redis_username="weak"), lambda _: None)
            assert states_of(client, settings).counts() == before
