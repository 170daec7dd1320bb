"""docs/tutorial.md, typed to the letter: another shop's file becomes a live score that every path agrees on."""

import json
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from polling import poll_until
from shell import Shell
from shell_blocks import ROOT, blocks
from system import System

pytestmark = pytest.mark.system

LINES = [command for block in blocks("docs/tutorial.md") for command in block.commands]


def test_little_is_typed() -> None:
    assert 10 < len(LINES) <= 60


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path / "unused")


@pytest.fixture
def shell(tmp_path: Path, system: System) -> Iterator[Shell]:
    """A shell in a folder with what of the clone the tutorial uses."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
    environment = {name: value for name, value in system.environment.items() if name != "ENCORE_HOME"}
    made = Shell(tmp_path, environment)
    yield made
    made.end()


@pytest.mark.timeout(1_800)
def test_the_tutorial_leads_to_a_score_that_every_path_agrees_on(shell: Shell, system: System) -> None:
    said: dict[str, str] = {}
    scores: list[dict[str, object]] = []
    for line in LINES:
        if line.startswith("curl"):
            poll_until(lambda: system.get("/health/ready")[0] == 200, 300)
            said[line] = shell.answer(line.replace(":8000/", f":{system.api_port}/").replace("curl ", "curl -sS "))
            if "predict" in line:
                scores.append(json.loads(said[line]))
            continue
        said[line] = shell.type(line)
        if line == "encore infra &":
            poll_until(lambda: "Redis on" in shell.text(), 120)
        if line.startswith("encore produce"):
            sent = len((shell.folder / "tea" / "live.jsonl").read_text().splitlines())
            assert f"{sent} " in said[line]
            poll_until(partial(_has_folded, shell, sent), 300, every_s=1.0)
    first, second = scores
    assert {"kundenkarte", "artikel_nr", "confidence", "features_used"} <= first.keys()
    assert (first["kundenkarte"], first["artikel_nr"], first["cold_start"]) == ("00012", "T-005", False)
    assert str(second["timestamp"]) > str(first["timestamp"]), "now is the newest event's time"
    group = json.loads(said["curl 'http://127.0.0.1:8000/entities/gruppe/features?key=Oolong'"])
    assert group["key"] == {"gruppe": "Oolong"}
    assert group["features"]["gruppe_verkauf_count"] > 100
    assert "agree" in said["encore verify --sample 5"]


def _has_folded(shell: Shell, events: int) -> bool:
    return int(json.loads(shell.answer("encore status --json"))["folded"]) >= events
