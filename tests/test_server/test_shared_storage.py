"""Machines that share nothing but Kafka, Redis and a bucket, and a bucket that is not as it should be."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from background import in_background
from byte_scan import places_of
from editions import differing
from event_streams import Act, act
from kafka import KafkaProducer
from polling import poll_until
from redis import Redis
from serving import make_home, plan, promote, tiny_model

from data.errors import ConfigurationError, DataError, LogHoleError, UnavailableError
from data.event import encode_event
from data.filesystem.bucket import Bucket
from data.filesystem.place import open_place
from data.log.event_log import EventLog
from data.log.event_table import EVENT_COLUMNS, PlacedEvent, placed_table
from data.log.identity import read_identity
from data.log.person import Person
from data.units import HOUR_US
from events.kafka.topics import ensure_topics
from events.stream.heartbeat import Heartbeats
from features.batch.engine import DuckDBEngine
from server.event_log import open_log
from server.jobs.backup.backup import back_up
from server.jobs.backup.restore import restore
from server.jobs.build import materialize
from server.jobs.privacy.forget import forget
from server.jobs.rollout.rollout import rebuild
from server.jobs.status import Observer
from server.jobs.stream import run_worker
from server.jobs.verification import run_verification
from server.process.kafka_broker import KafkaBroker
from server.process.server_process import free_port
from server.process.store import Store
from server.redis.editions import open_live
from server.settings import Settings, read_settings
from server.storage import log_storage

THEM = "ann-unmistakable-9f3a7c"
USERS = [THEM, "ben", "cleo"]


def quiet(_: str) -> None:
    """Tell nobody."""


def events(number: int, first: int = 0) -> list[Any]:
    made = []
    for n in range(first, first + number):
        one = act(
            Act(("view", "purchase")[n % 2], USERS[n % 3], ("mug", "pot", "tea")[n % 4 % 3], n * HOUR_US), f"e{n}"
        )
        made.append(msgspec.structs.replace(one, category=("toys", "tools")[n % 2]))
    return made


def send(settings: Settings, some: list[Any]) -> None:
    producer = KafkaProducer(bootstrap_servers=settings.kafka_servers)
    for event in some:
        producer.send(settings.kafka_names.events, key=event.user_id.encode(), value=encode_event(event))
    producer.flush()
    producer.close()


@pytest.fixture(scope="module")
def s3(bucket: str) -> str:
    return bucket.replace("test:secret-word@", "")


@pytest.fixture
def storage(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a folder of this test alone, for which the environment has credentials."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-word")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return s3.format(tmp_path.name)


@pytest.fixture
def machines(
    storage: str, tmp_path: Path, broker: KafkaBroker, store: Store, redis_client: "Redis[bytes]"
) -> list[Settings]:
    """Three machines, each with a home of its own."""
    made = []
    for name in ("worker", "server", "trainer"):
        home = make_home(tmp_path / name)
        promote(home, tiny_model(plan().names))
        made.append(
            read_settings(
                home=home,
                storage=storage,
                redis_port=store.port,
                redis_host="127.0.0.1",
                kafka_servers=broker.servers,
                clock="events",
                project=tmp_path.name.replace("-", "_").lower()[:40],
            )
        )
    ensure_topics(broker.servers, made[0].kafka_names.events)
    return made


@contextmanager
def worker(settings: Settings) -> Iterator[None]:
    with in_background(lambda stop: run_worker(settings, stop, name="w")):
        yield


def rows(log: EventLog) -> pa.Table:
    found = pa.concat_tables(log.tables())
    return found.sort_by([("source", "ascending"), ("partition", "ascending"), ("offset", "ascending")])


def in_folder(settings: Settings, folder: Path) -> EventLog:
    """The same log as a folder has it."""
    log = open_log(settings)
    for name in log.storage.folders():
        if name[0] == ".":
            continue
        (folder / name).mkdir(parents=True)
        source = log.storage / name
        for file in source.names():
            (folder / name / file).write_bytes(source.local(file).read_bytes())
    return EventLog(folder, log.schema)


def answers(log: EventLog, spine: Any) -> pa.Table:
    with DuckDBEngine(log, threads=1) as engine:
        return engine.values(plan(), "user", spine, [one.name for one in plan().of("user").features])


@pytest.mark.system  # a minute and more
def test_three_machines_share_kafka_redis_and_a_bucket(
    machines: list[Settings], redis_client: "Redis[bytes]", tmp_path: Path
) -> None:
    import pandas as pd

    streaming, serving, training = machines
    history = placed_table([PlacedEvent(n, one) for n, one in enumerate(events(60))]).select(EVENT_COLUMNS.names)
    open_log(training).write_history("shop", [history])
    materialize(training, quiet)
    beats = Heartbeats(redis_client, streaming.project)
    with worker(streaming):
        send(streaming, events(60, 60))
        poll_until(lambda: sum(one.folded for one in beats.all()) >= 60)
        poll_until(lambda: open_log(serving).count() == 120)
        for one in machines:
            assert not one.log.exists(), "nothing of the log is in a home"
            assert read_identity(log_storage(one)) == read_identity(log_storage(streaming))
        # What each of them computes is what the same files in a folder give.
        folder = in_folder(serving, tmp_path / "folder")
        assert rows(open_log(serving)).equals(rows(folder))
        spine = pd.DataFrame({"user_id": USERS, "time_us": [int(events(1, 119)[0].timestamp_us)] * 3})
        assert answers(open_log(training), spine).equals(answers(folder, spine))
        assert differing(open_live(redis_client, serving), open_log(serving)) == []
        assert rebuild(training, quiet)["user"] == 3
        assert differing(open_live(redis_client, serving), folder) == []
        verdict = run_verification(training, sample=3, as_of_us=None, seed=0)
        assert verdict.ok, verdict.disagreements[:3]
        receipt = forget(serving, Person("user_id", THEM), quiet)
        assert receipt.events == 40
        send(streaming, events(30, 120))
        poll_until(lambda: sum(one.suppressed for one in beats.all()) == 10)
        poll_until(lambda: open_log(training).count() == 100)
    assert places_of(THEM, redis_client, in_folder(training, tmp_path / "after").storage.path("")) == []
    assert places_of(THEM, redis_client, training.copies, streaming.copies) == [], "copies are as the files are"
    assert open_log(training).holes() == []
    observer = Observer(serving)
    try:
        assert observer.look().log == str(log_storage(serving))
    finally:
        observer.close()
    for does in (back_up, restore):
        with pytest.raises(ConfigurationError, match="a backup is of a log in the home"):
            does(training, open_place(str(tmp_path / "backups")), quiet)


@pytest.mark.long
def test_small_files_are_joined_beside_readers_of_other_machines(storage: str, tmp_path: Path) -> None:
    writer, reader = (open_log(read_settings(home=tmp_path / name, storage=storage)) for name in ("one", "two"))
    for first in range(0, 200, 10):
        some = [PlacedEvent(n, one) for n, one in enumerate(events(10, first), first)]
        writer.append("kafka-aa", 0, range(first, first + 10), placed_table(some))
    listed = reader.files()
    before = rows(reader)
    assert writer.compact("kafka-aa").made == 1
    assert sum(file.count() for file in listed) == 200, "parts stay for who listed them"
    assert rows(reader).equals(before)
    assert len(reader.files()) == 1
    assert writer.compact("kafka-aa", grace_s=0, now_s=2**40).deleted == 20
    assert rows(reader).equals(before)
    reader.check(pages=True)
    assert rows(open_log(read_settings(home=tmp_path / "three", storage=storage))).equals(before)


def test_a_bucket_that_is_not_there_is_named(s3: str, storage: str, tmp_path: Path) -> None:
    missing = storage.replace("//shop/", "//no-such-shop/")
    with pytest.raises(UnavailableError, match="there is no bucket no-such-shop"):
        open_log(read_settings(home=tmp_path / "home", storage=missing)).files()


def test_a_half_written_object_is_named_and_not_read(storage: str, tmp_path: Path) -> None:
    log = open_log(read_settings(home=tmp_path / "home", storage=storage))
    some = [PlacedEvent(n, one) for n, one in enumerate(events(20))]
    log.append("kafka-aa", 0, range(20), placed_table(some))
    source = log.storage / log.storage.folders()[0]
    [name] = source.names()
    whole = source.local(name).read_bytes()
    source.put(name, lambda path: path.write_bytes(whole[:-100]))
    with pytest.raises(DataError, match=r"cannot be read .* \(the copy of s3://shop/"):
        log.check()
    source.put(name, lambda path: path.write_bytes(whole))
    log.check(pages=True)
    assert rows(log).num_rows == 20


class Between:
    """Stands between a client and the store, and passes on, waits, answers 503 or hangs up, as `mood` says."""

    def __init__(self, port: int) -> None:
        self.mood, self.troubled, self._port = "well", 0, port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near:
            if self.mood != "well" and (self.mood != "twice" or self.troubled < 2):
                self.troubled += 1
                if self.mood in {"503", "twice"}:
                    near.recv(65536)
                    near.sendall(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", self._port)) as far:
                back = threading.Thread(target=_pass, args=(far, near), daemon=True)
                back.start()
                _pass(near, far)
                back.join()

    def close(self) -> None:
        self._listening.close()


def _pass(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture
def between(s3: str) -> Iterator[Between]:
    found = Between(int(s3.partition("127.0.0.1:")[2].partition("&")[0]))
    yield found
    found.close()


def through(between: Between, storage: str) -> str:
    head, _, tail = storage.partition("127.0.0.1:")
    return f"{head}127.0.0.1:{between.port}&{tail.partition('&')[2]}"


@pytest.mark.long
def test_a_store_in_trouble_is_asked_again_and_then_named(between: Between, storage: str, tmp_path: Path) -> None:
    log = open_log(read_settings(home=tmp_path / "home", storage=through(between, storage)))
    some = placed_table([PlacedEvent(n, one) for n, one in enumerate(events(20))])
    between.mood = "twice"
    log.append("kafka-aa", 0, range(10), some.slice(0, 10))
    assert between.troubled == 2
    between.mood = "503"
    with pytest.raises(UnavailableError, match=r"s3://shop/.* cannot .*SLOW_DOWN|s3://shop/.* cannot "):
        log.append("kafka-aa", 0, range(10, 20), some.slice(10))
    with pytest.raises(UnavailableError):
        log.files()
    between.mood = "well"
    assert [file.segment.stop for file in log.files()] == [10], "nothing is there in part"
    log.append("kafka-aa", 0, range(10, 20), some.slice(10))
    assert log.count() == 20


@pytest.mark.long
def test_a_worker_outlives_a_store_that_is_away(
    machines: list[Settings], between: Between, redis_client: "Redis[bytes]", storage: str
) -> None:
    streaming = machines[0].model_copy(update={"storage": through(between, storage)})
    beats = Heartbeats(redis_client, streaming.project)
    with worker(streaming):
        send(streaming, events(30))
        poll_until(lambda: open_log(machines[1]).listing() and open_log(machines[1]).count() == 30)
        between.mood = "hangs up"
        send(streaming, events(30, 30))
        poll_until(lambda: sum(one.folded for one in beats.all()) >= 30)
        poll_until(lambda: between.troubled > 3)
        between.mood = "well"
        poll_until(lambda: open_log(machines[1]).count() == 60, 90)
    assert open_log(machines[1]).holes() == []
    assert differing(open_live(redis_client, machines[1]), open_log(machines[1])) == []


def test_refused_credentials_are_named(s3: str, storage: str, tmp_path: Path) -> None:
    """A store that refuses whoever asks: moto does not, so this one answers 403 itself."""
    port = free_port()
    server = socket.create_server(("127.0.0.1", port))

    def refuse() -> None:
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            with near:
                near.recv(65536)
                body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
                head = f"HTTP/1.1 403 Forbidden\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                near.sendall(head.encode() + body)

    threading.Thread(target=refuse, daemon=True).start()
    where = f"s3://shop/x?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
    with server, pytest.raises(UnavailableError, match=r"s3://shop/x.* cannot .*ACCESS_DENIED.*credentials") as refused:
        open_log(read_settings(home=tmp_path / "home", storage=where)).files()
    assert "secret-word" not in str(refused.value)


def test_half_a_history_is_a_hole(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_log(read_settings(home=tmp_path / "home", storage=storage))
    history = placed_table([PlacedEvent(n, one) for n, one in enumerate(events(60))]).select(EVENT_COLUMNS.names)
    put = Bucket.put

    def dies(self: Bucket, name: str, write: Any) -> Path:
        if name.startswith("0000-000000000040"):
            raise KeyboardInterrupt
        return put(self, name, write)

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "put", dies)
        with pytest.raises(KeyboardInterrupt):
            log.write_history("shop", [history.slice(at, 20) for at in (0, 20, 40)], rows_per_file=20)
    reader = open_log(read_settings(home=tmp_path / "other", storage=storage))
    monkeypatch.setattr("data.log.listings._HOLE_S", 0.0)
    with pytest.raises(LogHoleError, match="shop partition 0 offsets 40 to"):
        reader.files()
    log.write_history("shop", [history], rows_per_file=20)
    assert rows(EventLog(reader.storage)).num_rows == 60


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://", "without the name of a bucket"),
        ("s3://shop/../x", "no plain prefix"),
        ("ftp://shop/x", "neither a folder nor an object store's address"),
        ("s3://key:word@shop/x", "with credentials in it"),
        ("s3://shop/x?no_such=1", "with no_such; it may have"),
        ("file://host/x", "with a host"),
    ],
)
def test_an_address_that_is_none_is_refused(address: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=said) as refused:
        read_settings(home=tmp_path, storage=address)
    assert "ENCORE_STORAGE" in str(refused.value)
    assert "key:word" not in str(refused.value)


def test_a_folder_that_machines_share_is_a_storage_too(tmp_path: Path) -> None:
    one, two = (read_settings(home=tmp_path / name, storage=f"file://{tmp_path}/shared") for name in ("one", "two"))
    some = [PlacedEvent(n, each) for n, each in enumerate(events(20))]
    open_log(one).append("kafka-aa", 0, range(20), placed_table(some))
    assert open_log(two).count() == 20
    assert str(log_storage(two)) == str(tmp_path / "shared" / "log")
