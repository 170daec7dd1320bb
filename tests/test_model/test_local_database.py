"""MLflow's database in a file: found wherever the home lies, read without MLflow, and in its new place after a move."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from serving import tiny_model
from strange import FOLDERS, STRANGE_FOLDER

from model.artifact.artifact import Artifact
from model.registry.lifecycle import Lifecycle
from model.registry.local_database import LocalDatabase, database_uri, local_database
from model.registry.mlflow import Tracking
from model.registry.published import CHALLENGER, CHAMPION, Registry

pytestmark = pytest.mark.integration  # it takes many seconds

TARGET = "repeat_purchase"


def open_lifecycle(home: Path) -> Lifecycle:
    return Lifecycle(Tracking(database_uri(home / "mlflow" / "mlflow.db")), Registry(home / "models"))


def model(seed: int = 0) -> Artifact:
    return tiny_model(("user_view_count", "request_amount"), seed)


@pytest.mark.parametrize("folder", [*FOLDERS, STRANGE_FOLDER])
def test_the_uri_of_a_file_names_that_file(folder: str) -> None:
    path = Path("/srv") / folder / "mlflow.db"
    assert local_database(database_uri(path)) == path
    assert local_database("https://mlflow.example.org") is None
    assert local_database("sqlite:////tmp/a.db?timeout=5") == Path("/tmp/a.db")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of a strange name with a champion and a challenger."""
    home = tmp_path_factory.mktemp("homes") / STRANGE_FOLDER
    lifecycle = open_lifecycle(home)
    for seed in range(2):
        lifecycle.register(model(seed))
    lifecycle.promote(TARGET, "1")
    lifecycle.promote(TARGET, "2", CHALLENGER, share=0.25)
    return home


def test_a_home_of_any_name_keeps_its_models_and_nothing_is_made_beside_it(home: Path) -> None:
    assert (home / "mlflow" / "mlflow.db").exists()
    assert [path.name for path in home.parent.iterdir()] == [STRANGE_FOLDER]
    tracking = open_lifecycle(home).tracking
    assert tracking.artifact(tracking.find(TARGET, CHAMPION)) == model(0)


def test_what_is_read_from_the_file_is_what_mlflow_says(home: Path) -> None:
    tracking = open_lifecycle(home).tracking
    known = tracking.versions(TARGET)
    with tracking.client() as client:
        found = [client.get_model_version(TARGET, str(number)) for number in (1, 2)]
        runs = [client.get_run(version.run_id) for version in found]
    for version, said, run in zip(known, found, runs, strict=True):
        assert (version.number, version.run_id) == (int(said.version), said.run_id)
        assert version.aliases == tuple(said.aliases)
        assert version.created.timestamp() * 1000 == said.creation_timestamp
        assert dict(version.metrics) == run.data.metrics
        assert dict(version.parameters) == run.data.params
    assert [version.aliases for version in known] == [("champion",), ("challenger",)]
    assert tracking.targets() == [TARGET]
    assert tracking.share(TARGET) == 0.25
    assert tracking.alias(TARGET, "nobody") is None


def test_looking_imports_no_mlflow(home: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from server.settings import read_settings\n"
        "from server.jobs.modelling import compare_versions, describe, list_versions\n"
        "settings = read_settings(home=Path(sys.argv[1]))\n"
        "assert len(list_versions(settings, None)) == 2\n"
        "describe(settings, 'repeat_purchase', 'champion'); compare_versions(settings, 'repeat_purchase', '1', '2')\n"
        "print(sorted({'mlflow', 'onnxruntime', 'sqlalchemy', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script, home], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_home_that_was_moved_or_restored_publishes_its_models_again(home: Path, tmp_path: Path, how: str) -> None:
    original, elsewhere = tmp_path / "first", tmp_path / "then 100%?"
    shutil.copytree(home, original)
    open_lifecycle(original).withdraw(TARGET)  # it has been at this place
    shutil.copytree(original, elsewhere)
    if how == "moved":
        shutil.rmtree(original)
    shutil.rmtree(elsewhere / "models")
    there = sorted(original.rglob("*"))
    lifecycle = open_lifecycle(elsewhere)
    lifecycle.promote(TARGET, "2")
    assert lifecycle.registry.load(TARGET) == model(1)
    lifecycle.roll_back(TARGET)
    assert lifecycle.registry.load(TARGET) == model(0)
    lifecycle.register(model(2))
    assert len(list((elsewhere / "mlflow" / "artifacts").glob("*/artifacts/model/model.onnx"))) == 3
    assert sorted(original.rglob("*")) == there, "nothing is written where it was"


def test_files_that_lie_elsewhere_on_purpose_stay_there(home: Path, tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    shutil.copy(home / "mlflow" / "mlflow.db", database)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("UPDATE experiments SET artifact_location = 's3://bucket/models' WHERE name = 'encore'")
    (tmp_path / "artifacts").mkdir()
    LocalDatabase(database, tmp_path / "artifacts").prepare(create=False)
    with closing(sqlite3.connect(database)) as connection:
        [[place]] = connection.execute("SELECT artifact_location FROM experiments WHERE name = 'encore'").fetchall()
    assert place == "s3://bucket/models"


@pytest.mark.long
def test_a_new_version_takes_the_place_that_is_free(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home, tmp_path / "home")
    lifecycle = open_lifecycle(tmp_path / "home")
    told = lifecycle.introduce(lifecycle.register(model(2)))
    assert "while the trial of" in told, "a trial with a share of the users goes on"
    assert lifecycle.registry.resolve_share(TARGET, CHALLENGER) == (model(1).metadata.version, 0.25)
    lifecycle.promote(TARGET, "2", CHALLENGER)
    told = lifecycle.introduce(lifecycle.register(model(3)))
    assert f"in place of {model(1).metadata.version}, which was in the shadow" in told
    assert lifecycle.registry.resolve(TARGET) == model(0).metadata.version
    assert lifecycle.registry.resolve(TARGET, CHALLENGER) == model(3).metadata.version
    assert lifecycle.introduce(lifecycle.register(model(4)), promote=True).startswith("champion, in place of")
    assert lifecycle.registry.resolve(TARGET) == model(4).metadata.version
