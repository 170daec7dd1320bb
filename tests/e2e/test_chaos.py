"""The chaos suite: faults follow from the seed, the proxy harms, the judge finds what is wrong; and one short run."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from chaos.hosts.network import Network, lack
from chaos.judge import compare_letters, compare_log, compare_states, rewrite
from chaos.ledger import EVENT, POISON, Acknowledged, Ledger, Sent
from chaos.proxy import Proxy
from chaos.schedule import CONNECTION_FAULTS, KILLS, STORE_FAULTS, Fault, of_hosts, schedule
from chaos.truth import Place, Record, Truth, find_truth
from event_streams import START_US, TOPIC, Act, Placed, act, as_log, place, sourced
from redis import Redis

from data.event import encode_event
from data.log.event_log import EventLog
from data.log.sources import topic_source
from data.units import DAY_US, HOUR_US
from features.plan.plan import Plan
from features.state.fold import Fold
from features.state.online.states import OnlineStates
from server.process.server_process import free_port

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("clusters", [(), ("broker", "store")])
def test_faults_are_a_function_of_the_seed(clusters: tuple[str, ...]) -> None:
    faults = schedule(7, 600, workers=3, clusters=clusters)
    assert faults == schedule(7, 600, workers=3, clusters=clusters)
    assert faults != schedule(8, 600, workers=3, clusters=clusters)
    kinds = Counter(fault.kind for fault in faults)
    assert sum(number for kind, number in kinds.items() if kind in KILLS) >= 100
    assert sum(number for kind, number in kinds.items() if kind in CONNECTION_FAULTS) >= 100
    assert all(kinds[f"kill {what}"] > 25 for what in clusters)
    assert set(kinds) >= {
        *KILLS,
        *CONNECTION_FAULTS,
        *STORE_FAULTS,
        "pause worker",
        "stop worker",
        "fill disk",
        "step clock",
    }
    assert all(fault.at_s > 0 and fault.at_s + fault.lasts_s < 610 for fault in faults)


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                while data := connection.recv(65_536):
                    connection.sendall(data)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65_536)
    except OSError:
        return b""


def test_a_broker_may_be_away_for_longer_than_messages_wait() -> None:
    (added,) = set(schedule(7, 600, workers=3, away_s=45)) - set(schedule(7, 600, workers=3))
    assert added == Fault(200, "kill broker", lasts_s=45)


def test_each_host_is_lost_once_before_any_is_lost_again() -> None:
    hosts = ["broker", "worker", "bucket"]
    faults = of_hosts(7, 600, hosts, {"bucket"})
    assert faults == of_hosts(7, 600, hosts, {"bucket"})
    assert len(faults) > 20
    lost = [fault.kind.partition(" ") for fault in faults]
    assert all({name for _, _, name in lost[at : at + 3]} == set(hosts) for at in range(0, len(lost) - 2, 3))
    assert {(what, name) for what, _, name in lost} == {
        ("unplug", "bucket"), *((what, name) for what in ("lose", "unplug") for name in ("broker", "worker")),
    }  # fmt: skip


@pytest.mark.integration
@pytest.mark.skipif(bool(lack()), reason=lack() or "there are hosts")
def test_a_host_without_its_cable_is_silent() -> None:
    with Network(["near", "far"]) as network:
        near, far = network.hosts.values()
        with near.inside():
            listener = socket.create_server((near.address, 9000))
        with far.inside():
            client = socket.create_connection((near.address, 9000), timeout=20)
        with listener, client, listener.accept()[0] as server:
            near.unplug()
            client.sendall(b"held")
            server.settimeout(0.3)
            with pytest.raises(TimeoutError):
                server.recv(10)
            near.plug()
            server.settimeout(20)
            assert server.recv(10) == b"held"
        with far.inside(), pytest.raises(OSError, match="Cannot assign requested address"):
            socket.create_server((near.address, 9000))


@pytest.mark.integration
def test_the_proxy_harms_and_heals(echo: int) -> None:
    port = free_port()

    def connected() -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), timeout=20)

    def answers(connection: socket.socket) -> bool:
        connection.sendall(b"hello")
        return _received(connection) == b"hello"

    with Proxy({"link": (port, [free_port(), echo])}) as proxy, connected() as first:
        assert answers(first)
        proxy.do("link", "cut")
        assert _received(first) == b""
        proxy.do("link", "refuse")
        with suppress(ConnectionResetError), connected() as refused:
            assert _received(refused) == b""
        proxy.do("link", "heal")
        with connected() as second:
            assert answers(second)
            proxy.do("link", "stall")
            second.sendall(b"held")
            second.settimeout(0.2)
            with pytest.raises(TimeoutError):
                second.recv(10)
            second.settimeout(20)
            proxy.do("link", "heal")
            assert second.recv(10) == b"held"
            proxy.do("link", "halve", 8)
            second.sendall(b"0123456789")
            torn = b"".join(iter(lambda: _received(second), b""))
            assert len(torn) < 10


EVENTS = [
    act(Act(("purchase", "view", "add_to_cart")[n % 3], f"u{n % 4}", f"p{n % 3}", n * HOUR_US, n / 4), f"e{n}")
    for n in range(40)
]


def truth_of(placed: list[Placed]) -> Truth:
    source = topic_source(TOPIC)
    events = {Place(source, one.partition, one.offset): encode_event(one.event) for one in placed}
    return Truth(events, {}, [], len(events), 0, 0, 0, 0, 0)


@pytest.mark.long
def test_the_judge_sees_what_is_lost_double_and_wrong(plan: Plan, redis_client: "Redis[bytes]", tmp_path: Path) -> None:
    at_us = START_US + 300 * DAY_US
    placed = place(EVENTS)
    states = OnlineStates(redis_client)
    Fold(plan, states, TOPIC).apply(sourced(placed))
    log = as_log(EventLog(tmp_path / "log"), placed)

    true_log, events = rewrite(truth_of(placed), tmp_path / "same", at_us)
    found = compare_states(plan, true_log, events, states, at_us)
    assert (found.lost, found.double, found.wrong, found.examples) == (0, 0, 0, [])
    assert found.looked_at > 500
    assert compare_log(log, true_log)[1:] == (0, 0, 0, [])

    fewer_log, fewer = rewrite(truth_of(placed[:-1]), tmp_path / "fewer", at_us)
    found = compare_states(plan, fewer_log, fewer, states, at_us)
    assert found.double == 1
    assert found.wrong > 0
    assert compare_log(log, fewer_log).wrong == 1

    more = place([*EVENTS, act(Act("view", "u1", "p1", 0), "more")])
    more_log, events = rewrite(truth_of(more), tmp_path / "more", at_us)
    assert compare_states(plan, more_log, events, states, at_us).lost == 1
    assert compare_log(log, more_log).lost == 1

    changed = act(Act("view", "u1", "p1", 0, 77.0), "e1")
    other_log, _ = rewrite(truth_of(place([EVENTS[0], changed, *EVENTS[2:]])), tmp_path / "other", at_us)
    assert compare_log(log, other_log).wrong > 0


def test_the_judge_looks_at_every_dead_letter() -> None:
    source = topic_source(TOPIC)
    poison = {Place(source, 0, 4): Record(b"k", b"{", {}), Place(source, 1, 9): Record(b"k", b"!", {})}
    truth = Truth({}, poison, [], 0, 0, 0, 0, 0, 0)

    def letter(partition: int, offset: int, value: bytes) -> Record:
        return Record(b"k", value, {"partition": b"%d" % partition, "offset": b"%d" % offset})

    found, again = compare_letters(truth, {(0, 0): letter(0, 4, b"{"), (0, 1): letter(0, 4, b"{")})
    assert (found.lost, found.wrong, again) == (1, 0, 1)
    found, _ = compare_letters(
        truth, {(0, 0): letter(0, 4, b"["), (0, 1): letter(1, 9, b"!"), (0, 2): letter(2, 2, b"")}
    )
    assert (found.lost, found.wrong) == (0, 2)


def test_the_truth_is_what_was_written_down_and_what_the_topic_holds(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    messages = [Sent(n, POISON if n == 3 else EVENT, b"u", b"m%d" % n) for n in range(8)]
    for message in messages:
        ledger.sent(message)
    # Of 4 and 5 nobody heard; 7 was there already when it was sent again.
    for number, offset in ((0, 0), (1, 1), (2, 2), (3, 3), (6, 9), (7, -1)):
        ledger.acknowledged(Acknowledged(number, 0, offset, 10))
    ledger.close()
    bodies = [b"m0", b"other", b"m2", b"m3", b"m4", b"m2", b"m7"]
    living = {(0, offset): Record(b"u", body, {}) for offset, body in enumerate(bodies)}
    truth = find_truth(tmp_path, TOPIC, living)
    source = topic_source(TOPIC)
    assert truth.events == {Place(source, 0, n): bodies[n] for n in (0, 2, 4, 6)}
    assert truth.repeats == 1, "5 is 2 again"
    assert truth.poison == {Place(source, 0, 3): living[0, 3]}
    assert (truth.acknowledged, truth.unacknowledged) == (6, 2)
    # 1 is another message, 6 is nowhere.
    assert (truth.broker_lost, truth.foreign, truth.sent_again) == (2, 1, 1)


def _run(kafka_jars: Path, folder: Path, flags: str) -> dict[str, Any]:
    """The verdict of a short run."""
    done = subprocess.run(
        [sys.executable, "-m", "chaos", *flags.split(), "--keep", str(folder)],
        env={**os.environ, "PYTHONPATH": str(BENCHMARKS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    verdict: dict[str, Any] = json.loads(done.stdout)
    assert (verdict["lost"], verdict["double"], verdict["wrong"], verdict["problems"]) == (0, 0, 0, [])
    assert verdict["events"] > 5_000
    assert verdict["values"] > 100_000
    return verdict


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_a_minute_of_faults_loses_nothing_and_counts_nothing_twice(kafka_jars: Path, tmp_path: Path) -> None:
    """Two minutes, of which one with faults."""
    verdict = _run(kafka_jars, tmp_path / "run", "--seed 3 --minutes 1 --rate 500 --workers 2 --forget 40")
    assert min(verdict["kills"], verdict["connection_faults"]) >= 4


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_a_minute_of_failovers_loses_nothing_and_counts_nothing_twice(kafka_jars: Path, tmp_path: Path) -> None:
    """Three brokers, and three primaries with replicas, whose leaders die."""
    verdict = _run(kafka_jars, tmp_path / "run", "--seed 3 --minutes 1 --rate 300 --workers 2 --topology cluster")
    assert all(verdict["failovers"][what] >= 1 for what in ("broker", "store"))
    assert min(verdict["kills"], verdict["connection_faults"]) >= 4


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.skipif(bool(lack()), reason=lack() or "there are hosts")
def test_losing_hosts_loses_nothing_and_counts_nothing_twice(kafka_jars: Path, tmp_path: Path) -> None:
    """Ten hosts with their log in a bucket; some lose their power or their cable."""
    verdict = _run(kafka_jars, tmp_path / "run", "--seed 2 --minutes 1.5 --rate 300 --workers 2 --topology hosts")
    assert sum(verdict["faults"].values()) >= 1  # on a busy machine the rest is rarely well enough to lose another
