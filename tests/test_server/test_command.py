"""Our own commands as child processes: what they print, how they fail, and that they end."""

from pathlib import Path

import pytest
from polling import poll_until

from data.errors import CommandError, ConfigurationError, ModelError, UnavailableError, UnknownVersionError
from server.process.command import ExitCode, KeptCommand, RunningCommand, exit_code, run_command
from server.settings import Settings, read_settings

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings(home=tmp_path / "home")


def test_the_result_is_what_it_printed(settings: Settings) -> None:
    assert run_command(settings, ["model", "list"], patience_s=60) == []


def test_a_refusal_has_its_exit_code_and_its_own_line(settings: Settings) -> None:
    with pytest.raises(CommandError, match=r"mlflow\.db is not there") as refused:
        run_command(settings, ["model", "promote"], "3", patience_s=60)
    assert (refused.value.exit_code, refused.value.kind) == (ExitCode.REFUSED, "ConfigurationError")


def test_one_that_takes_too_long_is_ended(settings: Settings) -> None:
    with pytest.raises(CommandError, match=r"`encore model list` took longer than 0\.01 s"):
        run_command(settings, ["model", "list"], patience_s=0.01)


def test_what_was_asked_wrongly_is_told_from_what_failed() -> None:
    errors = (UnavailableError(""), ConfigurationError(""), ModelError(""), UnknownVersionError(""))
    assert [exit_code(error) for error in errors] == [1, 2, 2, 2]


def test_one_beside_us_that_fails_shows_the_end_of_its_log(settings: Settings, tmp_path: Path) -> None:
    command = RunningCommand(settings, tmp_path / "run" / "promote.log", "model", "promote", "3")
    with pytest.raises(UnavailableError, match=r"`encore model promote 3` failed \(exit code 2\); .*\n  encore: "):
        command.finish()
    assert not command.runs
    with pytest.raises(UnavailableError, match="promote ended by itself"):
        command.check()
    command.stop()


@pytest.mark.long
def test_one_that_others_can_do_without_is_started_again(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.process.command._FIRST_PAUSE_S", 0.05)
    kept = KeptCommand(settings, tmp_path / "run" / "helper.log", "model", "promote", "3")
    said: list[str] = []

    def told(times: int) -> bool:
        said.extend(filter(None, [kept.tend()]))
        return len(said) >= times

    try:
        poll_until(lambda: told(3))
    finally:
        kept.stop()
    assert said[0].startswith("helper ended by itself (exit code 2): encore: ")
    assert [one.partition("started again in ")[2].split(",")[0] for one in said] == ["0.05 s", "0.1 s", "0.2 s"]
    assert (tmp_path / "run" / "helper.log").read_text().count("encore: ") >= 3
