"""Predictions reach the topic and the archive, never hold up who offers them, are counted where dropped."""

import os
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bucket_double import ObjectStore
from consuming import read_topic
from kafka import KafkaProducer
from polling import poll_until
from prediction_stream import NOON, messages, prediction

from data.errors import UnavailableError
from data.log.person import Person
from data.log.removal import Removed
from events.kafka.topics import ensure_topic
from events.predictions.archive import Archived, PredictionArchive
from events.predictions.message import Origin, decode_prediction, encode_prediction
from events.predictions.reader import PredictionReader
from events.predictions.sink import Message, PredictionSink
from server.process.kafka_broker import KafkaBroker
from server.process.server_process import free_port


def test_a_message_reads_as_json_and_comes_back() -> None:
    raw = encode_prediction(prediction(1))
    told = msgspec.json.decode(raw)
    assert told["features"] == {"user_view_count": 3, "user_avg": None}
    assert (told["as_of"], told["shadow"]["score"]) == ("2026-03-01T12:01:00Z", 0.75)
    assert decode_prediction(raw) == prediction(1)
    assert [decode_prediction(bad) for bad in (None, b"", b"{}", b"\xff", raw[:-1])] == [None] * 5


def test_only_what_the_shop_asked_is_judged(tmp_path: Path) -> None:
    """Messages and files of before there were origins are the shop's."""
    archive = PredictionArchive(tmp_path)
    origins: list[Origin] = ["live", "console", "probe"]
    asked = [msgspec.structs.replace(prediction(place), origin=origin) for place, origin in enumerate(origins)]
    archive.append("topic", [Archived(0, place, one) for place, one in enumerate(asked)])
    assert archive.read(["id"], target="repeat_purchase").to_pylist() == [{"id": "p-0"}]
    [path] = archive.files()
    pq.write_table(pq.read_table(path).drop_columns("origin"), path)
    assert archive.read(["id"], target="repeat_purchase").num_rows == 3
    old = msgspec.json.decode(encode_prediction(prediction(1)))
    del old["origin"]
    decoded = decode_prediction(msgspec.json.encode(old))
    assert decoded is not None
    assert decoded.origin == "live"


