"""The Feast UI: what is registered is shown, behind the API's keys and doors; nothing else is read, nothing changed."""

import base64
import warnings
from pathlib import Path
from typing import Any

import pytest
from feast_shop import feast_store
from redis import Redis
from serving import TestClient, make_home

from data.errors import ConfigurationError
from server.api.asgi.callers import Callers
from server.api.asgi.doors import Doors
from server.api.feast_ui import ReadOnly, serve_feast_ui
from server.api_keys import make_key
from server.process.store import Store
from server.settings import read_settings

SECRET, KEY = make_key("shop")

SHOWN = (
    "/",
    "/p/encore/feature-view/user_features",
    "/health",
    "/projects-list.json",
    "/favicon.ico",
    "/api/v1/feature_views?project=encore",
    "/api/v1/feature_views/user_features?project=encore",
    "/api/v1/feature_services?project=encore",
    "/api/v1/entities?project=encore",
    "/api/v1/data_sources?project=encore",
    "/api/v1/features?project=encore",
    "/api/v1/saved_datasets?project=encore",
    "/api/v1/lineage/complete?project=encore",
    "/api/v1/search?query=user",
    "/api/v1/projects",
)

HIDDEN = (
    "/api/v1/saved_datasets/data/steal?project=encore",
    "/api/v1/saved_datasets//data/steal?project=encore",
    "/api/v1/saved_datasets/jobs",
    "/api/v1/monitoring/metrics/features?project=encore",
    "/api/v1/compute_engines",
    "/api/v1/materialization_jobs",
    "/api/v1/annotation-config/x",
    "/api/v1/docs",
    "/api/v1/openapi.json",
    "/docs",
    "/redoc",
    "/openapi.json",
)

CHANGES: tuple[tuple[str, str, object], ...] = (
    ("DELETE", "feature_views/user_features?project=encore", None),
    ("DELETE", "entities/user?project=encore", None),
    ("DELETE", "saved_datasets/x?project=encore", None),
    ("POST", "entities", {"name": "x", "project": "encore"}),
    ("POST", "feature_views", {"name": "x", "project": "encore"}),
    ("POST", "saved_datasets", {"name": "steal", "project": "encore", "storage_path": "/etc/x.parquet"}),
    ("POST", "get-online-labels", {"feature_view": "user_features", "entity_keys": {"user_id": ["ann"]}}),
    ("POST", "list-labels", {"feature_view": "user_features"}),
    ("POST", "training-dataset/export", {"feature_service": "repeat_purchase", "entity_df": {"user_id": ["ann"]}}),
    ("POST", "push", {"push_source_name": "x", "df": {}}),
    ("POST", "registry/refresh", None),
    ("PUT", "entities/user", {}),
    ("PATCH", "entities/user", {}),
    ("OPTIONS", "entities", None),
)


@pytest.fixture(scope="module")
def feast_app(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Any:
    """Feast's own app, over a registry of all views."""
    from feast.ui_server import get_app

    home = make_home(tmp_path_factory.mktemp("home"))
    with Redis(host=store.host, port=store.port) as client:
        shop = feast_store(home, client)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast names a path prefix as FastAPI would no longer have it
        return get_app(shop, "encore")


def client(app: Any, *, keys: Any = (), **more: Any) -> TestClient:
    return TestClient(ReadOnly(app, Callers(keys), Doors()), base_url="http://127.0.0.1:8888", **more)


@pytest.fixture
def ui(feast_app: Any) -> TestClient:
    return client(feast_app)


def test_what_is_registered_is_shown(ui: TestClient) -> None:
    for path in SHOWN:
        assert ui.get(path).status_code == 200, path
    found = ui.get("/api/v1/feature_views?project=encore").text
    assert "user_product_features" in found
    assert "<title>" in ui.get("/").text


@pytest.mark.parametrize("path", HIDDEN)
def test_what_reads_files_or_begins_work_is_hidden(ui: TestClient, path: str) -> None:
    assert ui.get(path).status_code == 404


def test_nothing_is_changed_or_computed(ui: TestClient) -> None:
    for method, path, body in CHANGES:
        refused = ui.request(method, f"/api/v1/{path}", json=body)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD"), path
        assert ui.request(method, f"/api/v1//{path}", json=body).status_code == 405
    assert ui.get("/api/v1/feature_views/user_features?project=encore").status_code == 200


def test_names_and_pages_of_elsewhere_are_refused(ui: TestClient) -> None:
    for path in SHOWN:
        assert ui.get(path, headers={"Host": "evil.example"}).status_code == 403, path
        assert ui.get(path, headers={"Origin": "http://127.0.0.1:3000"}).status_code == 403, path


def test_keys_are_asked_for_where_the_api_asks_for_them(feast_app: Any) -> None:
    guarded = client(feast_app, keys=(KEY,))
    password = base64.b64encode(f"me:{SECRET}".encode()).decode()
    for path in SHOWN:
        if path != "/health":
            refused = guarded.get(path)
            assert refused.status_code == 401, path
            assert refused.headers["www-authenticate"].startswith("Basic"), "a browser asks its user"
    shown: list[dict[str, str]] = [
        {"X-API-Key": SECRET},
        {"Authorization": f"Bearer {SECRET}"},
        {"Authorization": f"Basic {password}"},
    ]
    for headers in shown:
        assert guarded.get("/api/v1/entities?project=encore", headers=headers).status_code == 200
    for wrong in ("Basic", "Basic !", f"Basic {SECRET}", "Basic Og==", "Bearer"):
        assert guarded.get("/", headers={"Authorization": wrong}).status_code == 401, wrong
    assert guarded.delete("/api/v1/entities/user", headers=shown[0]).status_code == 405, "an administrator's neither"


def test_it_does_not_listen_for_others_without_keys(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"FEAST_UI_HOST 0\.0\.0\.0.*ENCORE_API_KEYS"):
        serve_feast_ui(read_settings(home=tmp_path, feast_ui_host="0.0.0.0"))
    assert read_settings(home=tmp_path, api_host="192.0.2.1").feast_ui_host == "127.0.0.1", "unless told otherwise"
