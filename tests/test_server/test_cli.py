"""The command line without a system: help, and failures in one clear line."""

import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from polling import poll_until
from system import System, SystemHere
from typer.main import get_command
from typer.testing import CliRunner

from data.importers import SHIPPED
from features.plan.cache import load_plan
from model.estimators.catalogue import AUTO, ESTIMATORS
from model.targets import TARGETS
from server.cli import app, main
from server.cli.models.model import model
from server.cli.operate.log import log
from server.cli.operate.rollout import rollout

COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]
LOG_COMMANDS = sorted(get_command(log).commands)  # type: ignore[attr-defined]
MODEL_COMMANDS = sorted(get_command(model).commands)  # type: ignore[attr-defined]
ROLLOUT_COMMANDS = sorted(get_command(rollout).commands)  # type: ignore[attr-defined]


@pytest.mark.integration
@pytest.mark.parametrize(
    "command",
    [
        *COMMANDS,
        *(f"model {command}" for command in MODEL_COMMANDS),
        *(f"log {command}" for command in LOG_COMMANDS),
        *(f"rollout {command}" for command in ROLLOUT_COMMANDS),
    ],
)
def test_help_has_an_example(command: str) -> None:
    shown = CliRunner().invoke(app, [*command.split(), "--help"])
    assert shown.exit_code == 0
    assert "Example:" in shown.output
    assert "encore" in shown.output


def test_the_commands_are_those_promised() -> None:
    promised = (
        "audit-log backup clean console doctor evaluate evaluate-live export export-person features forget generate "
        "import infra init key late log materialize mlflow model monitor plan produce rebuild replay restore retention "
        "retrain rollout serve settings status stream train translate ui up uplift verify why"
    )
    assert promised.split() == COMMANDS
    assert LOG_COMMANDS == ["accept-loss", "check", "iceberg", "partials"]
    assert ROLLOUT_COMMANDS == ["back", "finish", "start", "status"]
    assert MODEL_COMMANDS == ["compare", "follow", "list", "promote", "rollback", "show", "withdraw"]


@pytest.mark.parametrize(
    ("command", "names"), [("train", [*ESTIMATORS, AUTO]), ("train", list(TARGETS)), ("import", SHIPPED)]
)
def test_help_names_what_there_is_to_choose(command: str, names: Sequence[str]) -> None:
    words = set(re.findall(r"[\w-]+", CliRunner().invoke(app, [command, "--help"], terminal_width=200).output))
    assert set(names) <= words


@pytest.fixture
def nothing(tmp_path: Path) -> System:
    """A system of which nothing runs and nothing is built."""
    return SystemHere(tmp_path / "home")


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        (["train"], 1, "encore generate"),
        (["import", "missing.csv", "--map", "online-retail"], 1, "missing.csv"),
        (["import", "missing.csv", "--map", "no-such-mapping"], 2, "no-such-mapping"),
        (["import", "missing.csv"], 2, "--propose missing.csv"),
        (["import", "rees46", "missing.csv"], 2, "encore import missing.csv --map rees46"),
        (["import", "missing.csv", "--map", "rees46", "--source", "../x"], 2, "--source"),
        (["import", "--propose", "missing.csv"], 1, "missing.csv"),
        (["materialize"], 1, "Redis"),
        (["produce", "--mode", "burst", "--count", "1", "--wait", "0.2"], 1, "Kafka"),
        (["produce", "--mode", "burst"], 2, "count"),
        (["verify", "--as-of", "yesterday"], 2, "--as-of yesterday"),
        (["model", "promote", "3"], 2, "mlflow.db is not there; run `encore train`"),
        (["model", "list", "--target", "nonsense"], 2, "target 'nonsense' is unknown; there are repeat_purchase,"),
        (["produce", "--mode", "file", "--input", "missing.jsonl.gz", "--wait", "0.2"], 1, "Kafka"),
    ],
)
def test_a_failure_is_one_clear_line(nothing: System, command: list[str], code: int, told: str) -> None:
    failed = nothing.run(*command)
    assert failed.returncode == code, failed.stderr
    line = failed.stderr.strip().splitlines()[-1]
    assert line.startswith("encore: ")
    assert told in line
    assert "Traceback" not in failed.stderr


def test_a_setting_that_is_wrong_is_named(nothing: System) -> None:
    failed = nothing.run("status", REDIS_PORT="many")
    assert failed.returncode == 2
    assert "REDIS_PORT" in failed.stderr


def test_status_of_nothing_says_what_is_missing(nothing: System) -> None:
    seen = nothing.run("status")
    assert seen.returncode == 1
    for part in ("Kafka", "Redis", "API", "encore up"):
        assert part in seen.stdout


def test_clean_refuses_a_folder_that_is_not_ours(nothing: System) -> None:
    nothing.home.mkdir()
    (nothing.home / "thesis.tex").write_text("years of work")
    refused = nothing.run("clean", "--yes")
    assert refused.returncode == 2
    assert "thesis.tex" in refused.stderr
    assert (nothing.home / "thesis.tex").exists()


