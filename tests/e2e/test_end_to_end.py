"""The real processes over a broker and the embedded store: what a newcomer does, from nothing to a score and back."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from polling import poll_until
from strange import STRANGE_FOLDER
from system import System, interrupt

from data.default_shop import ShopEvent
from data.event import Event, encode_event
from server.process.server_process import free_port

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

WATCHED = ("ENCORE_STREAM_PORT", "ENCORE_MONITOR_PORT", "ENCORE_PRODUCER_PORT")


class Running:
    """A system that `encore up` has started."""

    def __init__(self, system: System, process: "subprocess.Popen[bytes]", output: Path, ports: dict[str, str]) -> None:
        self.ports = ports
        self.system = system
        self.process = process
        self.output = output

    def stop(self) -> int:
        return interrupt(self.process)


def start(system: System, folder: Path, name: str, *flags: str) -> Running:
    output = folder / f"{name}.log"
    ports = {variable: str(free_port()) for variable in WATCHED}
    process = system.start("up", "--rate", "40", "--no-ui", "--no-console", *flags, output=output, **ports)
    running = Running(system, process, output, ports)

    def is_ready() -> bool:
        assert running.process.poll() is None, output.read_text()
        return "ready after" in output.read_text() and system.get("/health")[0] == 200

    poll_until(is_ready, deadline_s=180)
    return running


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A small shop's system, up: every step of `encore up` from nothing has run."""
    folder = tmp_path_factory.mktemp("up")
    system = System(folder / STRANGE_FOLDER)  # what a home is called changes nothing
    made = system.json("generate", "--users", "400", "--products", "60", "--days", "150", "--events-per-day", "400")
    assert made["events"] > 20_000
    started = start(system, folder, "first")
    yield started
    if started.process.poll() is None:
        started.stop()


def test_every_part_says_how_it_is(running: Running) -> None:
    def answers(port: str, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=20) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False  # not yet: they start while the system is ready

    for port in running.ports.values():
        poll_until(lambda port=port: answers(port, "health") and answers(port, "metrics"), deadline_s=60)  # type: ignore[misc]


def event(number: int, event_type: str, **fields: Any) -> Event:
    return ShopEvent(
        **{
            "event_id": f"e2e-{number}",
            "event_type": event_type,
            "user_id": "e2e-shopper",
            "product_id": "e2e-coffee",
            "amount": 12.5,
            "timestamp": datetime.now(UTC),
            **fields,
        }
    )


def test_events_change_features_and_the_score(running: Running, tmp_path: Path) -> None:
    system = running.system
    assert system.get("/features/e2e-shopper")[0] == 404
    status, cold = system.get("/predict?user_id=e2e-shopper&product_id=e2e-coffee")
    assert status == 200
    assert cold["cold_start"] is True

    lines = [encode_event(event(number, "view")) for number in range(3)]
    lines += [encode_event(event(number, "purchase")) for number in range(3, 5)]
    bad = [
        b"{not json",
        encode_event(event(5, "view", amount=1.0)).replace(b"1.0", b"-1.0"),
        encode_event(event(6, "view", timestamp=datetime(2999, 1, 1, tzinfo=UTC))),
    ]
    recording = tmp_path / "events.jsonl"
    recording.write_bytes(b"\n".join([*lines, *bad]) + b"\n")
    letters_before = system.look().dead_letters or 0
    sent = system.run("produce", "--mode", "file", "--input", str(recording), "--json")
    told = json.loads(sent.stdout)
    assert (told["sent"], told["unfit"]) == (len(lines) + len(bad), len(bad))
    assert told["unfit_because"].startswith("malformed: not JSON")
    assert (told["letters"], told["letter_because"].startswith("partition ")) == (len(bad), True)
    assert sent.returncode == 1, "what becomes a dead letter is no success"

    def features() -> dict[str, Any]:
        status, answer = system.get("/features/e2e-shopper?product_id=e2e-coffee")
        return answer["features"] if status == 200 else {}

    poll_until(lambda: features().get("user_purchase_count") == 2, deadline_s=60)
    seen = features()
    assert seen["user_view_count"] == 3
    assert seen["user_product_purchases_1h"] == 2
    assert seen["user_total_spend"] == 25.0
    assert seen["product_distinct_buyers"] == 1

    status, warm = system.get("/predict?user_id=e2e-shopper&product_id=e2e-coffee&amount=12.5")
    assert status == 200
    assert warm["cold_start"] is False
    assert warm["features_used"]["user_purchase_count"] == 2
    assert 0 <= warm["confidence"] <= 1
    assert warm["confidence"] != cold["confidence"]

    poll_until(lambda: (system.look().dead_letters or 0) >= letters_before + len(bad))
    # The topic's length is known at once, the kinds when the worker next speaks.
    poll_until(lambda: {"malformed", "future"} <= set(system.look().rejected))


