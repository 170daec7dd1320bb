"""The API tells of every version and its quality, and lets an administrator change which answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow_database import empty_database
from pydantic import SecretStr
from serving import TestClient, make_app, make_home, plan, tiny_model

from model.registry.lifecycle import Lifecycle
from model.registry.published import CHALLENGER
from server.api.app import create_app
from server.api_keys import make_key
from server.jobs.modelling import open_lifecycle
from server.process.store import Store
from server.settings import read_settings

TARGET = "repeat_purchase"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def lifecycle(home: Path) -> Lifecycle:
    """Two versions, of which the first is champion."""
    settings = read_settings(home=home)
    empty_database(settings.mlflow / "mlflow.db")
    lifecycle = open_lifecycle(settings)
    for seed in range(2):
        lifecycle.register(tiny_model(plan().names, seed))
    lifecycle.promote(TARGET, "1")
    return lifecycle


@pytest.fixture
def api(home: Path, lifecycle: Lifecycle, store: Store) -> Iterator[TestClient]:
    """Asked by the home's administrator, who can read its key."""
    app = make_app(home, store.host, store.port)
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50_000)) as client:
        client.headers["X-API-Key"] = (home / "run" / "admin.key").read_text().strip()
        yield client


def versions() -> list[str]:
    return [tiny_model(plan().names, seed).metadata.version for seed in range(2)]


def test_the_versions_of_every_target(api: TestClient) -> None:
    [found] = api.get("/models").json()["targets"]
    assert (found["target"], found["champion"], found["challenger"]) == (TARGET, versions()[0], None)
    assert [version["version"] for version in found["versions"]] == versions()
    assert [version["aliases"] for version in found["versions"]] == [["champion"], []]
    assert 0 <= found["versions"][0]["metrics"]["roc_auc"] <= 1


def test_the_full_report_of_a_version(api: TestClient) -> None:
    found = api.get(f"/models/{TARGET}/champion").json()
    assert (found["version"], found["aliases"]) == (versions()[0], ["champion"])
    assert found["report"]["features"] == list(plan().names)
    assert api.get(f"/models/{TARGET}/{versions()[1]}").json()["aliases"] == []
    for path in (f"/models/{TARGET}/20261121-000000-ffffff", f"/models/{TARGET}/challenger", "/models/shoe_size/x"):
        assert api.get(path).status_code == 404, path


@pytest.mark.long
def test_promotion_and_the_way_back(api: TestClient, lifecycle: Lifecycle) -> None:
    first, second = versions()
    changed = api.post(f"/models/{TARGET}/promote", json={"version": "2"}).json()
    assert changed == {"target": TARGET, "alias": "champion", "before": first, "after": second, "share": 0.0}
    assert api.get("/models").json()["targets"][0]["champion"] == second
    assert api.post(f"/models/{TARGET}/rollback").json()["after"] == first
    lifecycle.promote(TARGET, second, CHALLENGER, share=0.5)
    [found] = api.get("/models").json()["targets"]
    assert (found["challenger"], found["challenger_share"]) == (second, 0.5)
    assert api.post(f"/models/{TARGET}/withdraw").json()["before"] == second
    [found] = api.get("/models").json()["targets"]
    assert (found["challenger"], found["challenger_share"]) == (None, 0.0)


@pytest.mark.parametrize(
    ("body", "code"),
    [({}, 422), ({"version": "1", "alias": "king"}, 422), ({"version": "1", "share": 2}, 422), ({"version": ""}, 422)],
)
def test_a_promotion_that_makes_no_sense_is_refused(api: TestClient, body: dict[str, Any], code: int) -> None:
    assert api.post(f"/models/{TARGET}/promote", json=body).status_code == code


@pytest.mark.parametrize("command", ["promote", "rollback", "withdraw", "retrain"])
@pytest.mark.parametrize(
    "headers",
    [
        {},  # a form of a page, a proxy on this machine that tells nothing, or a user of it
        {"X-API-Key": ""},
        {"X-API-Key": "guess"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Content-Type": "text/plain"},
        {"Origin": "http://127.0.0.1"},
    ],
)
def test_to_be_of_this_machine_is_no_reason(
    home: Path, lifecycle: Lifecycle, store: Store, command: str, headers: dict[str, str]
) -> None:
    app = make_app(home, store.host, store.port)
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50_000)) as anybody:
        refused = anybody.post(f"/models/{TARGET}/{command}", content=b'{"version": "2"}', headers=headers)
        assert refused.status_code == 403
        assert "run/admin.key" in refused.json()["detail"]
        assert anybody.get("/models").json()["targets"][0]["champion"] == versions()[0]


@pytest.mark.parametrize("wrong", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}])
def test_nor_is_a_key_where_a_page_of_elsewhere_asks(api: TestClient, wrong: dict[str, str]) -> None:
    body = {"version": "2"}
    assert api.post(f"/models/{TARGET}/promote", json=body, headers=wrong).status_code == 403
    assert api.get("/models").json()["targets"][0]["champion"] == versions()[0]


def test_a_home_without_a_readable_key_has_no_administrator(home: Path, lifecycle: Lifecycle, store: Store) -> None:
    key = home / "run" / "admin.key"
    before = key.read_bytes()
    key.write_bytes(b"")
    try:
        with TestClient(make_app(home, store.host, store.port), base_url="http://127.0.0.1") as anybody:
            for secret in ("", " "):
                refused = anybody.post(f"/models/{TARGET}/rollback", headers={"X-API-Key": secret})
                assert refused.status_code == 403
    finally:
        key.write_bytes(before)


def test_with_keys_an_administrator_may_from_anywhere(home: Path, lifecycle: Lifecycle, store: Store) -> None:
    (secret, key), (admin_secret, admin_key) = make_key("reader"), make_key("boss", "operate")
    configured = read_settings(
        home=home,
        redis_host=store.host,
        redis_port=store.port,
        predictions_topic="off",
        api_keys=SecretStr(f"{key},{admin_key}"),
    )
    with TestClient(create_app(configured), client=("192.0.2.7", 50_000)) as elsewhere:

        def ask(secret: str) -> int:
            path = f"/models/{TARGET}/promote"
            return int(elsewhere.post(path, json={"version": ""}, headers={"X-API-Key": secret}).status_code)

        assert [ask("wrong"), ask(secret), ask(admin_secret)] == [401, 403, 422]


def test_reports_are_null_until_there_are_some(api: TestClient, home: Path) -> None:
    assert api.get("/quality/live").json()["report"] is None
    assert api.get(f"/models/{TARGET}/retrain").json() == {"target": TARGET, "report": None}
    (home / "quality").mkdir()
    (home / "quality" / "drift.json").write_text('[{"target": "repeat_purchase"}]')
    assert api.get("/quality/drift").json()["report"] == [{"target": TARGET}]
    assert api.post("/models/shoe_size/retrain", json={}).status_code == 404