def test_a_flipped_bit_in_what_is_kept_is_never_read_as_something_else(tmp_path: Path) -> None:
    archive = PredictionArchive(tmp_path)
    archive.append("topic", [Archived(0, place, prediction(place)) for place in range(300)])
    [path] = archive.files()
    before, found = path.read_bytes(), 0
    right = archive.read(["score", "user_id"], target="repeat_purchase")
    group = pq.read_metadata(path).row_group(0)
    for number in range(group.num_columns):
        column = group.column(number)
        last = (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 1
        raw = bytearray(before)
        raw[last] ^= 1
        path.write_bytes(raw)
        try:
            read = archive.read(["score", "user_id"], target="repeat_purchase")
        except (pa.ArrowException, OSError):
            found += 1
        else:
            assert read.num_rows == 0 or read.equals(right), "set aside, or of no consequence"
            found += read.num_rows == 0
        path.with_name(f"{path.name}.damaged").unlink(missing_ok=True)
        path.write_bytes(before)
    assert found >= 3


def test_answers_reach_the_topic(topic: str, kafka_servers: str) -> None:
    sink = PredictionSink(kafka_servers, messages, topic=topic)
    sink.start()
    try:
        for number in range(20):
            sink.offer([number])
        poll_until(lambda: sink.counts().sent == 20)
        sink.offer(list(range(20, 25)))
    finally:
        sink.close()
    assert sink.counts() == (25, 0, 0, "")
    found = [decode_prediction(record.value) for record in read_topic(kafka_servers, topic)]
    assert sorted(one.id for one in found if one) == sorted(f"p-{number}" for number in range(25))


@pytest.mark.integration
def test_without_kafka_nothing_waits_and_what_is_dropped_is_counted() -> None:
    sink = PredictionSink(f"127.0.0.1:{free_port()}", messages, capacity=100)
    sink.start()
    try:
        poll_until(lambda: "not ready" in sink.counts().error)
        for number in range(10_000):  # if each of them waited for a broker, for longer than a test may take
            sink.offer([number])
        assert sink.counts()[:3] == (0, 9_900, 100)
    finally:
        sink.close(0.1)


def test_a_broker_that_was_away_for_long_gets_predictions_again(
    kafka_jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits longer than half a minute (here 1 s) is lost and counted; what comes after is sent."""
    monkeypatch.setattr("events.predictions.client._DELIVERY_S", 1)
    with KafkaBroker(free_port(), tmp_path, jars=kafka_jars) as broker:
        sink = PredictionSink(broker.servers, messages, topic="p", retry_s=0.05)
        sink.start()
        try:
            sink.offer([1])
            poll_until(lambda: sink.counts().sent == 1)
            broker.kill()
            sink.offer([2])
            poll_until(lambda: sink.counts().dropped == 1 and "not ready" in sink.counts().error)
            broker.start()
            sink.offer([3])
            poll_until(lambda: sink.counts().sent == 2)
        finally:
            sink.close()
        found = [decode_prediction(record.value) for record in read_topic(broker.servers, "p")]
    assert [one.id for one in found if one] == ["p-1", "p-3"]


def test_an_answer_that_cannot_be_told_does_not_end_the_sink(topic: str, kafka_servers: str) -> None:
    def moody(numbers: Sequence[int]) -> Iterable[Message]:
        if 13 in numbers:
            raise ValueError("unlucky")
        return messages(numbers)

    sink = PredictionSink(kafka_servers, moody, topic=topic, retry_s=0.05)
    sink.start()
    try:
        sink.offer([13])
        poll_until(lambda: "bug" in sink.counts().error)
        sink.offer([1])
        poll_until(lambda: sink.counts().sent == 1)
        assert sink.counts().dropped == 1
    finally:
        sink.close()


def test_messages_go_to_the_client_at_once(topic: str, kafka_servers: str) -> None:
    threads = []

    def noted(numbers: Sequence[int]) -> Iterable[Message]:
        threads.append(threading.current_thread().name)
        if 13 in numbers:
            raise ValueError("unlucky")
        return messages(numbers)

    sink = PredictionSink(kafka_servers, noted, topic=topic)
    sink.start()
    try:
        poll_until(lambda: sink.counts().error == "")
        sink.offer([1])
        sink.offer([2], later=True)
        poll_until(lambda: sink.counts().sent == 2)
        assert threads == [threading.current_thread().name, "predictions"]
        with pytest.raises(ValueError, match="unlucky"):  # which the loop logs, after the answer was given
            sink.offer([13])
        sink.offer([3])
        poll_until(lambda: sink.counts()[:2] == (3, 1))
    finally:
        sink.close()


@pytest.mark.long
def test_the_archive_takes_each_prediction_once(topic: str, kafka_servers: str, tmp_path: Path) -> None:
    archive = PredictionArchive(tmp_path / "predictions")
    sink = PredictionSink(kafka_servers, messages, topic=topic)
    sink.start()
    try:
        sink.offer(list(range(30)))
        poll_until(lambda: sink.counts().sent == 30)
        with PredictionReader(kafka_servers, archive, topic=topic) as reader:
            assert reader.take_all() == 30
        sink.offer(list(range(30, 40)))
        poll_until(lambda: sink.counts().sent == 40)
    finally:
        sink.close()
    with PredictionReader(kafka_servers, archive, topic=topic) as reader:
        assert reader.take_all() == 10
        assert reader.take_all() == 0
    found = archive.read(["id", "shadow_score"], target="repeat_purchase").to_pylist()
    assert sorted(row["id"] for row in found) == sorted(f"p-{number}" for number in range(40))
    assert sum(row["shadow_score"] == 0.75 for row in found) == 20


def test_what_is_no_prediction_is_left_out(
    kafka_servers: str, topic: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def noise(numbers: Sequence[int]) -> Iterable[Message]:
        return [(b"k", b"{not json") for _ in numbers]

    sink = PredictionSink(kafka_servers, noise, topic=topic)
    sink.start()
    try:
        sink.offer([1, 2])
        poll_until(lambda: sink.counts().sent == 2)
    finally:
        sink.close()
    with PredictionReader(kafka_servers, PredictionArchive(tmp_path), topic=topic) as reader:
        poll_until(lambda: reader.take(0.2) == 0 and caplog.text.count("is not a prediction; skipped") == 2)


@pytest.mark.integration
def test_many_files_become_one_and_repeats_count_once(tmp_path: Path) -> None:
    archive = PredictionArchive(tmp_path)
    for number in range(70):
        archive.append("a topic", [Archived(0, number, prediction(number))])
    archive.append("another", [Archived(0, 0, prediction(3)), Archived(1, 5, prediction(4, "purchase_intent"))])
    assert len(archive.files()) < 20
    assert archive.ends("a topic") == {0: 69}
    assert archive.read(["id"], target="repeat_purchase").num_rows == 70
    assert archive.read(["id"], target="purchase_intent").to_pylist() == [{"id": "p-4"}]
    late = archive.read(["as_of"], target="repeat_purchase", since=NOON + timedelta(minutes=60))
    assert late.num_rows == 10


def test_an_archive_of_nothing_is_empty(tmp_path: Path) -> None:
    archive = PredictionArchive(tmp_path / "nothing")
    assert archive.ends("x") == {}
    assert archive.read(["id"], target="repeat_purchase").num_rows == 0


@pytest.mark.long
def test_the_reader_says_that_kafka_is_gone(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="Kafka at"):
        PredictionReader(f"127.0.0.1:{free_port()}", PredictionArchive(tmp_path))


def test_a_topic_of_ours_is_made_once(kafka_servers: str) -> None:
    assert ensure_topic(kafka_servers, "ours") == 1
    assert ensure_topic(kafka_servers, "ours", partitions=3) == 1


POISON = {
    "not UTF-8": (b'"user_view_count"', b'"\xff"'),
    "nested deeply": (b'{"user_view_count":3,"user_avg":null}', b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}"),
    "nested less deeply": (b'{"user_view_count":3,"user_avg":null}', b'{"a":' + b"[" * 800 + b"]" * 800 + b"}"),
    "half a character": (b'"user_view_count"', b'"\\ud800"'),
    "no number": (b":3,", b':"three",'),
    "no finite number": (b":3,", b":1e999,"),
    "no object": (b'{"user_view_count":3,"user_avg":null}', b"[1]"),
    "a time without a zone": (b"2026-03-01T12:01:00Z", b"2026-03-01T12:01:00"),
    "a time before all times": (b"2026-03-01T12:01:00Z", b"0001-01-01T00:00:00+14:00"),
    "far too long": (b'"user-1"', b'"' + b"u" * 2_000_000 + b'"'),
    "a long id": (b'"user-1"', b'"' + b"u" * 2_000 + b'"'),
}


@pytest.mark.parametrize("poison", POISON)
def test_a_message_of_poison_is_no_prediction(poison: str) -> None:
    raw = encode_prediction(prediction(1))
    before, after = POISON[poison]
    assert before in raw
    assert decode_prediction(raw.replace(before, after)) is None


@pytest.mark.long
def test_poison_costs_no_other_prediction(kafka_servers: str, topic: str, tmp_path: Path) -> None:
    raw = encode_prediction(prediction(1))
    bad = [raw.replace(*swap) for name, swap in POISON.items() if name != "far too long"]
    producer = KafkaProducer(bootstrap_servers=kafka_servers, compression_type="gzip")
    for value in [encode_prediction(prediction(3)), *bad, None, b"", encode_prediction(prediction(4))]:
        producer.send(topic, key=b"k", value=value)
    producer.flush()
    producer.close()
    archive = PredictionArchive(tmp_path)
    with PredictionReader(kafka_servers, archive, topic=topic) as reader:
        assert reader.take_all() == 2
        assert reader.damaged == len(bad) + 2
    assert sorted(archive.read(["id"], target="repeat_purchase")["id"].to_pylist()) == ["p-3", "p-4"]


@pytest.mark.integration
def test_a_damaged_file_of_the_archive_is_set_aside(tmp_path: Path) -> None:
    archive = PredictionArchive(tmp_path)
    for number in range(5):
        archive.append("a topic", [Archived(0, number, prediction(number))])
    victim = archive.files()[2]
    victim.write_bytes(victim.read_bytes()[:-20])
    assert archive.read(["id"], target="repeat_purchase").num_rows == 4
    assert not victim.exists()
    assert victim.with_name(f"{victim.name}.damaged").exists()
    victim = archive.files()[1]
    victim.write_bytes(b"no Parquet at all")
    for number in range(5, 70):
        archive.append("a topic", [Archived(0, number, prediction(number))])
    assert len(archive.files()) < 20
    assert archive.read(["id"], target="repeat_purchase").num_rows == 68


@pytest.mark.integration
def test_an_archive_stays_within_its_bound_and_goes_on_where_it_was(tmp_path: Path) -> None:
    archive = PredictionArchive(tmp_path, most_bytes=60_000)
    old = tmp_path / "older-topic" / "0000-000000000000-000000000009.parquet"
    old.parent.mkdir()
    for number in range(300):
        archive.append("topic", [Archived(0, number, prediction(number))])
        if number == 0:
            old.write_bytes(next(path for path in archive.files() if path.parent.name == "topic").read_bytes())
    sizes = {path: path.stat().st_size for path in archive.files()}
    assert sum(sizes.values()) <= 60_000
    assert archive.ends("topic") == {0: 299}, "what is kept says where to go on"
    kept = set(archive.read(["id"], target=prediction(0).target)["id"].to_pylist())
    assert f"p-{299}" in kept
    assert "p-0" not in kept or old.exists()
    tiny = PredictionArchive(tmp_path, most_bytes=1)
    tiny.append("topic", [Archived(0, 300, prediction(300))])
    assert tiny.ends("topic") == {0: 300}
    assert len(tiny.files()) <= 2, "the last file of a partition stays"


@pytest.mark.integration
def test_what_is_old_leaves_files_that_were_joined_too(tmp_path: Path) -> None:
    archive = PredictionArchive(tmp_path)
    given = [NOON + timedelta(days=number) for number in range(80)]
    for number, at in enumerate(given):
        archive.append("topic", [Archived(0, number, msgspec.structs.replace(prediction(number), timestamp=at))])
    assert len(archive.files()) < 20, "64 are one"

    def ids() -> set[str]:
        return set(archive.read(["id"], target="repeat_purchase")["id"].to_pylist())

    assert archive.drop_before(given[30], timedelta(days=31)) == Removed(), "one is written anew only where it is due"
    assert archive.drop_before(given[30], timedelta(days=29)) == Removed(1, 30)
    assert ids() == {f"p-{number}" for number in range(30, 80)}
    archive.drop_before(given[-1] + timedelta(seconds=1))
    assert ids() == set()
    assert len(archive.files()) == 1
    assert archive.ends("topic") == {0: 79}, "the last says where to go on, and has nothing of anybody"
    assert archive.drop_before(given[-1] + timedelta(days=9)) == Removed()


@pytest.mark.long
@pytest.mark.integration  # it takes seconds
def test_large_files_are_not_written_anew_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("events.predictions.archive._LARGE_BYTES", 30_000)
    archive = PredictionArchive(tmp_path)
    written: dict[Path, float] = {}
    for number in range(400):
        archive.append("topic", [Archived(0, number, prediction(number))])
        for path in archive.files():
            if path.stat().st_size >= 30_000:
                written.setdefault(path, path.stat().st_mtime_ns)
    assert len(written) >= 2
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert len(archive.files()) < 64 + len(written)
    assert archive.read(["id"], target=prediction(0).target).num_rows == 400


def test_what_a_writer_that_died_had_begun_is_deleted_in_time(tmp_path: Path) -> None:
    archive = PredictionArchive(tmp_path)
    archive.append("topic", [Archived(0, 0, prediction(0))])
    left = [tmp_path / "topic" / f".0000-000000000001-000000000001.parquet.{name}" for name in ("old", "new")]
    for path in left:
        path.write_bytes(b"half")
    os.utime(left[0], (time.time() - 7200,) * 2)
    archive.append("topic", [Archived(0, 1, prediction(1))])
    assert [path.exists() for path in left] == [False, True]


@pytest.mark.integration
def test_machines_share_an_archive_in_a_bucket(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    here, there = (PredictionArchive(store.bucket(tmp_path / name) / "predictions") for name in ("here", "there"))
    target = prediction(0).target
    for number in range(70):
        here.append("topic", [Archived(0, number, prediction(number))])
    assert there.ends("topic") == {0: 69}
    assert len(there.files()) < 20, "small files are joined"
    assert sorted(there.read(["id"], target=target)["id"].to_pylist()) == sorted(f"p-{n}" for n in range(70))
    # Somebody is forgotten from there, and here it is seen.
    them = Person("user_id", prediction(0).user_id)
    about = len(here.predictions_of(them))
    assert there.remove(them).rows == about > 0
    assert here.predictions_of(them) == []
    assert here.read(["id"], target=target).num_rows == 70 - about
    # A damaged object is set aside, and says its name.
    [name, *_] = [one for one in store.objects() if one.endswith(".parquet")]
    (store.root / name).write_bytes(b"PAR1 half a file")
    assert here.read(["id"], target=target).num_rows < 70 - about
    assert [path.name for path in there.damaged()] == [Path(name).name + ".damaged"]
    assert there.ends("topic") == {0: 69}
    tiny = PredictionArchive(store.bucket(tmp_path / "here") / "predictions", most_bytes=1)
    tiny.append("topic", [Archived(0, 70, prediction(70))])
    assert len(there.files()) <= 2, "the last file of a partition stays"