def test_status_tells_of_live_traffic(running: Running) -> None:
    first = running.system.json("status")
    assert first["problems"] == []
    assert [worker["worker"] for worker in first["workers"]] == ["worker-1"]
    poll_until(lambda: running.system.look().folded > first["folded"])


def test_an_id_is_a_text_whatever_it_looks_like(running: Running) -> None:
    status, _ = running.system.get("/predict?user_id=%5B/x%5D&product_id=%5Bbold%5Dp")
    assert status == 200
    shown = running.system.run("status")
    assert shown.returncode == 0, shown.stderr
    assert "[/x] × [bold]p" in shown.stdout
    poll_until(lambda: "[/x] × [bold]p" in running.output.read_text())


def test_nothing_is_made_beside_a_home_of_any_name(running: Running) -> None:
    beside = sorted(path.name for path in running.system.home.parent.iterdir() if path.is_dir())
    assert beside == [STRANGE_FOLDER]


def test_a_time_before_the_newest_event_is_no_time_to_compare_at(running: Running) -> None:
    refused = running.system.run("verify", "--sample", "2", "--as-of", "2020-01-01T00:00:00Z")
    assert refused.returncode == 2
    assert "--as-of 2020-01-01T00:00:00+00:00: states hold an event of" in refused.stderr


def test_all_paths_agree_on_the_live_system(running: Running) -> None:
    verdict = running.system.json("verify", "--sample", "5")
    assert verdict["ok"], verdict["disagreements"]
    assert verdict["entities"] > 0


def test_an_audit_shows_in_the_status(running: Running, tmp_path: Path) -> None:
    system = running.system
    auditor = system.start("verify", "--every", "2", "--sample", "3", output=tmp_path / "audit.log")
    try:
        poll_until(lambda: system.look().audit is not None, deadline_s=60, every_s=0.5)
    finally:
        auditor.terminate()
        assert auditor.wait(30) == 0, (tmp_path / "audit.log").read_text()
    audit = system.look().audit
    assert audit is not None
    assert (audit.differing, audit.differences) == (0, [])
    assert audit.values > 0
    assert "all paths agree" in system.run("status").stdout


def test_a_second_system_in_the_same_home_is_refused(running: Running) -> None:
    second = running.system.run("up", "--no-ui")
    assert second.returncode == 2
    assert "another `encore up`" in second.stderr
    refused = running.system.run("clean", "--yes")
    assert refused.returncode == 2
    assert "in use" in refused.stderr


def test_a_port_in_use_is_named(running: Running, tmp_path: Path) -> None:
    other = running.system.run("up", ENCORE_HOME=str(tmp_path / "other"))
    assert other.returncode == 2
    assert "is in use; stop the program that listens there" in other.stderr


def test_it_stops_cleanly_and_goes_on_from_what_it_kept(running: Running, tmp_path: Path) -> None:
    # The last test of the module: it stops the system that the others use.
    system = running.system
    assert running.stop() == 0, running.output.read_text()
    assert system.get("/health")[0] == 0
    assert (system.home / "broker" / "apache" / "data" / "ecommerce-events-0").is_dir(), "topics are kept"
    again = start(system, tmp_path, "again")
    try:
        told = again.output.read_text()
        assert "trained" not in told
        assert "materialized" not in told
        _, features = system.get("/features/e2e-shopper")
        assert features["features"]["user_purchase_count"] == 2
        # A helper that dies is named and started again.
        helper = _child(again, " produce")
        subprocess.run(["kill", "-9", helper], check=True)
        poll_until(lambda: _child(again, " produce") not in {"", helper}, deadline_s=60, every_s=0.2)
        assert "producer ended by itself (exit code -9)" in again.output.read_text()
        # A part that the others cannot do without is named, and all is stopped.
        subprocess.run(["kill", "-9", _child(again, " stream")], check=True)
        assert again.process.wait(60) == 1
        told = again.output.read_text()
        assert "stream ended by itself" in told
        assert _children(again.process.pid) == {}
    finally:
        if again.process.poll() is None:
            again.stop()
    cleaned = system.run("clean", "--yes")
    assert cleaned.returncode == 0
    assert [one.name for one in system.home.iterdir()] == ["audit-log"], "it says who deleted the rest"


def _child(running: Running, command: str) -> str:
    """The process id of a part; empty where there is none."""
    return next((pid for pid, found in _children(running.process.pid).items() if command in found), "")


def _children(pid: int) -> dict[str, str]:
    """Commands of the children of a process, by id."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if parent == str(pid):
                found[folder.name] = command
    return found