def test_generate_refuses_a_second_history_and_is_reproducible(nothing: System, tmp_path: Path) -> None:
    flags = ("--users", "50", "--products", "20", "--days", "10", "--events-per-day", "100", "--seed", "3")
    made = nothing.json("generate", *flags)
    assert made["events"] > 0
    refused = nothing.run("generate", *flags)
    assert refused.returncode == 2
    assert "encore clean" in refused.stderr
    out = tmp_path / "events.jsonl.gz"
    assert nothing.run("export", str(out)).returncode == 0
    assert out.exists()


@pytest.mark.long
@pytest.mark.integration  # a process, as all commands are that nobody calls from Python
def test_a_folder_in_the_way_of_the_home_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    failed = System(tmp_path / "file" / "home").run("features")
    assert failed.returncode == 1
    [line] = failed.stderr.strip().splitlines()[-1:]
    assert "Not a directory" in line
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(13, "Permission denied", "/srv/x"), "/srv/x: Permission denied; make it writable"),
        (OSError(30, "Read-only file system", "/srv/x"), "/srv/x: Read-only file system; make it writable"),
        (OSError(28, "No space left on device", "/srv/x"), "/srv/x: No space left on device; free some space"),
    ],
)
def test_what_the_file_system_refuses_is_one_line(
    error: OSError, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise error

    monkeypatch.setattr("server.cli.start.app", refuse)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"encore: {told}")


@pytest.mark.integration
def test_an_interruption_is_no_traceback_whatever_a_library_makes_of_it() -> None:
    """DuckDB ends its query with an error of its own."""
    script = (
        "import duckdb, server.cli.start as commands\n"
        "def ask():\n"
        "    print('asking', flush=True)\n"
        "    duckdb.sql('SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b').fetchall()\n"
        "commands.app = ask\n"
        "commands.main()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "asking\n"
            poll_until(lambda: _interrupted(process))
        finally:
            process.kill()
        assert process.stderr is not None
        assert (process.returncode, process.stderr.read()) == (130, "")


def _interrupted(process: "subprocess.Popen[str]") -> bool:
    """Press Ctrl-C, and again after a while: nothing tells when the query has begun and will heed it.

    Too soon, and the second one meets Python at its exit, when nothing heeds it any more.
    """
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    return process.returncode is not None


def test_an_error_without_a_file_is_a_bug_and_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError("odd")

    monkeypatch.setattr("server.cli.start.app", refuse)
    with pytest.raises(OSError, match="odd"):
        main()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ["--target", "churn"],
            "target 'churn' is unknown; there are repeat_purchase, purchase_intent, cart_abandonment",
        ),
        (["--model", "forest"], "estimator 'forest' is unknown; there are random_forest, "),
        (["--horizon", "30"], "--horizon 30: give a duration such as 30d, 24h or 90m"),
        (["--horizon", "0d"], "--horizon 0d: give a duration"),
        (["--threshold", "recall=2"], "threshold 'recall=2' is no policy"),
        (["--train-start", "tomorrow"], "--train-start tomorrow: give a date such as 2026-11-21"),
        (["--test-end", "2026-11-21T12:00:00"], "or a time with a zone"),
        (["--train-end", "2026-03-01", "--test-start", "2026-02-01"], "test-start 2026-02-01 00:00 does not lie after"),
        (["--target", "cart_abandonment", "--next-session"], "cart_abandonment does not ask whether something follows"),
        (["--report", "report.pdf"], "give the name of a .json file"),
    ],
)
def test_what_cannot_be_trained_is_one_clear_line_before_any_work(
    flags: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ENCORE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", ["encore", "train", *flags])
    with pytest.raises(SystemExit) as ended:
        main()
    line = capsys.readouterr().err.strip()
    assert ended.value.code == 2
    assert line.startswith("encore: ")
    assert told in line
    assert len(line.splitlines()) == 1
    assert not (tmp_path / "home").exists()


def test_a_training_that_fails_leaves_no_empty_report(nothing: System, tmp_path: Path) -> None:
    before = tmp_path / "before.json"
    before.write_text("{}")
    for report in (tmp_path / "new.json", before):
        done = nothing.run("train", "--report", str(report))
        assert (done.returncode, "event log" in done.stderr) == (1, True), done.stderr
    assert not (tmp_path / "new.json").exists()
    assert before.read_text() == "{}"


def test_a_home_is_its_owners_alone(nothing: System, tmp_path: Path) -> None:
    nothing.json("generate", "--users", "10", "--products", "5", "--days", "2", "--events-per-day", "20")
    made = [nothing.home, *nothing.home.rglob("*")]
    assert len(made) > 3
    assert nothing.home.stat().st_mode & 0o777 == 0o700
    assert not [path for path in made if path.stat().st_mode & 0o077]


def test_the_version_says_commit_and_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCORE_HOME", str(tmp_path))
    shown = CliRunner().invoke(app, ["--version"])
    assert shown.exit_code == 0
    assert re.fullmatch(r"encore \d+\.\d+\.\d+\S*, commit ([0-9a-f]{12}|unknown), no plan yet\n", shown.output)
    load_plan(tmp_path / "plan.json")
    assert re.search(r", plan [0-9a-f]+\n$", CliRunner().invoke(app, ["--version"]).output)
