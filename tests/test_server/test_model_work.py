"""What the API has done by child processes: few at once, and none that outlives it."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from polling import poll_until

import server.process.child
import server.process.command
from data.errors import BusyError, CommandError
from server.audit_log.changes import Asker
from server.jobs.model_work import MOST_CHILDREN, ModelWork
from server.settings import Settings, read_settings

pytestmark = pytest.mark.integration

BY = Asker("key boss", "POST /models/{target}/rollback")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings(home=tmp_path / "home")


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> "list[Any]":
    """The children started: each waits for a minute instead of doing something."""
    started: list[Any] = []
    spawn = server.process.child.spawn

    def wait(command: Any, *files: Any, **options: Any) -> Any:
        started.append(spawn([command[0], "-c", "import time; time.sleep(60)"], *files, **options))
        return started[-1]

    monkeypatch.setattr(server.process.command, "spawn", wait)
    return started


def in_thread(call: Callable[[], Any], errors: list[Exception]) -> threading.Thread:
    def run() -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - told to the test
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_few_children_at_once_by_all_servers_of_a_home(settings: Settings, children: "list[Any]") -> None:
    works, errors = [ModelWork(settings), ModelWork(settings)], list[Exception]()
    threads = [in_thread(lambda work=work: work.run(["model", "rollback"], by=BY), errors) for work in works * 10]  # type: ignore[misc]
    poll_until(lambda: len(errors) == len(threads) - MOST_CHILDREN and len(children) == MOST_CHILDREN)
    assert all(isinstance(error, BusyError) for error in errors)
    errors.clear()
    for work in works:
        work.close()
    for thread in threads:
        thread.join()
    assert all(child.poll() is not None for child in children), "they end with the server"
    assert all(isinstance(error, CommandError) and "with the server" in str(error) for error in errors)


def test_one_retraining_at_once_by_all_servers_of_a_home(settings: Settings, children: "list[Any]") -> None:
    one, two = ModelWork(settings), ModelWork(settings)
    assert one.start_retraining("repeat_purchase", if_needed=False, by=BY)
    for work in (one, two):
        assert not work.start_retraining("repeat_purchase", if_needed=False, by=BY)
        assert not work.start_retraining("purchase_intent", if_needed=False, by=BY)
    poll_until(lambda: len(children) == 1)
    one.close()
    assert children[0].poll() is not None
    assert two.start_retraining("purchase_intent", if_needed=True, by=BY)
    two.close()
    assert all(child.poll() is not None for child in children)
