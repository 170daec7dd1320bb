"""Who may ask, how much, and how the server reaches a Redis that wants a password or TLS."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from serving import NOON, TestClient, fold_events, plan, tiny_model
from shop_questions import user_key
from tls import make_certificate, tls_before

from data.addresses import Address
from data.clock import ManualClock
from data.errors import ConfigurationError, UnavailableError
from data.units import MICROS
from features.state.online.states import OnlineStates
from server.api.app import create_app
from server.api.asgi.rate_limit import RateLimit
from server.api_keys import find_key, make_key, parse_keys
from server.process.store import Store
from server.redis.connections import connect_redis, live_states
from server.redis.pipe import Credentials
from server.redis.states import LiveStates
from server.settings import read_settings

ASKED = {"user_id": "ann", "product_id": "coffee"}
SECRET, KEY = make_key("shop")
ADMIN_SECRET, ADMIN = make_key("console", "admin")


@contextmanager
def api(home: Path, store: Store, **settings: Any) -> Iterator[TestClient]:
    given = read_settings(home=home, redis_host=store.host, redis_port=store.port, **settings)
    with TestClient(create_app(given, clock=ManualClock(NOON)), client=("127.0.0.1", 50_000)) as client:
        yield client


@pytest.fixture
def guarded(home: Path, store: Store, redis_client: "Redis[bytes]") -> Iterator[TestClient]:
    fold_events(OnlineStates(redis_client))
    with api(home, store, api_keys=f"{KEY}, {ADMIN}", api_host="0.0.0.0") as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": "guess"},
        {"X-API-Key": KEY.sha256},
        {"X-API-Key": ""},
        {"Authorization": f"Basic {SECRET}"},
        {"Authorization": "Bearer"},
    ],
)
def test_nobody_asks_without_a_key(guarded: TestClient, headers: dict[str, str]) -> None:
    for path in ("/predict?user_id=ann&product_id=coffee", "/api/v1/features/ann", "/metrics", "/models", "/nothing"):
        refused = guarded.get(path, headers=headers)
        assert refused.status_code == 401
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.headers["x-request-id"]


def test_a_key_opens(guarded: TestClient) -> None:
    for headers in ({"X-API-Key": SECRET}, {"Authorization": f"Bearer {SECRET}"}):
        assert guarded.post("/predict", json=ASKED, headers=headers).status_code == 200
    for path in ("/health/live", "/health/ready", "/health", "/openapi.json", "/docs", "/api/v1/health/live"):
        assert guarded.get(path).status_code == 200
    assert guarded.get("/health").json()["last_prediction"] is None, "who was asked about is for callers with a key"
    assert guarded.get("/health", headers={"X-API-Key": SECRET}).json()["last_prediction"]["user_id"] == "ann"


def test_a_key_for_scores_reads_nothing_else(home: Path, store: Store, redis_client: "Redis[bytes]") -> None:
    fold_events(OnlineStates(redis_client))
    secret, key = make_key("storefront", "score")
    with api(home, store, api_keys=str(key)) as client:
        client.headers["X-API-Key"] = secret
        assert client.post("/predict", json=ASKED).status_code == 200
        assert client.get("/api/v1/predict", params=ASKED).status_code == 200
        assert client.post("/rank", json={"user_id": "ann", "products": ["coffee"]}).status_code == 200
        assert client.get("/health").json()["last_prediction"] is None
        for path in ("/features/ann", "/metrics", "/models", "/api/v1/products/coffee/features", "/nothing"):
            refused = client.get(path)
            assert refused.status_code == 403, path
            assert "storefront has the role score, and this needs read" in refused.json()["detail"]


def test_a_key_holds_until_its_last_day(home: Path, store: Store, redis_client: "Redis[bytes]") -> None:
    day = timedelta(days=1)
    yesterday = datetime.now(UTC).date() - day
    (past, ended), (present, holds) = make_key("past", "admin", yesterday), make_key("now", "read", yesterday + 2 * day)
    with api(home, store, api_keys=f"{ended},{holds}") as client:
        refused = client.get("/models", headers={"X-API-Key": past})
        assert refused.status_code == 401
        assert refused.json()["detail"].startswith(f"the key past ended with {yesterday} (UTC)")
        assert client.get("/models", headers={"X-API-Key": present}).status_code == 200
        assert client.get("/health", headers={"X-API-Key": past}).status_code == 200, "open"
    midnight = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp()) * MICROS
    _, key = make_key("shop", "read", date(2026, 12, 31))
    assert [key.has_ended(midnight + us) for us in (-1, 0)] == [False, True]


def test_only_an_operator_changes_models(guarded: TestClient) -> None:
    version = tiny_model(plan().names).metadata.version
    body = {"version": version}
    path = "/models/repeat_purchase/promote"
    refused = guarded.post(path, json=body, headers={"X-API-Key": SECRET})
    assert refused.status_code == 403
    assert "shop" in refused.json()["detail"]
    assert guarded.post(path, json=body, headers={"X-API-Key": ADMIN_SECRET}).status_code != 403


def test_other_machines_need_keys_or_a_word(home: Path, store: Store) -> None:
    with pytest.raises(ConfigurationError, match=r"API_HOST 0\.0\.0\.0.*encore key NAME.*ENCORE_API_OPEN"):
        create_app(read_settings(home=home, api_host="0.0.0.0"))
    create_app(read_settings(home=home, api_host="0.0.0.0", api_open=True))
    for own in ("127.0.0.1", "::1", "localhost"):
        create_app(read_settings(home=home, api_host=own))


def test_keys_are_parsed_and_found() -> None:
    _, kept = make_key("partner", "score", date(2027, 1, 31))
    assert parse_keys(str(kept)) == (kept,)
    assert parse_keys(f"shop:{KEY.sha256}") == (KEY,), "a key of before there were roles"
    keys = parse_keys(f" {KEY} ,{ADMIN},")
    assert keys == (KEY, ADMIN)
    assert find_key(keys, SECRET.encode()) == KEY
    assert find_key(keys, ADMIN_SECRET.encode()) == ADMIN
    assert find_key(keys, b"\xff") is None
    bare = f"{KEY.name}:{KEY.sha256}"
    bads = ("shop", "shop:abc", f"Shop:{KEY.sha256}", f"{KEY},{KEY}", f"{bare}:root", f"{bare}:2027-13-01")
    for bad in bads:
        with pytest.raises(ValueError, match="key"):
            parse_keys(bad)


def test_a_caller_that_asks_too_often_waits(home: Path, store: Store, redis_client: "Redis[bytes]") -> None:
    """Two servers over one Redis: what one counts holds at the other, and one caller's count is not another's."""
    given = {"api_keys": f"{KEY},{ADMIN}", "rate_limit": 3}
    mine, other = {"X-API-Key": SECRET}, {"X-API-Key": ADMIN_SECRET}
    with api(home, store, **given) as one, api(home, store, **given) as two:
        answers = [client.post("/predict", json=ASKED, headers=mine) for client in (one, two, one, two, one, two)]
        assert [answer.status_code for answer in answers[:2]] == [200, 200]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["title"] == "Too Many Requests"
        assert one.post("/predict", json=ASKED, headers=other).status_code == 200
        assert one.get("/health/live").status_code == 200


def test_the_rate_is_an_allowance_that_grows_back(store: Store, redis_client: "Redis[bytes]") -> None:
    async def ask() -> list[float]:
        states = LiveStates([Address(store.host, store.port)])
        limit = RateLimit(states, 5, "test")
        try:
            return [await limit.wait_s("ann") for _ in range(7)] + [await limit.wait_s("bob")]
        finally:
            states.close()
            await asyncio.sleep(0)

    *waits, other = asyncio.run(ask())
    assert waits[:5] == [0] * 5
    assert all(0 < wait <= 0.2 for wait in waits[5:])
    assert other == 0


def test_pages_of_named_origins_may_ask(home: Path, store: Store, redis_client: "Redis[bytes]") -> None:
    with api(home, store, cors="https://shop.example.org", api_keys=str(KEY)) as client:
        asked = {"Origin": "https://shop.example.org", "Access-Control-Request-Method": "POST"}
        preflight = client.options("/predict", headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "https://shop.example.org"
        assert client.options("/predict", headers=asked | {"Origin": "https://evil.example"}).status_code == 400
        answer = client.post("/predict", json=ASKED, headers={"X-API-Key": SECRET, "Origin": asked["Origin"]})
        assert answer.headers["access-control-allow-origin"] == asked["Origin"]
        assert "X-Request-ID" in answer.headers["access-control-expose-headers"]


def read_with(states: LiveStates) -> Any:
    async def read() -> Any:
        try:
            return await states.read([user_key("ann")])
        finally:
            states.close()
            await asyncio.sleep(0)

    return asyncio.run(read())


def test_redis_with_a_password(store: Store, redis_client: "Redis[bytes]") -> None:
    fold_events(OnlineStates(redis_client))
    redis_client.execute_command("ACL", "SETUSER", "encore", "on", ">hunter2", "~*", "+@all")
    try:
        here = {"redis_host": store.host, "redis_port": store.port, "redis_username": "encore"}
        right = read_settings(**here, redis_password="hunter2")
        wrong = read_settings(**here, redis_password="guess")
        assert read_with(live_states(right))[0]
        assert connect_redis(right).ping()
        with pytest.raises(UnavailableError, match=r"WRONGPASS.*REDIS_PASSWORD") as refused:
            read_with(live_states(wrong))
        assert "guess" not in str(refused.value)
    finally:
        redis_client.execute_command("ACL", "DELUSER", "encore")
    assert "hunter2" not in repr(Credentials(None, "hunter2"))


def test_redis_over_tls(store: Store, redis_client: "Redis[bytes]", tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    fold_events(OnlineStates(redis_client))
    with tls_before(store, certificate) as port:
        here = {"redis_host": "127.0.0.1", "redis_port": port, "redis_tls": True}
        trusting = read_settings(**here, redis_ca=certificate[0])
        assert read_with(live_states(trusting))[0]
        with connect_redis(trusting) as client:
            assert client.ping()
        with pytest.raises(UnavailableError, match=r"(?i)certificate"):
            read_with(live_states(read_settings(**here)))
