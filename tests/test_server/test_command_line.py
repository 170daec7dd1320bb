"""What all commands share: the first look, exit codes, JSON, settings, completion, and how little they import."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from system import SystemHere
from typer.main import get_command
from typer.testing import CliRunner

from data.errors import ConfigurationError, UnavailableError
from server.cli import app
from server.cli.help.groups import GROUPS
from server.cli.terminal import asked_for_json
from server.settings import Settings, variables

ROOT = Path(__file__).parents[2]

UNTIL_CTRL_C = {"up", "infra", "stream", "translate", "serve", "ui", "console", "mlflow", "monitor"}
"""Those without a result."""

WITHOUT_SETTINGS = {"init"}

FINDS_FAULTS = {"doctor"}
"""One to which a wrong setting is a finding."""

JSON_ANYWAY = {"export-person"}


def _leaves(command: Any, *name: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with its name."""
    for part, one in getattr(command, "commands", {}).items():
        if hasattr(one, "commands"):
            yield from _leaves(one, *name, part)
        else:
            yield (*name, part), one


LEAVES = dict(_leaves(get_command(app)))


def _line(name: tuple[str, ...]) -> list[str]:
    """A command line with a value for each argument that must be there."""
    arguments = [one for one in LEAVES[name].params if one.param_type_name == "argument" and one.required]
    flags = ["--mode", "burst", "--count", "1"] if name == ("produce",) else []
    flags += ["--last", "1"] if name == ("replay",) else []
    flags += ["--map", "rees46"] if name in {("import",), ("uplift",)} else []
    return [*name, *flags, *(f"missing-{one.name}" for one in arguments)]


def test_the_first_look_fits_a_screen_and_has_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, ["--help"]).output.splitlines()
    assert len(shown) <= 40
    assert max(map(len, shown)) <= 80
    words = {line[start:].split(" ")[0] for line in shown for start in (2, 41)}
    assert {name for name, *_ in LEAVES} <= words
    assert [line.split(":")[0] for line in shown if line.split(":")[0] in GROUPS] == list(GROUPS)


def test_few_words_are_few_and_of_commands_that_there_are() -> None:
    told = {name: words for _, commands in GROUPS.values() for name, words in commands.items()}
    assert set(told) <= {name for name, *_ in LEAVES}
    assert [name for name, words in told.items() if len(words) > 24] == []


