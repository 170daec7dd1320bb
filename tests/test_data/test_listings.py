"""Lists of a bucket that lag behind, or are wrong: waited for, or refused, and never taken for the log."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from bucket_double import ObjectStore
from log_rows import append, read

from data.errors import DataError, LogHoleError, UnavailableError
from data.log.event_log import EventLog


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.log.listings._LAG_S", 0.4)
    monkeypatch.setattr("data.log.listings._HOLE_S", 0.4)
    monkeypatch.setattr("data.log.listings._AGAIN_S", 0.02)


def machine(store: ObjectStore, name: str) -> EventLog:
    return EventLog(store.bucket(store.root / "copies" / name))


def hide(store: ObjectStore, part: str) -> None:
    store.hidden |= {name for name in store.objects() if part in name}


def later(store: ObjectStore, after_s: float = 0.15) -> None:
    """Let lists show everything after a while."""
    threading.Timer(after_s, store.hidden.clear).start()


def test_what_a_process_has_written_is_never_missed(store: ObjectStore) -> None:
    log = machine(store, "one")
    append(log, range(10))
    append(log, range(10, 20))
    hide(store, "..000000000020")
    with pytest.raises(UnavailableError, match=r"does not list partition 0 up to offset 19, which was there"):
        log.covered("kafka", 0)
    later(store)
    assert log.covered("kafka", 0) == [range(20)]


def test_what_a_process_has_seen_is_never_missed(store: ObjectStore) -> None:
    writer, reader = machine(store, "one"), machine(store, "two")
    append(writer, range(10))
    append(writer, range(10, 20))
    assert reader.covered("kafka", 0) == [range(20)]
    hide(store, "..000000000020")
    with pytest.raises(UnavailableError, match="lists lag behind"):
        list(reader.tables())
    later(store)
    assert read(reader).num_rows == 18


def test_a_hole_that_is_only_late_is_waited_for(store: ObjectStore) -> None:
    writer, reader = machine(store, "one"), machine(store, "two")
    for first in (0, 10, 20):
        append(writer, range(first, first + 10))
    hide(store, "000000000010..")
    later(store)
    assert read(reader).num_rows == 27


def test_a_hole_that_stays_is_refused_and_waited_for_once(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, reader = machine(store, "one"), machine(store, "two")
    for first in (0, 10, 20):
        append(writer, range(first, first + 10))
    hide(store, "000000000010..")
    for _ in range(2):
        with pytest.raises(LogHoleError, match="offsets 10 to 19"):
            reader.files()
    waits: list[float] = []
    monkeypatch.setattr("data.log.listings.time", SimpleNamespace(monotonic=time.monotonic, sleep=waits.append))
    assert len(reader.holes()) == 1
    assert waits == []


def test_a_list_that_still_has_what_is_gone_is_asked_for_again(store: ObjectStore) -> None:
    writer, reader = machine(store, "one"), machine(store, "two")
    for first in range(0, 160, 10):
        append(writer, range(first, first + 10))
    listed = reader.files()
    writer.compact("kafka")
    writer.compact("kafka", grace_s=0, now_s=2.0**40)
    assert len(listed) == 16
    assert reader.count() == 16 * 9


def test_a_source_with_two_folders_is_named(store: ObjectStore) -> None:
    """Two machines that begin one source at once, and see other sources before it."""
    log = machine(store, "one")
    append(log, range(10))
    append(machine(store, "two"), range(5), source="other")
    twice = store.root / "bucket/shop/0002-kafka"
    twice.mkdir()
    (twice / "0000-000000000010..000000000020.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="0000-kafka and 0002-kafka of one source"):
        machine(store, "three").files()


def test_errors_of_a_store_are_named_and_nothing_is_there_in_part(store: ObjectStore) -> None:
    log = machine(store, "one")
    append(log, range(10))

    def refuses(operation: str, path: str) -> None:
        if operation == "put":
            raise OSError("AWS Error SLOW_DOWN during PutObject")

    store.fails = refuses
    with pytest.raises(UnavailableError, match=r"s3://bucket/shop cannot be written .*SLOW_DOWN"):
        append(log, range(10, 20))
    store.fails = None
    assert log.covered("kafka", 0) == [range(10)]
    assert log.covered("kafka", 0) == machine(store, "two").covered("kafka", 0)
    append(log, range(10, 20))
    assert read(machine(store, "two")).num_rows == 18


def test_a_slow_store_gives_the_same(store: ObjectStore) -> None:
    store.fails = lambda _operation, _path: time.sleep(0.02)
    log = machine(store, "one")
    for first in (0, 10):
        append(log, range(first, first + 10))
    assert read(machine(store, "two")).num_rows == 18
