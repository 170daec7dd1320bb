"""docs/tutorial.md, typed to the letter: another shop's file becomes a live score that every path agrees on."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from polling import poll_until
from system import System

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.system

BLOCKS = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs" / "tutorial.md").read_text(), re.MULTILINE | re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines()]


def test_little_is_typed() -> None:
    assert 10 < len(LINES) <= 60


class Shell:
    """One bash that is typed into, line by line, as a person would; what runs behind it ends with it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._output = (folder / "shell.log").open("w+b")
        self._shell = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._number = 0
        self.folder = folder

    def type(self, line: str, *, timeout_s: float = 600) -> str:
        """Type a line and wait for its end; return what it printed. It must succeed."""
        assert self._shell.stdin is not None
        before = self.text()
        self._number += 1
        mark = f"--- {self._number} ended with "
        self._shell.stdin.write(f"{line}\necho '{mark}'$?\n".encode())
        self._shell.stdin.flush()
        poll_until(lambda: mark in self.text(), timeout_s)
        said, _, rest = self.text()[len(before) :].partition(mark)
        assert rest.startswith("0"), f"{line}\n{said}{rest}"
        return said

    def answer(self, line: str) -> str:
        """Type a line; return what it printed, and nothing of what runs behind the shell."""
        answer = self.folder / "answer"
        self.type(f"{line} > {answer}")
        return answer.read_text()

    def text(self) -> str:
        self._output.flush()
        return Path(self._output.name).read_text(errors="replace")

    def end(self) -> None:
        os.killpg(self._shell.pid, signal.SIGTERM)
        self._shell.wait(60)
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        self._output.close()


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
