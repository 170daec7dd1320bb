"""Server processes: they start, say clearly why they cannot, and leave nothing behind."""

import os
import socket
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest
from chaos import redis_cluster
from polling import poll_until

from data.errors import ConfigurationError, UnavailableError
from server.process import store as store_module
from server.process.kafka_broker import KafkaBroker
from server.process.server_process import free_port, is_free
from server.process.store import Store
from server.process.tansu import Tansu

pytestmark = pytest.mark.integration

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}
"""127.0.0.1 as /proc/net writes it, and as an IPv6 socket has it."""


def test_free_port_can_be_listened_on() -> None:
    port = free_port()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        assert not is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port)


@pytest.mark.long
def test_no_port_is_given_twice() -> None:
    """Neither here nor in another process while this one runs."""
    six = [free_port() for _ in range(6)]
    claimed = "from server.process.server_process import free_port; free_port(among={})"
    with subprocess.Popen([sys.executable, "-c", claimed.format(six)], stderr=subprocess.PIPE) as other:
        assert other.stderr is not None
        assert b"no free port on 127.0.0.1 among 6" in other.stderr.read()
    with pytest.raises(ConfigurationError, match=r"no free port on 127.0.0.1 among 6; stop programs that listen there"):
        free_port(among=six)


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_a_free_port_is_none_that_the_kernel_gives_to_clients() -> None:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not any(first <= free_port() <= last for _ in range(20))
    near_the_end = free_port(among=range(last - 100, last + 1))
    assert first <= near_the_end <= last, "rather one of the kernel's than none"


@pytest.mark.parametrize("which", [0, 1], ids=["for clients", "for other nodes"])
def test_a_server_whose_own_choice_is_taken_chooses_again(
    which: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        chosen = [free_port(), free_port()]
        chosen[which] = other.getsockname()[1]
        monkeypatch.setattr(redis_cluster, "free_port", lambda: chosen.pop(0) if chosen else free_port())
        with redis_cluster.Node(tmp_path) as node:
            assert other.getsockname()[1] not in (node.port, node.bus_port)
            node.check()


def test_it_starts_answers_and_stops(tmp_path: Path) -> None:
    server = Store(free_port(), tmp_path / "deep" / "folder")
    server.start()
    pid = server.pid
    assert pid is not None
    assert server.alive
    server.check()
    assert server.log_path.read_text()

    server.stop()

    assert not _runs(pid)
    assert not server.alive
    server.stop()  # type: ignore[unreachable] # safe to repeat


def test_a_stopped_server_starts_again_on_its_port(tmp_path: Path) -> None:
    server = Store(free_port(), tmp_path)
    with server:
        first = server.pid
    with server:
        assert server.pid != first
        server.check()


def test_starting_twice_keeps_the_process(tmp_path: Path) -> None:
    with Store(free_port(), tmp_path) as server:
        before = server.pid
        server.start()
        assert server.pid == before


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_servers_listen_on_loopback_only(broker: KafkaBroker, store: Store) -> None:
    for server, ports in ((broker, 2), (store, 1)):  # the broker is its own controller
        assert server.pid is not None
        addresses = _listening(server.pid)
        assert len(addresses) == ports
        assert {address.rpartition(":")[0] for address in addresses} <= LOOPBACK


@pytest.mark.parametrize("kind", [KafkaBroker, Tansu, Store])
def test_a_port_in_use_is_named(kind: type[KafkaBroker | Tansu | Store], kafka_jars: Path, tmp_path: Path) -> None:
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


def test_a_server_that_does_not_answer_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\necho thinking\nexec sleep 600\n")
    silent.chmod(0o755)
    monkeypatch.setattr(store_module, "find_store", lambda: silent)
    server = Store(free_port(), tmp_path, patience_s=0.5)
    with pytest.raises(UnavailableError, match=r"no answer on 127.0.0.1:\d+ after 0.5 s[\s\S]*thinking"):
        server.start()
    assert not server.alive


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
        "    connection.send(b'+PONG')\n"
    )
    deaf.chmod(0o755)
    monkeypatch.setattr(store_module, "find_store", lambda: deaf)
    server = Store(port, tmp_path)
    server.start()
    pid = server.pid
    assert pid is not None
    server.stop(grace_s=0.2)
    assert not _runs(pid)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the tether is Linux's PR_SET_PDEATHSIG")
def test_servers_end_with_a_killed_parent(kafka_jars: Path, tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from server.process.kafka_broker import KafkaBroker
        from server.process.store import Store
        from server.process.server_process import free_port
        folder = Path(sys.argv[1])
        servers = [KafkaBroker(free_port(), folder / "broker"), Store(free_port(), folder / "store")]
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


def test_servers_are_out_of_reach_of_the_terminal(broker: KafkaBroker, store: Store) -> None:
    for server in (broker, store):
        assert server.pid is not None
        assert os.getsid(server.pid) != os.getsid(0)


def _runs(pid: int) -> bool:
    """Whether a process of this id exists and is no zombie."""
    try:
        os.kill(pid, 0)
        if sys.platform != "linux":
            return True
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def _listening(pid: int) -> set[str]:
    """Addresses on which a process listens, in the hexadecimal digits of /proc/net."""
    own = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed since it was listed
            own.add(str(descriptor.readlink()))
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own}
