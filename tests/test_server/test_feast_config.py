"""The home's feature_store.yaml says what the settings say, whatever these hold."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from strange import FOLDERS, PASSWORDS, STRANGE_FOLDER

from server.jobs.feast_repo import write_config
from server.settings import Settings, read_settings


def as_feast_reads(path: Path) -> Any:
    """Variables are filled in before YAML is read (`feast.repo_config.load_repo_config`)."""
    return yaml.safe_load(os.path.expandvars(path.read_text()))


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/elsewhere")
    monkeypatch.setenv("REDIS_PASSWORD", "hunter2")


@pytest.mark.parametrize("folder", [*FOLDERS, STRANGE_FOLDER, "new\nline", "\x07", "\u202e", "x _place_"])
def test_the_home_is_where_it_is(folder: str, tmp_path: Path) -> None:
    home = tmp_path / folder
    found = as_feast_reads(write_config(read_settings(home=home)))
    assert found["registry"]["path"] == str(home / "feast" / "registry.db")
    assert found["offline_store"]["home"] == found["online_store"]["home"] == str(home)


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_is_a_text_and_is_not_written_down(
    password: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", password)
    path = write_config(read_settings(home=tmp_path / "home"))
    assert as_feast_reads(path)["online_store"]["password"] == password
    assert len(password) < 5 or password not in path.read_text()


def test_other_values_have_their_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_PASSWORD")
    settings = Settings(home=tmp_path, redis_host="true", redis_port=6380, redis_cluster=True, clock="events")
    online = as_feast_reads(write_config(settings))["online_store"]
    assert (online["host"], online["port"], online["cluster"], online["clock"]) == ("true", 6380, True, "events")
    assert "password" not in online


@pytest.mark.integration  # importing Feast takes seconds
def test_feast_itself_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from feast.repo_config import load_repo_config

    monkeypatch.setenv("REDIS_PASSWORD", "a: b #c")
    home = tmp_path / STRANGE_FOLDER
    path = write_config(read_settings(home=home))
    config = load_repo_config(path.parent, path)
    assert config.online_store.password.get_secret_value() == "a: b #c"
    assert config.offline_store.home == str(home)
    assert "a: b" not in repr(config.online_store)


@pytest.mark.parametrize("password", ["two\nlines", "\x07", "a\u2028b"])
def test_a_password_that_no_line_can_hold_is_refused_without_being_shown(password: str) -> None:
    from data.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="REDIS_PASSWORD: holds a line end or a control character") as refused:
        read_settings(redis_password=password)
    assert password not in str(refused.value)
