"""The producer over a real broker: what is asked for arrives, once, keyed by its user, or is counted."""

import gzip
import json
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import pytest
from consuming import count_messages, read_topic
from polling import poll_until

import events.producer.produce
from data.clock import ManualClock, wall_clock
from data.default_shop import EVENT_TYPES, ShopEvent, decode_event
from data.errors import ConfigurationError, DataError, UnavailableError
from data.event import Event, Rejection, encode_event
from data.units import from_micros
from events.kafka.connection import Message
from events.kafka.dead_letters import DeadLetters
from events.kafka.sender import Sender, Summary
from events.kafka.topics import ensure_topics, topic_id
from events.producer.letters import SentOffsets, read_letters
from events.producer.options import ProduceOptions
from events.producer.produce import live_events, produce
from server.process.kafka_broker import KafkaBroker
from server.process.server_process import free_port

AS_MODULE = ["-m", "events.producer"]
AS_FOLDER = [str(Path(events.producer.produce.__file__).parent)]


def uniform_events(users: int = 50) -> Iterator[Event]:
    """Endless views of one product by users drawn uniformly."""
    chance = random.Random(1)
    for number in count():
        yield ShopEvent(f"e{number}", "view", f"u{chance.randrange(users)}", "p", 1.0, from_micros(wall_clock()))


def send(options: ProduceOptions, stop: threading.Event | None = None) -> Summary:
    return produce(options, stop=stop or threading.Event(), events=uniform_events)


@pytest.fixture
def options(kafka_servers: str, topic: str) -> ProduceOptions:
    return ProduceOptions(mode="burst", count=1, servers=kafka_servers, topic=topic, letters_s=0)


def test_a_burst_arrives_exactly_once_keyed_by_user(options: ProduceOptions) -> None:
    summary = send(replace(options, count=2000))

    records = read_topic(options.servers, options.topic)
    events_read = [decode_event(record.value, key=record.key, now_us=wall_clock()) for record in records]
    ids = Counter(event.event_id if isinstance(event, Event) else event.reason for event in events_read)
    assert ids == {f"e{number}": 1 for number in range(2000)}
    assert (summary.sent, summary.errors, summary.waiting, summary.keyless) == (2000, 0, 0, 0)
    assert summary.asked_rate is None

    partitions = {(record.key, record.partition) for record in records}
    assert len(partitions) == 50, "a user's events lie in one partition"
    assert len({partition for _, partition in partitions}) == 4
    for user in {record.key for record in records}:
        numbers = [int(json.loads(record.value)["event_id"][1:]) for record in records if record.key == user]
        assert numbers == sorted(numbers), "and in the order of sending"


def test_it_goes_on_with_a_broker_that_was_made_anew(kafka_jars: Path, tmp_path: Path) -> None:
    """A broker without its disk knows neither topic nor producer: what it refuses is counted, and then all is well."""
    broker = KafkaBroker(free_port(), tmp_path, jars=kafka_jars)
    with broker:
        ensure_topics(broker.servers, "t")
        with Sender(broker.servers, "t", None) as sender:
            sender.send(b"u", b"before")
            poll_until(lambda: sender.summary(1).sent == 1)
            broker.kill()
            shutil.rmtree(tmp_path / "data")
            broker.start()
            ensure_topics(broker.servers, "t")
            handed = count(1)

            def is_taken() -> bool:
                sender.send(b"u", b"%d" % next(handed))
                return sender.summary(1).sent > 1

            poll_until(is_taken, 60, every_s=0.2)
            sender.flush()
            summary = sender.summary(1)
        records = [record.value for record in read_topic(broker.servers, "t")]
    assert len(records) == len(set(records)) == summary.sent - 1
    assert summary.sent + summary.errors == next(handed)
    assert summary.waiting == 0


