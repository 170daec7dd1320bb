"""The doctor: a deployment that is well, and every kind of harm named with what to do about it."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from background import in_background
from chaos.redis_cluster import RedisCluster
from event_streams import START_US, Act, act, as_log, place
from kafka import KafkaProducer
from polling import poll_until
from pydantic import SecretStr
from redis import Redis
from serving import served
from typer.testing import CliRunner

from data.clock import ManualClock, wall_clock
from data.default_shop import SHOP
from data.log.event_log import EventLog
from data.log.identity import Identity, make_identity
from data.units import HOUR_US, MICROS, to_micros
from features.state.online.keys import StateKeys
from features.state.states import EntityKey
from server.api.app import create_app
from server.api_keys import make_key
from server.cli import app
from server.doctor.doctor import examine
from server.doctor.finding import Finding, looked, told
from server.doctor.machine import look_at_machine
from server.doctor.services import look_at_issuer, look_at_mlflow
from server.doctor.store import look_at_store
from server.doctor.stream import look_at_stream
from server.jobs.build import apply_features, materialize
from server.jobs.stream import run_worker
from server.oidc import Oidc
from server.process.server_process import free_port
from server.process.store import Store
from server.redis.ownership import claim_project
from server.settings import Settings, read_settings

pytestmark = pytest.mark.integration


def by_name(found: Sequence[Finding]) -> dict[str, Finding]:
    """The worst finding about each thing."""
    ranked = sorted(found, key=lambda one: ("ok", "warn", "fail").index(one.level))
    return {one.about: one for one in ranked}


def wrong(found: dict[str, Finding]) -> set[str]:
    return {about for about, one in found.items() if one.level != "ok"}


@pytest.fixture
def running(
    home: Path, kafka_servers: str, store: Store, redis_client: "Redis[bytes]", monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """A worker and an API over a home with a history, features and a model; the environment names them."""
    here = {"ENCORE_HOME": str(home), "KAFKA_SERVERS": kafka_servers, "REDIS_PORT": str(store.port)}
    for name, value in (here | {"ENCORE_PROJECT": "well"}).items():
        monkeypatch.setenv(name, value)
    settings, since_us = read_settings(), wall_clock() - START_US - 50 * HOUR_US
    events = [act(Act("view", f"u{n % 3}", "p", since_us + n * HOUR_US), f"e{n}") for n in range(20)]
    as_log(EventLog(settings.log), place(events[:10]))
    as_log(EventLog(settings.log), place(events)[10:])
    apply_features(settings, lambda _: None)
    materialize(settings, lambda _: None)
    with ExitStack() as stack:
        stack.enter_context(in_background(partial(run_worker, settings, name="w")))
        monkeypatch.setenv("API_PORT", str(stack.enter_context(served(create_app(settings, model_check_s=60)))))
        poll_until(lambda: by_name(list(look_at_stream(read_settings())))["stream"].level == "ok")
        yield read_settings()


@pytest.mark.long
def test_a_system_that_is_well_and_then_is_not(
    running: Settings, redis_client: "Redis[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    found = list(examine(2))
    assert not wrong(by_name(found)), [one for one in found if one.level != "ok"]
    assert {one.about for one in found} == {
        "settings", "versions", "disk", "Redis", "Redis: owner", "Redis: eviction", "Redis: memory",
        "Redis: persistence", "Redis: clock", "Redis: states", "Kafka", "Kafka: topic", "Kafka: group", "Kafka: clock",
        "stream", "store", "event log", "API", "registry", "features", "model repeat_purchase", "model purchase_intent",
        "model cart_abandonment", "parity",
    }  # fmt: skip
    monkeypatch.setenv("REDIS_PROT", "6380")
    with harmed(running, redis_client):
        found_then = by_name(list(examine(2)))
    assert wrong(found_then) == {
        "settings", "Redis: eviction", "Redis: persistence", "Redis: states", "Kafka: clock", "event log", "registry",
        "model repeat_purchase", "parity",
    }  # fmt: skip
    assert "1 of 3 of user" in found_then["Redis: states"].found
    for about in wrong(found_then):
        assert found_then[about].advice, found_then[about]
    assert "REDIS_PORT is meant" in found_then["settings"].advice
    assert "lacks" in found_then["event log"].found
    assert found_then["Kafka: clock"].level == "fail"
    assert found_then["Redis: persistence"].level == "warn"


@contextmanager
def harmed(settings: Settings, client: "Redis[bytes]") -> Iterator[None]:
    """What a careless operator might do; the store, which others use, is as before at the end."""
    producer = KafkaProducer(bootstrap_servers=settings.kafka_servers)
    ahead_ms = wall_clock() // 1000 + 3_600_000
    producer.send(settings.kafka_names.events, b"{", b"u", timestamp_ms=ahead_ms).get(30)
    producer.close()
    first = min(settings.log.glob("*/*.parquet"))
    first.unlink()
    assert client.delete(StateKeys(SHOP, "well").of(EntityKey("user", ("u1",)))) == 1
    for path in (settings.feast / "well.db", *settings.models.glob("repeat_purchase/*/model.onnx")):
        path.write_bytes(path.read_bytes() + b"x")
    before = {name: client.config_get(name)[name] for name in ("maxmemory-policy", "appendonly")}
    for name, value in {"maxmemory-policy": "allkeys-lru", "appendonly": "no"}.items():
        client.config_set(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            client.config_set(name, value)


@pytest.mark.parametrize(("ahead_s", "level"), [(0, "ok"), (-20, "warn"), (20, "warn"), (400, "fail")])
def test_a_clock_that_goes_wrong_is_told(
    store: Store, redis_client: "Redis[bytes]", tmp_path: Path, ahead_s: int, level: str
) -> None:
    settings = Settings(home=tmp_path, redis_port=store.port)
    found = by_name(list(look_at_store(settings, ManualClock(wall_clock() - ahead_s * MICROS))))
    assert found["Redis: clock"].level == level
    assert level == "ok" or ("ahead" if ahead_s > 0 else "behind") in found["Redis: clock"].found


@pytest.mark.parametrize("redis_client", ["cluster"], indirect=True)
def test_a_clusters_nodes_are_all_asked(store_cluster: RedisCluster, redis_client: object, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, redis_port=store_cluster.nodes[0].port, redis_cluster=True)
    found = by_name(list(look_at_store(settings)))
    assert "3 nodes" in found["Redis"].found
    assert found.keys() >= {"Redis: eviction", "Redis: memory", "Redis: persistence", "Redis: clock"}
    # On a machine that does much else it is slow, too.
    assert wrong(found) <= {"Redis: eviction", "Redis: persistence", "Redis: speed"}


def test_keys_that_end_are_told_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    days = {"ended": date(2026, 11, 20), "soon": date(2026, 11, 28), "later": date(2027, 11, 28), "never": None}
    keys = [str(make_key(name, "read", until)[1]) for name, until in days.items()]
    settings = Settings(home=tmp_path, api_keys=SecretStr(",".join(keys)))
    now = ManualClock(to_micros(datetime(2026, 11, 26, tzinfo=UTC)))
    found = [one for one in look_at_machine(settings, now) if one.about == "API keys"]
    assert [one.found for one in found] == ["ended ended with 2026-11-20", "soon ends with 2026-11-28"]
    assert {one.level for one in found} == {"warn"}


def test_an_mlflow_that_is_a_server_is_asked() -> None:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"127.0.0.1:{server.server_port}"
        found = {uri: list(look_at_mlflow(uri)) for uri in (f"http://me:hunter2@{at}", f"http://{at}/elsewhere")}
        server.shutdown()
    assert [one.level for (one,) in found.values()] == ["ok", "warn"]
    (gone,) = look_at_mlflow(f"http://me:hunter2@127.0.0.1:{free_port()}")
    assert gone.level == "fail"
    assert "hunter2" not in str(found.values()) + str(gone)
    assert not list(look_at_mlflow("sqlite:////var/mlflow.db"))


def test_an_issuer_whose_keys_cannot_be_had_is_told(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"keys": []}')
    oidc = Oidc("https://issuer.example", "shop", str(keys), "roles", {})
    assert [one.level for one in look_at_issuer(oidc)] == ["ok"]
    keys.write_text("no keys")
    (found,) = looked("tokens", lambda: look_at_issuer(oidc))
    assert found.level == "fail"
    assert "ENCORE_OIDC_ISSUER" in found.advice


def test_another_homes_states_are_told(store: Store, redis_client: "Redis[bytes]", tmp_path: Path) -> None:
    for name in ("one", "two"):
        settings = Settings(home=tmp_path / name, redis_port=store.port, project="encore")
        as_log(EventLog(settings.log), place([act(Act("view", "u", "p", 0), "e")]))
        if name == "one":
            claim_project(settings)
        else:
            make_identity(settings.log, Identity("0" * 32, "encore"))
    found = by_name(list(look_at_store(settings)))
    assert found["Redis: owner"].level == "fail"


@pytest.mark.long
def test_nothing_is_there_and_all_of_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = free_port()
    here = {"ENCORE_HOME": str(tmp_path), "KAFKA_SERVERS": f"127.0.0.1:{nowhere}", "REDIS_PORT": str(nowhere)}
    for name, value in (here | {"API_PORT": str(nowhere)}).items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, ["doctor", "--json", "--sample", "0"])
    assert done.exit_code == 1
    result = json.loads(done.stdout)
    assert (result["ok"], result["counts"]["warn"]) == (False, 0)
    failed = [one for one in result["findings"] if one["level"] == "fail"]
    # Whether a worker runs nobody can say without Redis.
    assert [one["about"] for one in failed] == ["Redis", "Kafka", "API", "features"]
    assert all(one["advice"] for one in failed), failed
    assert "Redis" in CliRunner().invoke(app, ["doctor", "--sample", "0"]).stdout
    assert CliRunner().invoke(app, ["doctor", "--sample", "many"]).exit_code == 2


def test_a_wrong_setting_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCORE_HOEM", "x")
    assert list(examine(0)) == [
        Finding("fail", "settings", "ENCORE_HOEM is not a setting", "did you mean ENCORE_HOME?")
    ]


def test_a_message_says_what_is_wrong_and_what_to_do() -> None:
    assert told("Kafka", "Kafka: away (a; b); start it; or not") == Finding(
        "fail", "Kafka", "away (a; b)", "start it; or not"
    )
    assert told("API", "no answer", advice="start it").advice == "start it"
