"""Which names a server answers to, whose pages may use it, and what of it is open."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from serving import NOON, TestClient, fold_events

from data.clock import ManualClock
from features.state.online.states import OnlineStates
from server.api.app import create_app
from server.api.asgi.doors import Doors, route_path
from server.api_keys import kept_key, make_key
from server.process.store import Store
from server.settings import read_settings

HERE = "127.0.0.1:8000"
LAN = "192.0.2.7"
ASK = "/predict?user_id=ann&product_id=coffee"


def scope(*headers: tuple[str, str], server: tuple[str, int | None] = ("127.0.0.1", 8000), **more: Any) -> Any:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return {"type": "http", "http_version": "1.1", "scheme": "http", "server": server, "headers": raw, **more}


def status(doors: Doors, *headers: tuple[str, str], **more: Any) -> int:
    refusal = doors.refuse(scope(*headers, **more))
    return 200 if refusal is None else refusal.status_code


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (HERE, 200),
        ("localhost:8000", 200),
        ("LOCALHOST:8000", 200),
        ("localhost.:8000", 200),
        ("[::1]:8000", 200),
        ("0.0.0.0:8000", 200),
        ("evil.example", 403),
        ("evil.example:8000", 403),
        ("127.0.0.1:9000", 403),
        ("127.0.0.1", 403),
        ("localhost.evil.example:8000", 403),
        ("127.0.0.1.nip.io:8000", 403),
        ("evil.example#@127.0.0.1:8000", 403),
        ("user@127.0.0.1:8000", 403),
        ("127.0.0.1:8000:8000", 403),
        ("127.0.0.1:8000/", 403),
        ("2130706433:8000", 403),
        (f"{LAN}:8000", 403),
        ("\xff", 403),
        ("", 403),
    ],
)
def test_a_name_of_this_machine_and_the_port_that_was_asked(host: str, expected: int) -> None:
    assert status(Doors(), ("host", host)) == expected


def test_one_host_is_named() -> None:
    assert status(Doors(), ("host", HERE), ("host", HERE)) == 400
    assert status(Doors()) == 400
    assert status(Doors(), http_version="1.0") == 200


def test_further_names_are_told() -> None:
    doors = Doors(("shop.example.org", "localhost:9000"))
    for host, expected in (
        ("shop.example.org", 200),
        ("shop.example.org:1234", 200),
        ("localhost:9000", 200),
        ("localhost:9001", 403),
        ("evil.example", 403),
        (HERE, 200),
    ):
        assert status(doors, ("host", host)) == expected, host


@pytest.mark.parametrize("with_keys", [False, True])
def test_over_a_network_addresses_will_do_and_names_where_keys_are_asked_for(with_keys: bool) -> None:
    doors, reached = Doors(any_name=with_keys), (LAN, 8000)
    assert status(doors, ("host", f"{LAN}:8000"), server=reached) == 200
    assert status(doors, ("host", "198.51.100.4:80"), server=reached) == 200, "a port that is mapped"
    assert status(doors, ("host", "localhost:8000"), server=reached) == 200, "a container's, published"
    assert status(doors, ("host", "evil.example"), server=reached) == (200 if with_keys else 403)
    assert status(doors, ("host", "evil.example"), server=("127.0.0.1", 8000)) == 403, "but not by loopback"
    assert status(Doors(("a.example",), any_name=with_keys), ("host", "b.example"), server=reached) == 403


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (f"http://{HERE}", 200),
        ("https://shop.example.org", 200),
        ("http://127.0.0.1:3000", 403),
        ("http://127.0.0.1", 403),
        ("http://localhost:8000", 403),
        ("http://evil.example", 403),
        ("https://shop.example.org.evil.example", 403),
        ("http://[", 403),
        ("null", 403),
        ("\xff", 403),
    ],
)
def test_pages_of_other_sites_and_ports_may_not_ask(origin: str, expected: int) -> None:
    doors = Doors(origins=("https://shop.example.org",))
    assert status(doors, ("host", HERE), ("origin", origin)) == expected


@pytest.mark.parametrize(
    ("headers", "elsewhere"),
    [
        ([], False),
        ([("sec-fetch-site", "none")], False),
        ([("sec-fetch-site", "same-origin"), ("referer", f"http://{HERE}/docs")], False),
        ([("sec-fetch-site", "cross-site")], True),
        ([("sec-fetch-site", "same-site")], True),
        ([("referer", "http://evil.example/page")], True),
        ([("referer", "http://127.0.0.1:3000/page")], True),
        ([("sec-fetch-site", "cross-site"), ("origin", "https://shop.example.org")], False),
    ],
)
def test_who_sent_a_get(headers: list[tuple[str, str]], elsewhere: bool) -> None:
    doors = Doors(origins=("https://shop.example.org",))
    assert doors.is_from_elsewhere(scope(("host", HERE), *headers)) is elsewhere


@pytest.mark.parametrize(
    ("path", "prefix", "within"),
    [("/shop/health", "/shop", "/health"), ("/health", "/shop", "/health"), ("/shopping", "/shop", "/shopping")],
)
def test_a_path_within_the_server(path: str, prefix: str, within: str) -> None:
    assert route_path({"path": path, "root_path": prefix}) == within


@contextmanager
def api(home: Path, store: Store, root_path: str = "", **settings: Any) -> Iterator[TestClient]:
    given = {"home": home, "redis_host": store.host, "redis_port": store.port, "predictions_topic": "off"}
    app = create_app(read_settings(**given, **settings), clock=ManualClock(NOON))
    with TestClient(app, base_url="http://127.0.0.1:8000", root_path=root_path) as client:
        yield client


@pytest.mark.parametrize("path", ["/health", "/metrics", "/docs", "/openapi.json", ASK, "/models", "/api/v1/health"])
def test_every_route_has_the_same_doors(home: Path, store: Store, redis_client: "Redis[bytes]", path: str) -> None:
    with api(home, store) as client:
        assert client.get(path).status_code == 200
        for wrong, code in (({"Host": "evil.example"}, 403), ({"Origin": "http://127.0.0.1:3000"}, 403)):
            refused = client.get(path, headers=wrong)
            assert refused.status_code == code
            assert refused.headers["content-type"] == "application/problem+json"


def test_open_paths_are_open_behind_a_prefix_and_no_others(
    home: Path, store: Store, redis_client: "Redis[bytes]"
) -> None:
    (secret, key), opened = make_key("shop"), ("/health/live", "/health", "/docs", "/openapi.json", "/api/v1/health")
    with api(home, store, "/encore", api_keys=str(key)) as client:
        for path in opened:
            assert client.get(f"/encore{path}").status_code == 200, path
        for path in (ASK, "/metrics", "/encore/health", "/health/../metrics", "/docs/../metrics"):
            assert client.get(f"/encore{path}").status_code == 401, path
            assert client.get(f"/encore/health{path}").status_code == 401, path
        assert client.get(f"/encore{ASK}", headers={"X-API-Key": secret}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Referer": "http://evil.example/"}, {"Origin": "http://evil.example"}],
)
def test_what_another_site_asks_is_no_prediction(
    home: Path, store: Store, redis_client: "Redis[bytes]", headers: dict[str, str]
) -> None:
    fold_events(OnlineStates(redis_client))
    with api(home, store) as client:
        client.get(ASK, headers=headers)
        client.head(ASK)
        found = client.get("/health").json()
        assert (found["predictions"], found["last_prediction"]) == (0, None)
        client.get(ASK, headers={"Sec-Fetch-Site": "same-origin", "Referer": "http://127.0.0.1:8000/docs"})
        assert client.get("/health").json()["predictions"] == 1


def test_head_is_answered_as_get_without_its_body(home: Path, store: Store, redis_client: "Redis[bytes]") -> None:
    with api(home, store) as client:
        for path in ("/health", "/health/live", "/health/ready", "/metrics", "/docs", "/models", "/openapi.json", ASK):
            got, head = client.get(path), client.head(path)
            assert (head.status_code, head.content) == (200, b""), path
            assert head.headers["content-type"] == got.headers["content-type"], path
        assert client.head("/rank").status_code == 405
        assert client.head("/nothing").status_code == 404


def test_the_key_of_a_home_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "home" / "run" / "admin.key"
    key = kept_key(path, "home")
    assert key.role == "admin"
    assert kept_key(path, "home") == key, "made once"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["admin.key"]
