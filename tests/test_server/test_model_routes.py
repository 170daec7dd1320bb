"""The API tells of every version and its quality, and lets an administrator on this machine change which answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
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
    lifecycle = open_lifecycle(read_settings(home=home))
    for seed in range(2):
        lifecycle.register(tiny_model(plan().names, seed))
    lifecycle.promote(TARGET, "1")
    return lifecycle


@pytest.fixture
def api(home: Path, lifecycle: Lifecycle, store: Store) -> Iterator[TestClient]:
    app = make_app(home, store.host, store.port)
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50_000)) as client:
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


def test_promotion_and_the_way_back(api: TestClient, lifecycle: Lifecycle) -> None:
    first, second = versions()
    changed = api.post(f"/models/{TARGET}/promote", json={"version": "2"}).json()
    assert changed == {"target": TARGET, "alias": "champion", "before": first, "after": second, "share": 0.0}
    assert api.get("/models").json()["targets"][0]["champion"] == second
    assert api.post(f"/models/{TARGET}/rollback").json()["after"] == first
    lifecycle.promote(TARGET, second, CHALLENGER, share=0.5)
    [found] = api.get("/models").json()["targets"]
    assert (found["challenger"], found["challenger_share"]) == (second, 0.5)
    lifecycle.withdraw(TARGET)


@pytest.mark.parametrize(
    ("body", "code"),
    [({}, 422), ({"version": "1", "alias": "king"}, 422), ({"version": "1", "share": 2}, 422), ({"version": ""}, 422)],
)
def test_a_promotion_that_makes_no_sense_is_refused(api: TestClient, body: dict[str, Any], code: int) -> None:
    assert api.post(f"/models/{TARGET}/promote", json=body).status_code == code


def test_who_may_not_change_models(api: TestClient, home: Path, store: Store) -> None:
    path, body = f"/models/{TARGET}/promote", {"version": "2"}
    assert api.post(path, json=body, headers={"Origin": "http://evil.example"}).status_code == 403
    assert api.post(path, json=body, headers={"Host": "evil.example"}).status_code == 403
    with TestClient(
        make_app(home, store.host, store.port), base_url="http://127.0.0.1", client=("192.0.2.7", 50_000)
    ) as elsewhere:
        for command in ("promote", "rollback", "retrain"):
            refused = elsewhere.post(f"/models/{TARGET}/{command}", json=body)
            assert refused.status_code == 403, command
    assert api.get("/models").json()["targets"][0]["champion"] == versions()[0]


def test_with_keys_an_administrator_may_from_anywhere(home: Path, lifecycle: Lifecycle, store: Store) -> None:
    (secret, key), (admin_secret, admin_key) = make_key("reader"), make_key("boss", admin=True)
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
