"""`encore log`: it says what the log lacks, and lets a person go on without it."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from log_rows import append, append_old, folder_of, read
from typer.testing import CliRunner, Result

from data.log.event_log import EventLog
from server.cli import app
from server.jobs.status import Observer
from server.settings import Settings

OPTIONS: dict[str, Any] = {"env": {"COLUMNS": "200"}}


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EventLog:
    """A log with a hole: 15 to 29 of partition 0."""
    monkeypatch.setenv("ENCORE_HOME", str(tmp_path))
    log = EventLog(tmp_path / "log")
    append(log, range(15))
    append(log, range(30, 40))
    append_old(log, [2, 3], partition=1)
    return log


def encore(*command: str, **more: Any) -> Result:
    return CliRunner().invoke(app, command, **OPTIONS, **more)


def test_check_shows_each_partition_and_fails_with_a_hole(log: EventLog) -> None:
    shown = encore("log", "check")
    assert shown.exit_code == 1
    for part in ("kafka", "0 to 14", "30 to 39", "15 to 29", "0 to 1", "encore stream", "encore log accept-loss"):
        assert part in shown.output
    found = msgspec.json.decode(encore("log", "check", "--json").output)
    assert found["ok"] is False
    first, second = found["partitions"]
    assert (first["rows"], first["files"], first["holes"]) == (23, 2, [[15, 30]])
    assert (second["ok"], second["unknown"], second["consumed"]) == (True, [[0, 2]], [[2, 4]])


def test_a_loss_is_accepted_when_asked_about(log: EventLog) -> None:
    asked = encore("log", "accept-loss", input="n\n")
    assert asked.exit_code == 1
    assert "partition 0 offsets 15 to 29" in asked.output
    assert log.holes() != []
    assert encore("log", "accept-loss", input="y\n").exit_code == 0
    assert log.holes() == []
    assert read(log).num_rows == 25
    found = encore("log", "check")
    assert found.exit_code == 0
    assert "15 to 29" in found.output
    again = encore("log", "accept-loss", "--yes")
    assert (again.exit_code, "nothing to accept" in again.output) == (0, True)


def test_check_names_files_that_cannot_be_read(log: EventLog) -> None:
    log.mark_lost(*log.holes()[0])
    path = append(log, range(40, 50))
    data = bytearray(path.read_bytes())
    data[20:40] = bytes(20)
    path.write_bytes(data)
    assert encore("log", "check").exit_code == 0, "the footer is well"
    found = encore("log", "check", "--pages")
    assert found.exit_code == 1
    assert f"{path.name} cannot be read" in found.output.replace("\n", "")


def test_an_empty_log_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCORE_HOME", str(tmp_path))
    found = encore("log", "check")
    assert (found.exit_code, "encore generate" in found.output) == (0, True)


def test_the_status_names_the_holes(log: EventLog, tmp_path: Path) -> None:
    observer = Observer(
        Settings(home=tmp_path, redis_port=1, kafka_servers="127.0.0.1:1", api_port=1), kafka_wait_s=0.1
    )
    try:
        seen = observer.look()
    finally:
        observer.close()
    assert seen.logged_files == 3
    (problem,) = [one for one in seen.problems if one.startswith("event log: ")]
    assert "lacks 15 offsets" in problem
    assert "encore log check" in problem


def test_the_newest_event_is_found_over_files_without_rows(log: EventLog) -> None:
    log.mark_consumed("kafka", 1, range(4, 9))
    assert log.last_event(["event_id", "user_id"]) == {"event_id": "e3", "user_id": "u0"}
    assert EventLog(folder_of(log) / "none").last_event(["event_id"]) is None
