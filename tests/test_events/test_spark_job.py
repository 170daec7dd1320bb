"""The stream as a Spark job: workers and jobs take turns, and leave what a worker alone leaves, byte by byte.

worker ── job ── worker ── job (killed) ── job ──▶      the same states, events, dead letters
a worker alone ─────────────────────────────────▶
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from background import in_background
from consuming import read_topic
from editions import differing
from event_streams import shop
from kafka import KafkaProducer
from polling import poll_until
from redis import Redis
from serving import make_home

from data.errors import ConfigurationError
from data.event import encode_event
from events.kafka.consumer import Consumer, ConsumerOptions
from events.kafka.topics import dead_letter_topic, ensure_topics
from features.batch.engine import DuckDBEngine
from features.batch.spark.session import SparkConnection
from features.state.editions.editions import Opened
from features.state.fence import Fence
from server.event_log import open_log
from server.jobs.rollout.rollout import rebuild
from server.jobs.stream import run_spark_job, run_worker
from server.redis.connections import connect_redis, heartbeats_of
from server.redis.editions import open_live
from server.settings import Settings, read_settings

GROUP = "g"


class Stream:
    """A topic, and a home whose workers and jobs read it in a group of their own."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self.settings, self.topic, self.group = settings, topic, f"{GROUP}-{topic}-{settings.project}"
        self.options = ConsumerOptions(
            servers=settings.kafka_servers, topic=topic, group=self.group, name="eye", protocol="classic"
        )

    @contextmanager
    def worker(self) -> Iterator[None]:
        names: dict[str, Any] = {"name": "w", "topic": self.topic, "group": self.group}
        with in_background(lambda stop: run_worker(self.settings, stop, **names)):
            yield

    @contextmanager
    def job(self, name: str = "s") -> Iterator[None]:
        names: dict[str, Any] = {"name": name, "topic": self.topic, "group": self.group}
        with in_background(lambda stop: run_spark_job(self.settings, stop, **names)):
            yield

    def committed(self) -> int:
        """Messages that the group has committed."""
        consumer = Consumer(self.options)
        try:
            return sum(one.committed or 0 for one in consumer.look(range(4)))
        finally:
            consumer.close()

    def await_committed(self, messages: int, deadline_s: float = 300) -> None:
        poll_until(lambda: self.committed() >= messages, deadline_s, every_s=0.1)

    def opened(self) -> Opened:
        return open_live(connect_redis(self.settings), self.settings)

    def stored(self) -> dict[Any, tuple[bytes, Any]]:
        """Every state, as it is stored, and the offsets of its fence."""
        opened, log = self.opened(), open_log(self.settings)
        with DuckDBEngine(log, threads=1) as engine:
            keys = [one.key for entity in opened.plan.entities for one in engine.states(entity)]
        assert sum(opened.states.counts().values()) == len(keys)
        stored = zip(keys, opened.states.read(keys), strict=True)
        return {key: (one.state, Fence.decode(one.fence).offsets) for key, one in stored}

    def logged(self) -> list[tuple[int, int]]:
        tables = open_log(self.settings).tables()
        return sorted((row["partition"], row["offset"]) for table in tables for row in table.to_pylist())


def make(folder: Path, servers: str, client: "Redis[bytes]", topic: str, project: str) -> Stream:
    port = client.connection_pool.connection_kwargs["port"]
    home = make_home(folder / f"{project} {{a,b}} 100%41")
    settings = read_settings(home=home, kafka_servers=servers, redis_port=port, redis_host="127.0.0.1", project=project)
    return Stream(settings, topic)


@pytest.fixture
def stream(
    spark: SparkConnection, kafka_servers: str, redis_client: "Redis[bytes]", topic: str, tmp_path: Path
) -> Stream:
    return make(tmp_path, kafka_servers, redis_client, topic, "mixed")


@pytest.fixture
def alone(kafka_servers: str, redis_client: "Redis[bytes]", topic: str, tmp_path: Path) -> Stream:
    return make(tmp_path, kafka_servers, redis_client, topic, "alone")


def send(stream: Stream, number: int, first: int = 0) -> int:
    """Events, of which some are sent twice, and some messages that are none; how many messages that is."""
    producer = KafkaProducer(bootstrap_servers=stream.settings.kafka_servers)
    sent = 0
    for n, event in enumerate(shop(number, first=first)):
        for value in (
            encode_event(event),
            *([encode_event(event)] if n % 9 == 0 else []),
            *([b"{"] if n % 7 == 0 else []),
        ):
            producer.send(stream.topic, key=event.user_id.encode(), value=value)
            sent += 1
    producer.flush()
    producer.close()
    return sent


@contextmanager
def flowing(stream: Stream) -> Iterator[Callable[[], int]]:
    """Events keep coming while the block runs; yields a function that says how many messages were sent so far."""
    counts = [0, 0]

    def work(stop: threading.Event) -> None:
        while not stop.is_set():
            counts[0] += send(stream, 50, first=counts[1])
            counts[1] += 50
            stop.wait(0.2)

    with in_background(work):
        yield lambda: counts[0]
    counts.append(-1)


