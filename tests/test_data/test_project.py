"""A project's folder: what it declares, and one clear line for what is wrong in it."""

import os
import sys
from pathlib import Path

import pytest
from project_folder import SCHEMA, TARGETS_PY, make

from data.default_shop import SHOP
from data.errors import ConfigurationError, DefinitionError
from data.project import DEFAULT, open_project
from model.targets import TARGETS, targets_of


def test_a_folder_declares_a_shop(tmp_path: Path) -> None:
    project = open_project(make(tmp_path))
    assert (project.name, project.folder, project.schema.keys) == ("library", tmp_path, ("reader",))
    assert [target.entity for target in targets_of(project).values()] == ["reader"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encore.toml", "features.py", "schema.py", "targets.py"]


def test_the_packages_own_shop_is_declared_in_the_same_way() -> None:
    assert DEFAULT.schema is SHOP
    assert targets_of() == TARGETS
    assert callable(DEFAULT.declared("features", "define"))


def test_what_is_edited_is_another_shop_at_once_and_another_folder_is_too(tmp_path: Path) -> None:
    one, other = make(tmp_path / "one"), make(tmp_path / "other")
    before = open_project(one)
    assert before.schema == open_project(other).schema
    make(one, schema_py=SCHEMA.replace("loan", "gift"))
    assert [open_project(one).schema.type_names, before.schema.type_names] == [("gift",), ("loan",)]
    assert before.digest != open_project(one).digest
    make(one, helper_py="NAME = 1\n")  # a file that others import counts too
    assert len({open_project(folder).digest for folder in (one, other)} | {before.digest}) == 3


def test_python_runs_from_the_folder_that_is_named_and_from_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "schema.py").write_text("raise SystemExit('it ran')")
    monkeypatch.chdir(elsewhere)
    monkeypatch.syspath_prepend(str(elsewhere))
    path = list(sys.path)
    assert open_project(make(tmp_path / "library")).schema.keys == ("reader",)
    assert sys.path == path
    assert "schema" not in sys.modules


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"encore_toml": 'version = 0\nname = "library"\n'}, "encore.toml:1: the project is of version 0, and this"),
        ({"encore_toml": 'name = "library"\n'}, "encore.toml: the project is of version 0"),
        ({"encore_toml": 'name = "a"\nversion = 2\n'}, "encore.toml:2: .*version 2.*upgrade Encore"),
        ({"encore_toml": 'version = 1\nname = "My shop"\n'}, "encore.toml:2: name = 'My shop'"),
        ({"encore_toml": 'version = 1\nname = "encore"\n'}, "encore.toml:2: .*the package's own shop"),
        ({"encore_toml": 'version = 1\nname = "a"\nport = 1\n'}, "encore.toml:3: port is nothing that a project has"),
        ({"encore_toml": 'version = 1\nname = "a"\n[settings]\nAPI_PORT = [1]\n'}, "encore.toml:4: API_PORT is no"),
        ({"encore_toml": "version = \n"}, "encore.toml: cannot be read as TOML"),
        ({"encore_toml": "name = 'K\xe4fer\n"}, "encore.toml: cannot be read as TOML"),
    ],
)
def test_a_wrong_encore_toml_is_told_in_a_line(files: dict[str, str], told: str, tmp_path: Path) -> None:
    make(tmp_path, **files)
    with pytest.raises(ConfigurationError, match=told) as raised:
        open_project(tmp_path)
    assert "\n" not in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_what_is_no_project_or_not_whole_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no encore\.toml; `encore init nothing` makes one"):
        open_project(tmp_path / "nothing")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "encore.toml")
    with pytest.raises(ConfigurationError, match=r"encore\.toml: is not a file"):
        open_project(tmp_path / "pipe")
    schema = make(tmp_path / "declared") / "schema.py"
    schema.unlink()
    os.mkfifo(schema)
    with pytest.raises(ConfigurationError, match=r"schema\.py: is not there"):
        open_project(schema.parent)
    (make(tmp_path) / "targets.py").unlink()
    with pytest.raises(ConfigurationError, match=r"targets\.py: is not there"):
        open_project(tmp_path)


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ("SHOP = 1 / 0\n", "schema.py, line 1: ZeroDivisionError: division by zero; mend it there"),
        ("SHOP = (\n", "schema.py, line 1: SyntaxError"),
        ("import nothing_like_it\n", "schema.py, line 1: ModuleNotFoundError"),
        ("SHOP = 3\n", "schema.py: SHOP is no Schema"),
        ("shop = 3\n", "schema.py: it declares no SHOP; `encore init` writes a file that does"),
        (SCHEMA.replace('("reader",))', '("writer",))'), "schema.py, line 3: entity `reader` has the key `writer`"),
        (SCHEMA.replace('ordered_by="reader"', 'ordered_by="loan"'), "schema.py, line 3: ordered_by `loan` is no key"),
        (SCHEMA.replace('asks=("reader",)', 'asks=("amount",)'), "asks `amount`, which is no key, label or measure"),
        (SCHEMA.replace('"reader"', '"score"'), "asks `score`, as an answer calls something else; rename it"),
    ],
)
def test_a_slip_in_a_schema_names_file_line_and_way_out(schema: str, told: str, tmp_path: Path) -> None:
    project = open_project(make(tmp_path, schema_py=schema))
    with pytest.raises(DefinitionError, match=told) as raised:
        _ = project.schema
    assert str(raised.value).startswith(str(tmp_path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('("loan",)', '("gift",)', "target 'again' asks about 'gift'; the event types are loan"),
        ("SHOP.entities[0].name", '"book"', "target 'again' is about 'book'; questions name reader"),
        ('"again"', '"Again!"', "not of a-z, 0-9 and _"),
        ("1_000_000", "0", r"targets.py, line 4: target again: its horizon is 0"),
        ("[Target", "1 or [Target", "TARGETS is no list"),
        ("TARGETS = [Target", "TARGETS = [] and [Target", "TARGETS is empty"),
        ("TARGETS = [Target(", "TARGETS = [dict(again=1), str(", "TARGETS holds {'again': 1}, which is no Target"),
    ],
)
def test_a_target_that_the_schema_cannot_answer_is_told(old: str, new: str, told: str, tmp_path: Path) -> None:
    assert old in TARGETS_PY
    text = TARGETS_PY.replace(old, new)
    if "str(" in new:
        text = text.split("str(")[0] + "]\n"
    with pytest.raises(DefinitionError, match=told) as raised:
        targets_of(open_project(make(tmp_path, targets_py=text)))
    assert "targets" in str(raised.value)
    assert "\n" not in str(raised.value)
