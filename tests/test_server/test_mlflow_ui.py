"""MLflow's own pages: over the home's models, for this machine and its browsers alone."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from polling import poll_until
from system import System, interrupt

from data.errors import ConfigurationError
from model.registry.local_database import database_uri
from server.api.mlflow_ui import run_mlflow
from server.process.server_process import free_port
from server.settings import read_settings


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (None, r"mlflow\.db is not there; the first `encore train` makes it"),
        ("https://me:hunter2@mlflow.example.org", "names a tracking server, which shows its own pages$"),
    ],
)
def test_what_has_no_pages_here_says_so(uri: str | None, message: str, tmp_path: Path) -> None:
    given = {} if uri is None else {"mlflow_uri": uri}
    with pytest.raises(ConfigurationError, match=message):
        run_mlflow(read_settings(home=tmp_path, **given))


def _ask(port: int, path: str, host: str | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""
    except OSError:
        return 0, b""


@pytest.mark.system  # an environment of its own, fetched
@pytest.mark.timeout(800)
def test_the_pages_show_the_homes_models(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    system, port, output = System(tmp_path / "home?1"), free_port(), tmp_path / "output"
    database = system.home / "mlflow" / "mlflow.db"
    database.parent.mkdir(parents=True)
    MlflowClient(database_uri(database)).create_registered_model("repeat_purchase")
    child = system.start("mlflow", output=output, MLFLOW_PORT=str(port))
    try:
        poll_until(lambda: child.poll() is not None or _ask(port, "/health")[0] == 200, 300)
        if child.poll() is not None and "error sending request" in output.read_text():
            pytest.skip("no way to a package index, where MLflow is")
        assert _ask(port, "/")[0] == 200, output.read_text()
        assert "Job executor" not in output.read_text(), "no process for jobs, which Encore has none of"
        _, listed = _ask(port, "/api/2.0/mlflow/registered-models/search")
        assert [model["name"] for model in json.loads(listed)["registered_models"]] == ["repeat_purchase"]
        assert _ask(port, "/api/2.0/mlflow/registered-models/search", "evil.example")[0] == 403
    finally:
        interrupt(child)
    assert _ask(port, "/health")[0] == 0
