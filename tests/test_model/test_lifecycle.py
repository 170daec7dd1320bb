"""Models in MLflow and as they are published: registered whole or not at all, promoted, rolled back, followed."""

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mlflow_database import empty_database
from serving import tiny_model

from data.errors import ConfigurationError, EncoreError, ModelError
from data.project import PROJECT
from model.artifact.artifact import Artifact
from model.registry.lifecycle import Lifecycle
from model.registry.local_database import LocalDatabase
from model.registry.mlflow import Tracking
from model.registry.published import CHALLENGER, CHAMPION, Registry
from model.registry.version import ModelNames

pytestmark = pytest.mark.integration

TARGET = "repeat_purchase"


@pytest.fixture
def lifecycle(tmp_path: Path) -> Lifecycle:
    empty_database(tmp_path / "mlflow.db")
    return open_lifecycle(tmp_path)


def open_lifecycle(folder: Path, models: str = "models") -> Lifecycle:
    tracking = Tracking(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts", patience_s=0.1)
    return Lifecycle(tracking, Registry(folder / models))


def model(seed: int = 0) -> Artifact:
    return tiny_model(("user_view_count", "request_amount"), seed)


def refuse(target: str, error: EncoreError) -> None:
    raise error


@pytest.mark.long
def test_what_is_registered_is_in_mlflow_and_published(lifecycle: Lifecycle, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("how it did")
    artifact = model()
    version = lifecycle.register(artifact, [report])
    assert (version.number, version.name, version.aliases) == (1, artifact.metadata.version, ())
    assert version.metrics["test.roc_auc"] == pytest.approx(artifact.metadata.metrics["test"].roc_auc)
    assert version.metrics["baseline.base_rate.roc_auc"] == 0.5
    assert version.parameters["estimator.n_estimators"] == "12"
    assert lifecycle.tracking.artifact(version) == artifact
    assert list((tmp_path / "artifacts").rglob("report.html"))
    assert lifecycle.registry.load(TARGET, version.name) == artifact
    assert lifecycle.tracking.alias(TARGET, CHAMPION) is None


@pytest.mark.long
def test_the_champion_changes_and_comes_back(lifecycle: Lifecycle) -> None:
    first, second, third = (lifecycle.register(model(seed)) for seed in range(3))
    lifecycle.promote(TARGET, "1")
    lifecycle.promote(TARGET, second.name)
    change = lifecycle.promote(TARGET, "3")
    assert (change.before, change.after) == (second.name, third.name)
    assert lifecycle.registry.resolve(TARGET) == third.name
    assert lifecycle.roll_back(TARGET).after == second.name
    assert lifecycle.registry.resolve(TARGET) == second.name
    # After a step back, a new champion's predecessor is the one it replaced.
    lifecycle.promote(TARGET, "3")
    assert lifecycle.roll_back(TARGET).after == second.name
    assert lifecycle.roll_back(TARGET).after == first.name
    with pytest.raises(ModelError, match="no champion before"):
        lifecycle.roll_back(TARGET)
    assert lifecycle.registry.resolve(TARGET) == first.name


def test_a_challenger_has_a_share_and_becomes_champion(lifecycle: Lifecycle) -> None:
    first, second = (lifecycle.register(model(seed)) for seed in range(2))
    lifecycle.promote(TARGET, "1")
    lifecycle.promote(TARGET, "2", CHALLENGER, share=0.25)
    assert lifecycle.registry.resolve_share(TARGET) == (second.name, 0.25)
    with pytest.raises(ModelError, match="cannot challenge itself"):
        lifecycle.promote(TARGET, "champion", CHALLENGER)
    lifecycle.promote(TARGET, "challenger")
    assert lifecycle.registry.resolve(TARGET) == second.name
    with pytest.raises(EncoreError, match="no challenger"):
        lifecycle.registry.resolve(TARGET, CHALLENGER)
    lifecycle.promote(TARGET, first.name, CHALLENGER)
    assert lifecycle.registry.resolve_share(TARGET) == (first.name, 0.0)
    lifecycle.withdraw(TARGET)
    with pytest.raises(EncoreError, match="no challenger"):
        lifecycle.registry.resolve(TARGET, CHALLENGER)


def test_what_is_promoted_elsewhere_is_followed_by_another_home(lifecycle: Lifecycle, tmp_path: Path) -> None:
    first, second = (lifecycle.register(model(seed)) for seed in range(2))
    lifecycle.promote(TARGET, "1")
    elsewhere = open_lifecycle(tmp_path, "models elsewhere")
    assert [change.after for change in elsewhere.follow(refuse)] == [first.name]
    assert elsewhere.registry.load(TARGET) == model(0)
    # As MLflow's own UI does it.
    with lifecycle.tracking.client() as client:
        client.set_registered_model_alias(TARGET, "champion", "2")
    assert [str(change) for change in elsewhere.follow(refuse)] == [
        f"repeat_purchase: champion is {second.name} (was {first.name})"
    ]
    assert elsewhere.follow(refuse) == []
    # And what was promoted there can be rolled back here.
    assert lifecycle.roll_back(TARGET).after == first.name


def test_a_corrupted_version_is_refused_by_its_hash(lifecycle: Lifecycle, tmp_path: Path) -> None:
    first, second = (lifecycle.register(model(seed)) for seed in range(2))
    lifecycle.promote(TARGET, "1")
    stored = next((tmp_path / "artifacts" / second.run_id).rglob("model.onnx"))
    stored.write_bytes(stored.read_bytes()[:-1])
    elsewhere = open_lifecycle(tmp_path, "models elsewhere")
    elsewhere.follow(refuse)
    with pytest.raises(ModelError, match="sha256"):
        elsewhere.promote(TARGET, "2")
    found = elsewhere.tracking.alias(TARGET, CHAMPION)
    assert found is not None
    assert found.name == elsewhere.registry.resolve(TARGET) == first.name
    # A whole file that is another model's is no better.
    shutil.copytree(tmp_path / "models" / TARGET / first.name, stored.parent, dirs_exist_ok=True)
    with pytest.raises(ModelError, match=f"MLflow's registry says {second.sha256}"):
        elsewhere.promote(TARGET, "2")


def test_a_version_that_cannot_be_followed_is_told_and_the_champion_stays(lifecycle: Lifecycle, tmp_path: Path) -> None:
    first, second = (lifecycle.register(model(seed)) for seed in range(2))
    lifecycle.promote(TARGET, "1")
    shutil.rmtree(tmp_path / "models" / TARGET / second.name)
    next((tmp_path / "artifacts" / second.run_id).rglob("model.onnx")).write_bytes(b"")
    with lifecycle.tracking.client() as client:
        client.set_registered_model_alias(TARGET, "champion", "2")
    told: list[str] = []
    assert lifecycle.follow(lambda target, error: told.append(f"{target}: {error}")) == []
    assert len(told) == 1
    assert "sha256" in told[0]
    assert lifecycle.registry.resolve(TARGET) == first.name


def test_a_damaged_artifact_is_not_registered(lifecycle: Lifecycle) -> None:
    with pytest.raises(ModelError, match="ONNX Runtime"):
        lifecycle.register(Artifact(b"not a model", model().metadata))
    assert lifecycle.tracking.targets() == []


def test_a_failure_half_way_leaves_no_version(lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    with lifecycle.tracking.client() as client:

        def full(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(client, "log_artifacts", full)
        with pytest.raises(ConfigurationError, match="No space left"):
            lifecycle.register(model())
        assert client.search_model_versions() == []
        [experiment] = [found for found in client.search_experiments() if found.name == "encore"]
        assert client.search_runs([experiment.experiment_id]) == []
    assert lifecycle.registry.versions(TARGET) == []


def test_an_unknown_version_or_target_is_named(lifecycle: Lifecycle) -> None:
    lifecycle.register(model())
    with pytest.raises(ModelError, match=r"no version '7'; there are: 1 \(2026"):
        lifecycle.promote(TARGET, "7")
    with pytest.raises(ModelError, match="no version '1'; there are: none"):
        lifecycle.promote("purchase_intent", "1")
    with pytest.raises(ModelError, match="is not the name of a target"):
        lifecycle.promote("x' OR name LIKE '%", "1")
    with pytest.raises(ModelError, match="no champion before"):
        lifecycle.roll_back(TARGET)


def test_a_database_that_is_locked_missing_or_damaged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    empty_database(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigurationError, match="database is locked"):
            open_lifecycle(tmp_path).register(model())
    assert Registry(tmp_path / "models").versions(TARGET) == []
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(ConfigurationError, match="not a database"):
        open_lifecycle(tmp_path).promote(TARGET, "1")
    path.unlink()
    with pytest.raises(ConfigurationError, match="is not there; run `encore train`"):
        open_lifecycle(tmp_path).roll_back(TARGET)
    assert not path.exists()


def test_a_server_that_does_not_answer_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracking = Tracking("http://me:hunter2@127.0.0.1:1")
    with pytest.raises(ConfigurationError, match=r"MLflow at http://127\.0\.0\.1:1") as refused:
        tracking.targets()
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("damage", ["threshold", "model", "gone", "alias"])
@pytest.mark.parametrize("heal", ["promote", "follow"])
def test_what_is_published_is_made_again_as_mlflow_has_it(lifecycle: Lifecycle, damage: str, heal: str) -> None:
    artifact = model()
    version = lifecycle.register(artifact)
    lifecycle.promote(TARGET, "1")
    folder = lifecycle.registry.root / TARGET / version.name
    match damage:
        case "threshold":
            path = folder / "metadata.json"
            path.write_text(path.read_text().replace('"threshold": ', '"threshold": 1e-9, "was": '))
        case "model":
            (folder / "model.onnx").write_bytes(b"another")
        case "gone":
            shutil.rmtree(folder)
        case "alias":
            (folder.parent / CHAMPION).write_text(f"{version.name} 0 {'0' * 64}\n")
    with pytest.raises(EncoreError):
        lifecycle.registry.load(TARGET)
    if heal == "promote":
        lifecycle.promote(TARGET, "champion")
    else:
        lifecycle.follow(refuse)
    assert lifecycle.registry.load(TARGET) == artifact
    assert lifecycle.registry.alias(TARGET, CHAMPION).sha256 == version.sha256 == artifact.sha256


def test_what_was_published_stays_as_it_is_where_nothing_changed(lifecycle: Lifecycle) -> None:
    lifecycle.register(model())
    lifecycle.promote(TARGET, "1")
    assert lifecycle.follow(refuse) == []


def test_what_is_edited_with_its_alias_is_not_what_mlflow_has(lifecycle: Lifecycle, tmp_path: Path) -> None:
    """Whoever edits a published model can write the hash beside it too; MLflow's stays."""
    version = lifecycle.register(model())
    lifecycle.promote(TARGET, "1")
    database = LocalDatabase(tmp_path / "mlflow.db", tmp_path / "artifacts")
    served = Registry(lifecycle.registry.root, database.version)
    assert served.load(TARGET) == model()
    path = lifecycle.registry.root / TARGET / version.name / "metadata.json"
    path.write_text(path.read_text().replace('"threshold": ', '"threshold": 1e-9, "was": '))
    lifecycle.registry.promote(TARGET, version.name)
    assert lifecycle.registry.load(TARGET).metadata.threshold == 1e-9
    with pytest.raises(ModelError, match="MLflow's registry says"):
        served.load(TARGET)
    lifecycle.promote(TARGET, "1")
    assert served.load(TARGET) == model()
    (tmp_path / "mlflow.db").write_bytes(b"damaged")
    assert served.load(TARGET) == model(), "the alias vouches for it"


@pytest.mark.long
def test_several_projects_share_a_tracking_server(tmp_path: Path) -> None:
    """Not a home's own database, since the URI names a driver: as a server is, for Encore."""
    empty_database(tmp_path / "shared.db")
    uri = f"sqlite+pysqlite:///{tmp_path / 'shared.db'}"
    shops = {name: Tracking(uri, names=ModelNames(name)) for name in (PROJECT, "tea", "tea_house")}
    with shops[PROJECT].client() as client:
        for name in shops:
            client.create_experiment(name, artifact_location=(tmp_path / "artifacts" / name).as_uri())
    lives = {name: Lifecycle(tracking, Registry(tmp_path / name)) for name, tracking in shops.items()}
    made = {name: life.register(model(seed)) for seed, (name, life) in enumerate(lives.items())}
    for name, life in lives.items():
        life.promote(TARGET, "1")
        assert shops[name].versions(TARGET)[0].sha256 == made[name].sha256
        assert [version.number for version in shops[name].versions(TARGET)] == [1]
        assert shops[name].targets() == [TARGET]
    second = lives["tea"].register(model(9))
    lives["tea"].promote(TARGET, "2", CHALLENGER, share=0.25)
    assert (shops["tea"].share(TARGET), shops["tea_house"].share(TARGET)) == (0.25, 0)
    assert second.target == TARGET
    lives["tea"].promote(TARGET, "2")
    champions = {name: tracking.alias(TARGET, CHAMPION) for name, tracking in shops.items()}
    assert {name: one and one.number for name, one in champions.items()} == {PROJECT: 1, "tea": 2, "tea_house": 1}
    assert shops["tea"].roll_back(TARGET).number == 1
    with shops[PROJECT].client() as client:
        found = {one.name for one in client.search_registered_models()}
    assert found == {TARGET, f"tea.{TARGET}", f"tea_house.{TARGET}"}


def test_old_versions_go_but_for_those_that_are_needed(lifecycle: Lifecycle, tmp_path: Path) -> None:
    names = [lifecycle.register(model(seed)).name for seed in range(4)]
    for name in names[:3]:
        lifecycle.promote(TARGET, name)
    assert lifecycle.let_go(datetime(2020, 1, 1, tzinfo=UTC)) == []
    assert lifecycle.let_go(datetime(2099, 1, 1, tzinfo=UTC)) == [f"{TARGET} {names[0]}", f"{TARGET} {names[3]}"]
    assert [one.name for one in lifecycle.tracking.versions(TARGET)] == names[1:3]
    assert lifecycle.registry.versions(TARGET) == sorted(names[1:3])
    assert len(list((tmp_path / "artifacts").iterdir())) == 2
    assert lifecycle.roll_back(TARGET).after == names[1]