def test_it_goes_on_with_a_broker_that_was_away_for_longer_than_messages_wait(kafka_jars: Path, tmp_path: Path) -> None:
    """There; away until messages have failed for long; there again: what is sent from then on arrives, once."""
    broker = KafkaBroker(free_port(), tmp_path, jars=kafka_jars)
    with broker:
        ensure_topics(broker.servers, "t")
        with Sender(broker.servers, "t", None, delivery_s=2, patience_s=100) as sender:
            handed = count()

            def sends() -> int:
                sender.send(b"u", b"%d" % next(handed))
                return sender.summary(1).sent

            poll_until(sends, 60, every_s=0.1)
            broker.kill()
            poll_until(lambda: sends() and sender.summary(1).errors > 5, 60, every_s=0.1)
            before = sender.summary(1).sent
            broker.start()
            poll_until(lambda: sends() > before + 5, 60, every_s=0.1)
            sender.flush()
            summary = sender.summary(1)
        records = [record.value for record in read_topic(broker.servers, "t")]
    assert summary.last_error is not None
    assert "timed out" in summary.last_error
    assert len(records) == len(set(records))
    assert summary.sent <= len(records) <= next(handed)
    assert (summary.waiting, summary.sent + summary.errors) == (0, next(handed) - 1)


@pytest.mark.long
def test_it_ends_by_itself_where_the_broker_takes_nothing_for_long() -> None:
    """Whoever runs it starts it again, which a mere failing health check does not."""
    with Sender(f"127.0.0.1:{free_port()}", "t", None, delivery_s=0.2, patience_s=1) as sender:

        def ends() -> bool:
            try:
                sender.send(b"u", b"x")
            except UnavailableError as error:
                return "has taken nothing for 1 s" in str(error)
            return False

        poll_until(ends, 20, every_s=0.05)


@pytest.mark.integration
def test_a_stop_is_obeyed_while_the_broker_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("events.kafka.sender._STOP_S", 0.2)
    stop = threading.Event()
    with Sender(f"127.0.0.1:{free_port()}", "t", None, stop=stop) as sender:
        for number in range(40):  # more than the queue takes: the last ones would wait for room
            if number == 20:
                stop.set()
            sender.send(b"u", b"x" * 1_000_000)
        sender.flush()
        summary = sender.summary(1)
    assert (summary.sent, summary.errors, summary.waiting) == (0, 40, 0)


def test_continuous_sends_at_its_rate_for_its_time(options: ProduceOptions) -> None:
    summary = send(replace(options, mode="continuous", count=None, rate=200, seconds=1))
    assert summary.sent == count_messages(options.servers, options.topic)
    assert 0 < summary.sent <= 200  # how near to 200 is the benchmark's business
    assert summary.seconds >= 1
    assert summary.asked_rate == 200


def test_events_carry_the_time_at_which_they_are_due(options: ProduceOptions) -> None:
    asked = replace(options, mode="continuous", count=None, rate=5)
    before = wall_clock()
    produce(asked, stop=threading.Event(), events=lambda: islice(uniform_events(), 4))
    times = sorted(decode_time(record.value) for record in read_topic(options.servers, options.topic))
    assert len(times) == 4
    assert all(time - before >= number * 200_000 for number, time in enumerate(times))


def test_a_stop_ends_it_and_nothing_is_lost(options: ProduceOptions) -> None:
    stop = threading.Event()
    reports: list[Summary] = []

    def report(so_far: Summary) -> None:
        reports.append(so_far)
        stop.set()

    summary = produce(
        replace(options, mode="continuous", count=None, rate=300), stop=stop, report=report, events=uniform_events
    )
    assert len(reports) == 1
    assert reports[0].sent + reports[0].waiting > 0
    assert summary.sent > 0
    assert summary.sent >= reports[0].sent
    assert summary.errors == summary.waiting == 0
    assert summary.sent == count_messages(options.servers, options.topic)


def test_traffic_that_ends_ends_it(options: ProduceOptions) -> None:
    asked = replace(options, mode="continuous", count=None, rate=1000)
    summary = produce(asked, stop=threading.Event(), events=lambda: islice(uniform_events(), 7))
    assert summary.sent == 7


