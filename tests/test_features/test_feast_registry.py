"""Feast's registry is opened only as it was written: what lies in it is run."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from project_folder import make
from serving import make_home

from data.errors import DataError
from features.entities import ENTITIES
from features.feast_stores.registry_seal import Registered, read_sealed, registered, write_sealed
from features.plan.cache import load_plan
from server.jobs.build import apply_features
from server.jobs.feast_repo import is_applied, open_store
from server.settings import Settings, read_settings

pytestmark = pytest.mark.integration  # it takes many seconds

HOLDS = Registered({"user_features": "plan"}, {"repeat_purchase": "plan"})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "feast" / "registry.db"
    assert registered(path) is None
    write_sealed(path, b"one", HOLDS)
    assert read_sealed(path) == b"one"
    write_sealed(path, b"two", Registered({}, {}))
    assert read_sealed(path) == b"two"
    assert registered(path) == Registered({}, {})


@pytest.mark.parametrize("seal", ["kept", "gone", "empty", "older"])
def test_anything_else_is_not(tmp_path: Path, seal: str) -> None:
    path = tmp_path / "registry.db"
    write_sealed(path, b"older", HOLDS)
    older = path.with_name("registry.db.seal").read_bytes()
    write_sealed(path, b"one", HOLDS)
    match seal:
        case "kept":
            path.write_bytes(b"one more")
        case "gone":
            path.with_name("registry.db.seal").unlink()
        case "empty":
            path.with_name("registry.db.seal").write_bytes(b"")
        case "older":
            path.with_name("registry.db.seal").write_bytes(older)
    with pytest.raises(DataError, match="encore features"):
        read_sealed(path)
    assert registered(path) is None


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home whose views are registered."""
    settings = read_settings(home=make_home(tmp_path_factory.mktemp("home")), redis_port=1)
    return apply_to(settings)


def apply_to(settings: Settings) -> Settings:
    apply_features(settings, lambda _: None)
    return settings


def names(settings: Settings) -> set[str]:
    return {view.name for view in open_store(settings).list_all_feature_views()}


def test_a_project_without_features_of_the_request_has_no_view_of_it(tmp_path: Path) -> None:
    definitions = """\
import featuretools as ft

WINDOWS = {}


def define(shop):
    event = ft.Feature(shop["events"].ww["event_id"])
    count = ft.Feature(event, parent_dataframe_name="readers", primitive=ft.primitives.Count)
    return [count.rename("reader_loans")]
"""
    shop = make(tmp_path / "books", features_py=definitions)
    settings = read_settings(project=str(shop), redis_port=1)
    assert names(apply_to(settings)) == {"reader_features"}
    assert is_applied(settings, load_plan(settings.plan, settings.declared))


VIEWS = {entity.view for entity in ENTITIES} | {"request_features"}


@pytest.mark.parametrize("gone", ["user_features", "request_features", "repeat_purchase"])
def test_a_view_that_was_deleted_is_missed_and_made_again(applied: Settings, gone: str) -> None:
    """By Feast itself, as its own commands and its REST interface do."""
    plan = load_plan(applied.plan)
    assert is_applied(applied, plan)
    store = open_store(applied)
    if gone == "repeat_purchase":
        store.delete_feature_service(gone)
    else:
        store.delete_feature_view(gone)
    assert not is_applied(applied, plan)
    apply_features(applied, lambda _: None)
    assert is_applied(applied, plan)
    assert names(applied) == VIEWS


@pytest.mark.long
def test_a_function_put_into_the_registry_is_not_run(applied: Settings, tmp_path: Path) -> None:
    from feast.protos.feast.core.Registry_pb2 import Registry

    path, ran = applied.feast / "registry.db", tmp_path / "ran"
    before = path.read_bytes()
    found: Any = Registry()
    found.ParseFromString(before)
    function = found.on_demand_feature_views[0].spec.feature_transformation.user_defined_function
    function.body = b"cos\nsystem\n(S'touch %s'\ntR." % str(ran).encode()
    function.body_text = ""
    path.write_bytes(found.SerializeToString())
    plan = load_plan(applied.plan)
    assert not is_applied(applied, plan)
    with pytest.raises(DataError, match="functions that would be run"):
        names(applied)
    # Feast's own command goes through the same check.
    command = "from feast.cli.cli import cli; cli(['-f', r'%s', 'feature-views', 'list'])"
    config = applied.feast / "feature_store.yaml"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", command % config], capture_output=True, text=True, check=False
    )
    assert "functions that would be run" in done.stderr
    apply_features(applied, lambda _: None)
    assert not ran.exists()
    assert names(applied) == VIEWS