@pytest.mark.integration  # each command imports its libraries
@pytest.mark.parametrize("name", LEAVES, ids=" ".join)
def test_exit_codes_are_the_same_everywhere(
    name: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = SystemHere(tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    assert here.run(*name, "--help").returncode == 0
    wrong = here.run(*name, "--no-such-flag")
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (2, False)
    if name[0] in WITHOUT_SETTINGS:
        return
    for error, code in (
        (KeyboardInterrupt(), 130),
        (UnavailableError("it is away"), 1),
        (ConfigurationError("it is wrong"), 2),
        (PermissionError(13, "Permission denied", "/srv/x"), 1),
    ):
        monkeypatch.setattr("server.settings._refuse_unknown", _raising(error))
        expected = 1 if code == 2 and name[0] in FINDS_FAULTS else code
        ended = here.run(*_line(name))
        assert (ended.returncode, "Traceback" in ended.stderr) == (expected, False), ended.stderr
        if code != 130 and name[0] not in FINDS_FAULTS:
            assert ended.stderr.splitlines()[-1].startswith("encore: ")


def _raising(error: BaseException) -> Any:
    def refuse(_: object) -> None:
        raise error

    return refuse


def test_what_ends_by_itself_has_a_result_as_json() -> None:
    flags = {name: {flag for one in command.params for flag in one.opts} for name, command in LEAVES.items()}
    assert [name for name in LEAVES if name[0] not in UNTIL_CTRL_C | JSON_ANYWAY and "--json" not in flags[name]] == []


def test_a_failure_is_json_too_where_that_was_asked_for(tmp_path: Path) -> None:
    here = SystemHere(tmp_path / "home")
    failed = here.run("model", "promote", "3", "--json")
    [line] = failed.stdout.splitlines()
    told = json.loads(line)["error"]
    assert (failed.returncode, told["kind"]) == (2, "ConfigurationError")
    assert failed.stderr.strip() == f"encore: {told['message']}"
    assert here.run("model", "promote", "3").stdout == ""
    assert [asked_for_json(line.split()) for line in ("model list --json", "model show -- --json")] == [True, False]


@pytest.mark.integration  # a process, which has an output of its own
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk here that is always full")
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_an_output_that_takes_nothing_is_told_in_a_line(flags: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "server.cli", "settings", *flags]
    env = {**os.environ, "ENCORE_HOME": str(tmp_path)}
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(command, cwd=ROOT, env=env, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    told = "encore: No space left on device; free some space, and run this again\n"
    assert (ended.returncode, ended.stderr) == (1, told)


@pytest.mark.integration  # the same
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_the_terminal_has_no_letters_for_is_told_by_number(encoding: str, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONIOENCODING": encoding, "ENCORE_HOME": str(tmp_path / "ü ☕")}
    command = [sys.executable, "-m", "server.cli", "settings"]
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    shown = "ü ☕".encode(encoding, "backslashreplace").decode(encoding)
    assert f"ENCORE_HOME={tmp_path}/{shown}\n" in ended.stdout.decode(encoding)


@pytest.mark.integration
def test_ctrl_c_at_a_prompt_is_an_interruption() -> None:
    script = (
        "import os, signal, threading, typer, server.cli.start as commands\n"
        "commands.app = typer.Typer()\n"
        "@commands.app.command()\n"
        "def ask():\n"
        "    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "    typer.confirm('sure?', abort=True)\n"
        "commands.main()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.wait(60) == 130


def test_the_list_of_settings_is_whole_and_hides_secrets(tmp_path: Path) -> None:
    here = SystemHere(tmp_path / "home")
    listed = here.run("settings", "--json", REDIS_PASSWORD="hush", API_PORT="8123")
    found = {one["variable"]: one for one in json.loads(listed.stdout)}
    assert list(found) == variables() == [str(field.validation_alias) for field in Settings.model_fields.values()]
    assert [name for name, one in found.items() if not one["meaning"].endswith(".")] == []
    port = found["API_PORT"]
    assert (port["value"], port["default"], port["is_set"]) == ("8123", "8000", True)
    assert (found["REDIS_PASSWORD"]["value"], found["KAFKA_TLS"]["value"]) == ("(set)", "false")
    shown = here.run("settings", REDIS_PASSWORD="hush").stdout
    assert "hush" not in listed.stdout + shown
    assert [name for name in variables() if f"{name}=" not in shown] == []


HEAVY = ("duckdb", "feast", "featuretools", "ibis", "mlflow", "onnxruntime", "pandas", "sklearn", "streamlit")


@pytest.mark.long
@pytest.mark.integration
@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "--version",
        "settings",
        "status",
        "log check",
        "rollout status",
        "model list",
        "key storefront",
    ],
)
def test_what_is_quick_imports_nothing_heavy(line: str, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from server.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        f"    print('heavy:', sorted(set(sys.modules) & set({HEAVY!r})))"
    )
    environment = SystemHere(tmp_path / "home").environment
    command = [sys.executable, "-c", script, *line.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.splitlines()[-1] == "heavy: []", done.stderr


@pytest.mark.long
@pytest.mark.integration
@pytest.mark.parametrize("module", ["server.jobs.stream", "server.jobs.runner", "server.jobs.status"])
def test_what_starts_often_imports_nothing_heavy(module: str) -> None:
    heavy = "{'pandas', 'ibis', 'duckdb', 'featuretools', 'feast', 'sklearn', 'onnxruntime'}"
    check = f"import sys, {module}; print(sorted(set(sys.modules) & {heavy}))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.integration
def test_a_command_imports_nothing_of_the_others() -> None:
    """Each kill of a worker is followed by the import of these; Faker and kafka-python were half of it."""
    heavy = "{'faker', 'kafka', 'redis', 'duckdb', 'numpy', 'pyarrow'}"
    check = f"import sys, server.cli.commands; print(sorted(set(sys.modules) & {heavy}))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.integration
def test_a_worker_does_without_pandas() -> None:
    """PyArrow would import it with the first array; somebody else still may."""
    check = (
        "import sys; from server.cli.run.stream import leave_pandas_out; leave_pandas_out(); import pyarrow as pa; "
        "pa.array(['a']); pa.scalar(1); print('pandas' in sys.modules); import pandas; print(len(pandas.DataFrame()))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "0"]


@pytest.mark.integration
@pytest.mark.parametrize(("typed", "offered"), [("encore roll", ["rollout"]), ("encore model pro", ["promote"])])
def test_a_shell_completes_commands(typed: str, offered: list[str]) -> None:
    """As bash asks, once `encore --install-completion` was typed."""
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1), "_ENCORE_COMPLETE": "complete_bash"}
    script = "import sys; sys.argv = ['encore']; from server.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env={**os.environ, **words}
    )
    assert done.stdout.split() == offered, done.stderr