def letters(stream: Stream) -> set[tuple[bytes, bytes]]:
    told = [dict(one.headers) for one in read_topic(stream.settings.kafka_servers, dead_letter_topic(stream.topic))]
    return {(one["partition"], one["offset"]) for one in told}


def compare(stream: Stream, alone: Stream, messages: int) -> None:
    by_job = letters(stream)
    with alone.worker():
        alone.await_committed(messages)
    assert letters(alone) == by_job, "each was a dead letter before, and none is new"
    ours, theirs = stream.stored(), alone.stored()
    assert ours.keys() == theirs.keys()
    assert [key for key in ours if ours[key] != theirs[key]] == []
    assert stream.logged() == alone.logged()
    assert differing(stream.opened(), open_log(stream.settings)) == []


def test_workers_and_jobs_take_turns_while_events_flow(stream: Stream, alone: Stream) -> None:
    with ExitStack() as stack:
        with flowing(stream) as sent:
            for engine in (stream.worker, stream.job, stream.worker):
                before = stream.committed()
                with engine():
                    stream.await_committed(before + 200)
            before = stream.committed()
            stack.enter_context(stream.job("last"))
            stream.await_committed(before + 200)
        stream.await_committed(sent())
        client = connect_redis(stream.settings)

        def idle() -> Any:
            beat = {one.worker: one for one in heartbeats_of(client, stream.settings).all()}.get("last")
            return beat is not None and beat.folded > 0 and not sum(beat.lag.values()) and beat

        assert poll_until(idle).membership.protocol == "spark"
    compare(stream, alone, sent())


def test_what_a_worker_did_meanwhile_is_not_done_again_and_what_the_checkpoint_skips_is(
    stream: Stream, alone: Stream
) -> None:
    """A checkpoint is a hint: it may be behind the group's commits, or ahead of them."""
    sent = send(stream, 60)
    with stream.job():
        stream.await_committed(sent)
    sent += send(stream, 60, first=60)
    with stream.worker():
        stream.await_committed(sent)
    files = len(open_log(stream.settings).listing())
    consumer = Consumer(stream.options)
    back = {one.partition: (one.committed or 0) - 3 for one in consumer.look(range(4)) if (one.committed or 0) > 3}
    consumer.commit(back, "")
    consumer.close()
    sent += send(stream, 40, first=120)
    with stream.job():
        stream.await_committed(sent)
    assert len(open_log(stream.settings).listing()) <= files + 4
    compare(stream, alone, sent)


@pytest.mark.timeout(900)
def test_states_are_rebuilt_on_spark_beside_a_job_that_follows(stream: Stream, alone: Stream) -> None:
    """While no messages come, too: then the driver brings the other edition to where the group has committed."""
    sent = send(stream, 60)
    with stream.job():
        stream.await_committed(sent)
        before = stream.opened().id
        assert sum(rebuild(stream.settings.model_copy(update={"batch": "spark"}), lambda _: None).values()) > 0
        assert stream.opened().id != before
        sent += send(stream, 20, first=60)
        stream.await_committed(sent)
    compare(stream, alone, sent)


def test_a_checkpoint_of_another_topic_is_refused_by_name(stream: Stream, tmp_path: Path) -> None:
    sent = send(stream, 9)
    checkpoint = f"file:{tmp_path}/ché[c] {{k}}"
    names: dict[str, Any] = {"name": "s", "group": stream.group, "checkpoint": checkpoint}
    with in_background(lambda stop: run_spark_job(stream.settings, stop, topic=stream.topic, **names)):
        stream.await_committed(sent)
    other = f"{stream.topic}-other"
    ensure_topics(stream.settings.kafka_servers, other)
    refusal = rf"is of the topic {stream.topic} with the id [0-9a-f]{{32}}, and not of {other}"
    with pytest.raises(ConfigurationError, match=refusal):
        run_spark_job(stream.settings, threading.Event(), topic=other, **names)


@pytest.mark.spark
def test_a_driver_that_is_killed_leaves_nothing_half_done(
    kafka_servers: str, redis_client: "Redis[bytes]", topic: str, tmp_path: Path
) -> None:
    """Killed amid a batch, twice; its executors end with it."""
    stream = make(tmp_path, kafka_servers, redis_client, topic, "mixed")
    settings = stream.settings
    environment = {
        **os.environ,
        "ENCORE_HOME": str(settings.home),
        "KAFKA_SERVERS": settings.kafka_servers,
        "REDIS_PORT": str(settings.redis_port),
        "ENCORE_PROJECT": settings.project,
        "ENCORE_SPARK_MASTER": "local[2]",
        "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1",
    }
    command = [sys.executable, "-m", "server.cli", "stream", "--engine", "spark"]
    command += ["--topic", topic, "--group", stream.group]
    with flowing(stream) as sent:
        for _ in range(2):
            before = stream.committed()
            driver = subprocess.Popen(command, env=environment, start_new_session=True)
            try:
                stream.await_committed(before + 100)
            finally:
                os.kill(driver.pid, signal.SIGKILL)
                driver.wait(30)
    with stream.worker():
        stream.await_committed(sent())
    compare(stream, make(tmp_path, kafka_servers, redis_client, topic, "alone"), sent())
