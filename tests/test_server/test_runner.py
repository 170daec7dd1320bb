"""What `encore up` says when it ends."""

import io
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from event_streams import shop
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata
from rich.console import Console

from data.errors import ConfigurationError
from data.event import encode_event
from data.log.event_log import EventLog
from events.kafka.topics import ensure_topics
from server.jobs.runner import Runner, RunOptions
from server.process.server_process import free_port
from server.process.store import Store
from server.settings import read_settings


@pytest.mark.parametrize("committed", [4, 10])
def test_what_is_not_folded_is_told_at_the_end(
    kafka_servers: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, committed: int
) -> None:
    """Ctrl-C while messages wait: they are counted once the workers have stopped."""
    settings = read_settings(
        home=tmp_path / "home",
        kafka_servers=kafka_servers,
        redis_port=store.port,
        api_port=free_port(),
        project=f"waits_{committed}",
    )
    names = settings.kafka_names
    ensure_topics(kafka_servers, names.events)
    producer = KafkaProducer(bootstrap_servers=kafka_servers)
    for event in shop(10):
        producer.send(names.events, encode_event(event), event.user_id.encode(), partition=0)
    producer.close()

    def fold(_: Runner) -> None:
        admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
        place = TopicPartition(names.events, 0)
        admin.alter_group_offsets(names.group, {place: OffsetAndMetadata(committed, "", -1)})
        admin.close()

    monkeypatch.setattr(Runner, "_build", lambda _: None)
    monkeypatch.setattr(Runner, "_start_parts", lambda runner: setattr(runner, "_had_workers", True))
    monkeypatch.setattr(Runner, "_stop_parts", fold)
    said = io.StringIO()
    options = RunOptions(infra=False, ui=False, console=False)
    Runner(settings, options, Console(file=said, width=200)).run(lambda _: True)
    told = "6 messages are not folded yet: they are folded when it starts again"
    assert (told in said.getvalue()) == (committed == 4), said.getvalue()
    assert "not folded" not in said.getvalue() or committed == 4


def ports_in_a_row() -> tuple[int, int]:
    """Two free ports, the second the one above the first: where another test has that one, two others."""
    while True:
        first = free_port()
        with suppress(ConfigurationError):
            return first, free_port(among=[first + 1])


def test_ports_of_metrics_that_are_taken_are_told_before_anything_is_built(tmp_path: Path) -> None:
    """The second worker's is the one above the first's."""
    first, port = ports_in_a_row()
    with socket.create_server(("127.0.0.1", port)):
        settings = read_settings(home=tmp_path, stream_port=first, api_port=free_port())
        options = RunOptions(workers=2, ui=False, console=False, infra=False)
        with pytest.raises(ConfigurationError, match=rf"worker-2 \(ENCORE_STREAM_PORT and on\).* {port} "):
            Runner(settings, options, Console(file=io.StringIO())).run(lambda _: True)
    assert not (tmp_path / "log").exists()


def test_it_can_be_stopped_while_it_builds(kafka_servers: str, store: Store, tmp_path: Path) -> None:
    """What it waits for is in a session of its own, which Ctrl-C does not reach."""
    settings = read_settings(home=tmp_path / "home", kafka_servers=kafka_servers, redis_port=store.port)
    said = io.StringIO()
    options = RunOptions(infra=False, build_only=True)
    with pytest.raises(KeyboardInterrupt):
        Runner(settings, options, Console(file=said, width=200)).run(lambda _: (settings.run / "generate.log").exists())
    lines = [line.strip() for line in said.getvalue().splitlines()]
    # Before it may stand that the store holds another home's states: those of another test.
    assert lines[-2] == "what is built stays: the next call goes on from there"
    assert lines[-1].startswith("\N{CHECK MARK} stopped generate")
    assert not EventLog(settings.log).count()
