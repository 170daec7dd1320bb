"""The embedded broker and store: they start, say clearly why they cannot, and leave nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from polling import poll_until
from redis import Redis

from data.errors import ConfigurationError, UnavailableError
from server.process import embedded
from server.process.embedded import Broker, Store, find_broker, find_store
from server.process.server_process import free_port


def test_free_port_can_be_listened_on() -> None:
    port = free_port()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()


def test_broker_starts_answers_and_stops(tmp_path: Path) -> None:
    broker = Broker(free_port(), tmp_path / "deep" / "folder")
    broker.start()
    pid = broker.pid
    assert pid is not None
    assert broker.alive
    broker.check()
    assert broker.log_path.read_text()
    assert broker.servers == f"127.0.0.1:{broker.port}"

    broker.stop()

    assert not broker.alive
    assert not _runs(pid)
    broker.stop()  # safe to repeat


def test_a_stopped_broker_starts_again_on_its_port(tmp_path: Path) -> None:
    broker = Broker(free_port(), tmp_path)
    with broker:
        first = broker.pid
    with broker:
        assert broker.pid != first
        broker.check()


def test_starting_twice_keeps_the_process(tmp_path: Path) -> None:
    with Broker(free_port(), tmp_path) as broker:
        before = broker.pid
        broker.start()
        assert broker.pid == before


def test_store_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    store = Store(free_port(), tmp_path)
    with store, Redis(host=store.host, port=store.port) as client:
        client.hset("user", "state", b"\x00\xff")
        assert client.config_get("append*")["appendfsync"] == "everysec"
        assert client.config_get("save") == {"save": ""}
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


def test_servers_listen_on_loopback_only(broker: Broker, store: Store) -> None:
    listening = Path("/proc/net/tcp")
    if not listening.exists():
        pytest.skip("reads Linux's /proc")
    loopback = f"{int.from_bytes(socket.inet_aton('127.0.0.1'), sys.byteorder):08X}"
    sockets = [line.split()[1:4] for line in listening.read_text().splitlines()[1:]]
    for port in (broker.port, store.port):
        assert {local for local, _, state in sockets if state == "0A" and local.endswith(f":{port:04X}")} == {
            f"{loopback}:{port:04X}"
        }


@pytest.mark.parametrize("kind", [Broker, Store])
def test_a_port_in_use_is_named(kind: type[Broker] | type[Store], tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port} on 127.0.0.1 is in use; .*choose another port"):
            kind(port, tmp_path).start()


def test_a_folder_in_use_is_named(tmp_path: Path) -> None:
    with (
        Store(free_port(), tmp_path),
        pytest.raises(ConfigurationError, match=f"another one is running in {tmp_path}"),
    ):
        Store(free_port(), tmp_path).start()


def test_a_server_that_dies_shows_its_log(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "appendonly.aof.manifest").write_text("no manifest\n")
    store = Store(free_port(), tmp_path)
    with pytest.raises(UnavailableError, match=r"store: the process ended[\s\S]*manifest"):
        store.start()
    assert not store.alive


def test_a_server_that_does_not_answer_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\necho thinking\nexec sleep 600\n")
    silent.chmod(0o755)
    monkeypatch.setattr(embedded, "find_broker", lambda: silent)
    broker = Broker(free_port(), tmp_path, patience_s=0.5)
    with pytest.raises(UnavailableError, match=r"no answer on 127.0.0.1:\d+ after 0.5 s[\s\S]*thinking"):
        broker.start()
    assert not broker.alive


def test_a_server_deaf_to_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = tmp_path / "deaf"
    port = free_port()
    deaf.write_text(
        f"#!{sys.executable}\n"
        "import signal, socket\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"listener = socket.create_server(('127.0.0.1', {port}))\n"
        "while True:\n"
        "    connection, _ = listener.accept()\n"
        "    connection.send(bytes(8))\n"
    )
    deaf.chmod(0o755)
    monkeypatch.setattr(embedded, "find_broker", lambda: deaf)
    broker = Broker(port, tmp_path)
    broker.start()
    pid = broker.pid
    assert pid is not None
    broker.stop(grace_s=0.2)
    assert not _runs(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="the tether is Linux's PR_SET_PDEATHSIG")
def test_servers_end_with_a_killed_parent(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from server.process.embedded import Broker, Store
        from server.process.server_process import free_port
        folder = Path(sys.argv[1])
        servers = [Broker(free_port(), folder / "broker"), Store(free_port(), folder / "store")]
        for server in servers:
            server.start()
        print(*(server.pid for server in servers), flush=True)
        time.sleep(600)
    """)
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(_runs(pid) for pid in pids)
        parent.kill()
    poll_until(lambda: not any(_runs(pid) for pid in pids))


def test_servers_are_out_of_reach_of_the_terminal(broker: Broker, store: Store) -> None:
    for server in (broker, store):
        assert server.pid is not None
        assert os.getsid(server.pid) != os.getsid(0)


def test_nothing_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_package_folder", lambda package: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigurationError, match="extra embedded"):
        find_broker()
    with pytest.raises(ConfigurationError, match="extra embedded"):
        find_store()


def test_a_redis_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "redis-server"
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_store() == mine


def _runs(pid: int) -> bool:
    """Whether a process of this id exists and is no zombie."""
    try:
        os.kill(pid, 0)
        if sys.platform != "linux":
            return True
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