def test_topics_are_made_where_they_are_missing(options: ProduceOptions) -> None:
    asked = replace(options, topic="never-made")
    assert send(asked).sent == 1
    assert topic_id(options.servers, "never-made")
    assert topic_id(options.servers, "never-made.dead-letter")


def test_an_absent_broker_is_named(options: ProduceOptions) -> None:
    servers = f"127.0.0.1:{free_port()}"
    with pytest.raises(UnavailableError, match=f"Kafka at {servers}: not ready within 0.2 s"):
        send(replace(options, servers=servers, wait_s=0.2))


def test_a_message_too_large_for_kafka_is_counted(options: ProduceOptions, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"user_id":"u"}\n' + b"x" * 2_000_000 + b'\n{"user_id":"u"}\n')
    summary = send(in_file_mode(options, path))
    assert (summary.sent, summary.errors, summary.keyless) == (2, 1, 1)
    assert summary.last_error is not None
    assert "2000" in summary.last_error
    assert "1 errors" in str(summary)


class TestFile:
    def test_every_line_is_sent_as_it_is(self, options: ProduceOptions, tmp_path: Path) -> None:
        lines = [b'{"user_id":"a", "n":1}', b"not json", b'{"n":2}', b'{"user_id":"b"}', b'{"user_id":"a","n":3}']
        path = tmp_path / "events.jsonl"
        path.write_bytes(b"\n".join(lines))

        summary = send(in_file_mode(options, path))

        records = read_topic(options.servers, options.topic)
        assert sorted(record.value for record in records) == sorted(lines)
        keys = {record.value: record.key for record in records}
        assert [keys[line] for line in lines] == [b"a", None, None, b"b", b"a"]
        assert (summary.sent, summary.errors, summary.keyless) == (5, 0, 2)
        assert "2 without a user" in str(summary)

    def test_what_will_be_dead_letters_is_counted_and_no_success(self, options: ProduceOptions, tmp_path: Path) -> None:
        good = encode_event(next(live_events(1, 10, 10, wall_clock)))
        path = tmp_path / "events.jsonl"
        path.write_bytes(b"\n".join([good, b"{}", good.replace(b'"amount":', b'"amount":-'), b"\x1b[2J", good]))
        summary = send(in_file_mode(options, path))
        assert (summary.sent, summary.errors, summary.unfit, summary.ok) == (5, 0, 3, False)
        assert summary.unfit_because.startswith("invalid: ")
        assert "3 that will be dead letters (the first: invalid: " in str(summary)

    def test_dead_letters_of_what_was_sent_are_told(self, options: ProduceOptions, tmp_path: Path) -> None:
        """Those of other messages are not, and one that came twice is told once."""
        path = tmp_path / "events.jsonl"
        path.write_bytes(b"{}\n" * 3)
        before = send(in_file_mode(options, path))
        assert (before.unfit, before.letters) == (3, 0)
        sent = SentOffsets()
        records = read_topic(options.servers, options.topic)
        for record in records[1:]:
            sent.note(record.partition, record.offset)
        letters = DeadLetters(options.servers, options.topic)
        for record in (*records, records[-1]):
            message = Message(options.topic, record.partition, record.offset, record.key, record.value)
            letters.send(message, Rejection("invalid", "user_id: missing"))
        letters.flush(10)
        letters.close()

        stop = threading.Event()
        told = read_letters(options.servers, options.topic, options.access, sent, expected=2, patience_s=10, stop=stop)
        assert told.number == 2
        assert told.because.endswith(": invalid: user_id: missing")

        path.write_bytes(b"{}\n")
        stop.set()
        late = produce(in_file_mode(options, path, letters_s=60.0), stop=stop)
        assert late.letters == 0, "who stops it does not wait"

    def test_a_rate_holds_for_files_too(self, options: ProduceOptions, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        path.write_bytes(b'{"user_id":"a"}\n' * 5)
        summary = send(in_file_mode(options, path, rate=10))
        assert summary.sent == 5
        assert summary.seconds >= 0.4

    def test_gaps_are_kept_as_recorded(self, options: ProduceOptions, tmp_path: Path) -> None:
        #  recorded  0   10  30   60 s     the line of 10 s comes after that of 30 s, and follows it at once
        #  sent      0      300  600 ms
        path = recording(tmp_path, seconds=[0, 30, 10, 60])
        before_ms = wall_clock() // 1000
        summary = send(in_file_mode(options, path, as_recorded=True, speedup=100))
        assert summary.sent == 4

        records = read_topic(options.servers, options.topic)
        assert [json.loads(record.value)["timestamp"][17:19] for record in records] == ["00", "30", "10", "00"]
        assert all(record.timestamp - before_ms >= due for record, due in zip(records, [0, 300, 300, 600], strict=True))

    def test_a_time_in_the_future_holds_nothing_up(self, options: ProduceOptions, tmp_path: Path) -> None:
        path = recording(tmp_path, seconds=[0, 10**10, 1])
        summary = send(in_file_mode(options, path, as_recorded=True, speedup=100))
        assert summary.sent == 3

    def test_a_file_that_breaks_off_was_sent_up_to_there(self, options: ProduceOptions, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl.gz"
        path.write_bytes(b"no gzip")
        with pytest.raises(DataError, match=f"{path}: unreadable after line 0"):
            send(in_file_mode(options, path))
        path.write_bytes(gzip.compress(b'{"user_id":"a"}\n' * 500) + b"no gzip")
        with pytest.raises(DataError, match=f"{path}: unreadable after line "):
            send(in_file_mode(options, path))
        assert count_messages(options.servers, options.topic) == 500


@pytest.mark.integration
class TestCommand:
    @pytest.mark.parametrize("how", [AS_MODULE, AS_FOLDER], ids=["module", "folder"])
    def test_help(self, how: list[str], tmp_path: Path) -> None:
        done = run([*how, "--help"], tmp_path)
        assert done.returncode == 0
        assert "--as-recorded" in done.stdout

    @pytest.mark.long
    @pytest.mark.parametrize("how", [AS_MODULE, AS_FOLDER], ids=["module", "folder"])
    def test_a_burst(self, how: list[str], options: ProduceOptions, tmp_path: Path) -> None:
        done = run([*how, *target(options), "--mode", "burst", "--count", "100", "--seed", "7", "--json"], tmp_path)
        assert done.returncode == 0, done.stderr
        summary = json.loads(done.stdout)
        assert (summary["sent"], summary["errors"]) == (100, 0)
        assert summary["rate"] > 0
        records = read_topic(options.servers, options.topic)
        assert len(records) == 100
        for record in records:
            assert isinstance(decode_event(record.value, key=record.key, now_us=wall_clock()), Event)

    @pytest.mark.long
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_stops_it_gracefully(
        self, number: signal.Signals, options: ProduceOptions, tmp_path: Path
    ) -> None:
        command = [sys.executable, *AS_MODULE, *target(options), "--rate", "500", "--json"]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            poll_until(lambda: count_messages(options.servers, options.topic) > 0)
            process.send_signal(number)
            out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        summary = json.loads(out)
        assert summary["errors"] == 0
        assert summary["sent"] == count_messages(options.servers, options.topic)

    @pytest.mark.long
    def test_progress_goes_to_stderr(self, options: ProduceOptions, tmp_path: Path) -> None:
        done = run([*AS_MODULE, *target(options), "--rate", "50", "--seconds", "1.5"], tmp_path)
        assert done.returncode == 0
        assert f"events to {options.topic}" in done.stderr
        assert len(done.stdout.splitlines()) == 1
        assert "(asked 50/s), 0 errors" in done.stdout

    def test_a_wrong_server_gives_one_clear_line(self, tmp_path: Path) -> None:
        servers = f"127.0.0.1:{free_port()}"
        done = run([*AS_MODULE, "--servers", servers, "--wait", "0.2"], tmp_path)
        assert done.returncode == 1
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"producer: Kafka at {servers}: not ready")

    @pytest.mark.long
    def test_errors_give_exit_code_1(self, options: ProduceOptions, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        path.write_bytes(b"x" * 2_000_000)
        done = run([*AS_MODULE, *target(options), "--mode", "file", "--input", str(path)], tmp_path)
        assert done.returncode == 1
        assert "1 errors" in done.stdout

    def test_flags_that_contradict_give_exit_code_2(self, tmp_path: Path) -> None:
        done = run([*AS_MODULE, "--mode", "burst"], tmp_path)
        assert done.returncode == 2
        assert "say how many events with --count" in done.stderr


@pytest.mark.parametrize(
    ("fields", "flag"),
    [
        ({"mode": "trickle"}, "--mode"),
        ({"mode": "burst"}, "--count"),
        ({"mode": "burst", "count": 0}, "--count"),
        ({"mode": "burst", "count": 1, "rate": 5}, "--rate"),
        ({"mode": "file"}, "--input"),
        ({"count": 5}, "--count"),
        ({"input": Path("x")}, "--input"),
        ({"as_recorded": True}, "--as-recorded"),
        ({"speedup": 2}, "--speedup"),
        ({"mode": "file", "input": Path("x"), "as_recorded": True, "rate": 5}, "--as-recorded"),
        ({"rate": 0}, "--rate"),
        ({"rate": float("nan")}, "--rate"),
        ({"rate": float("inf")}, "--rate"),
        ({"seconds": -1}, "--seconds"),
        ({"users": 0}, "--users"),
        ({"products": 0}, "--products"),
        ({"wait_s": 0}, "--wait"),
    ],
)
def test_options_that_make_no_sense_name_their_flag(fields: dict[str, object], flag: str) -> None:
    with pytest.raises(ConfigurationError, match=flag):
        ProduceOptions(**fields)  # type: ignore[arg-type]


def test_continuous_has_a_default_rate() -> None:
    assert ProduceOptions().asked_rate == 120
    assert ProduceOptions(mode="file", input=Path("x")).asked_rate is None


@pytest.mark.long
@pytest.mark.integration
def test_live_events_are_good_and_follow_their_seed() -> None:
    clock = ManualClock(1_700_000_000_000_000)

    def traffic(seed: int) -> list[Event]:
        return list(islice(live_events(seed, users=20, products=10, clock=clock), 500))

    first = traffic(1)
    assert first == traffic(1)
    assert first != traffic(2)
    assert len({event.event_id for event in first}) == 500
    assert {event.event_type for event in first} == set(EVENT_TYPES)
    assert {event.timestamp_us for event in first} == {clock.now_us}
    assert 1 < len({event.user_id for event in first}) <= 20


def in_file_mode(options: ProduceOptions, path: Path, **changes: object) -> ProduceOptions:
    return replace(options, mode="file", count=None, input=path, **changes)  # type: ignore[arg-type]


def recording(folder: Path, seconds: list[int]) -> Path:
    """Lines of one user (so of one partition), so many seconds after a moment in 2024."""
    path = folder / "events.jsonl"
    moments = (from_micros((1_704_067_200 + second) * 1_000_000).isoformat() for second in seconds)
    path.write_text("".join(json.dumps({"user_id": "u", "timestamp": moment}) + "\n" for moment in moments))
    return path


def decode_time(value: bytes) -> int:
    event = decode_event(value, key=json.loads(value)["user_id"].encode(), now_us=wall_clock())
    assert isinstance(event, Event)
    return event.timestamp_us


def target(options: ProduceOptions) -> list[str]:
    return ["--servers", options.servers, "--topic", options.topic]


def run(arguments: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
