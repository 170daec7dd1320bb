"""Compaction joins files under workers and readers: whoever dies or comes between, every event is there once."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_rows import append, append_old, folder_of, read, rows
from thorough import examples

from data.errors import DataError
from data.log import compaction, log_file
from data.log.compaction import Compacted
from data.log.event_log import EventLog
from data.log.segments import Segment
from features.batch.engine import DuckDBEngine

HOUR_S = 3600.0


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "log")


def names(log: EventLog) -> list[str]:
    found = sorted(path.name for path in folder_of(log).rglob("*") if path.is_file())
    return [name for name in found if name != ".rewriting.lock"]


def fill(log: EventLog, files: int, *, width: int = 10, partition: int = 0) -> pa.Table:
    """Files of `width` offsets, one after another; what a reader sees of the log then."""
    for first in range(0, files * width, width):
        append(log, range(first, first + width), partition=partition)
    return read(log)


def test_parts_stay_for_those_who_listed_them_and_go_after_a_while(log: EventLog) -> None:
    before = fill(log, 16)
    fill(log, 3, partition=1)
    before = read(log)
    listed = log.files()
    assert log.compact("kafka") == Compacted(joined=16, made=1, deleted=0)
    assert [file.segment for file in log.files()][:1] == [Segment(0, 0, 160)]
    assert len(log.files()) == 4
    assert all(file.path.exists() for file in listed)
    assert read(log).equals(before)
    now_s = time.time()
    assert log.compact("kafka", now_s=now_s + HOUR_S - 60) == Compacted(0, 0, 0)
    assert log.compact("kafka", 1, now_s=now_s + 2 * HOUR_S) == Compacted(0, 0, 0), "partition 0 is another's"
    assert log.compact("kafka", 0, now_s=now_s + 2 * HOUR_S) == Compacted(0, 0, 16)
    assert names(log) == sorted(file.segment.name for file in log.files())
    assert read(log).equals(before)
    assert log.compact("kafka", grace_s=0) == log.compact("nothing") == Compacted()


@pytest.mark.long
@pytest.mark.integration  # it writes hundreds of files
def test_an_hour_of_streaming_leaves_few_files(log: EventLog) -> None:
    """A flush every ten seconds and a compaction every minute, as a worker has them."""
    most = 0
    for flush in range(360):
        append(log, range(flush * 20, (flush + 1) * 20))
        if flush % 6 == 5:
            log.compact("kafka")
            most = max(most, len(log.files()))
    assert most < 45
    assert log.count() == 360 * 18, "one in ten is a dead letter"
    log.compact("kafka", now_s=time.time() + 2 * HOUR_S)
    assert len(names(log)) == len(log.files()), "the parts go an hour later"


def test_a_joined_file_has_large_row_groups_and_checksums(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.log.log_file.ROW_GROUP", 100)
    before = fill(log, 40)
    log.compact("kafka")
    (file,) = log.files()
    groups = pq.read_metadata(file.path)
    assert groups.num_row_groups == 4
    assert read(log).equals(before)
    log.check(pages=True)


def test_old_files_become_new_ones_and_what_is_unknown_stays_so(log: EventLog) -> None:
    for first in range(0, 200, 10):
        append_old(log, list(range(first, first + 10)))
    append_old(log, list(range(205, 210)))
    before = read(log)
    assert log.compact("kafka", grace_s=0, now_s=time.time() + 1).joined == 19
    log.compact("kafka", grace_s=0, now_s=time.time() + 1)
    assert [file.segment for file in log.files()] == [
        Segment(0, 0, 190),
        Segment(0, 190, 200, "old"),
        Segment(0, 205, 210, "old"),
    ]
    assert log.unknown("kafka", 0) == [range(200, 205)]
    assert read(log).equals(before)


@pytest.mark.integration
@examples(30)
@given(
    drawn=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 20), st.booleans()), min_size=1, max_size=60),
    grace_s=st.sampled_from([0.0, HOUR_S]),
)
def test_compacting_changes_nothing_that_a_reader_or_a_worker_sees(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[int, int, bool]], grace_s: float
) -> None:
    log = EventLog(tmp_path_factory.mktemp("log"))
    for first, width, is_old in drawn:
        if is_old:
            append_old(log, list(range(first, first + width)))
        else:
            log.append("kafka", 0, range(first, first + width), rows(range(first, first + width)))
    for hole in log.holes():
        log.mark_lost(*hole)

    def seen() -> tuple[object, ...]:
        found = log.coverage("kafka")[0]
        return found.consumed, found.lost, found.holes, found.unknown, read(log)

    before = seen()
    for _ in range(3):
        log.compact("kafka", grace_s=grace_s, now_s=time.time() + 1)
        assert seen() == before


def test_what_a_worker_appends_meanwhile_stays(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(log, 16)
    write = log_file.write_file

    def write_while_a_worker_appends(path: Path, tables: object, columns: object) -> None:
        append(log, range(160, 170))
        write(path, tables, columns)  # type: ignore[arg-type]

    monkeypatch.setattr(compaction, "write_file", write_while_a_worker_appends)
    log.compact("kafka", grace_s=0)
    assert log.covered("kafka", 0) == [range(170)]
    assert read(log).num_rows == 17 * 9


def test_a_part_that_another_compaction_deleted_is_no_fault(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fill(log, 16)
    write = log_file.write_file

    def write_after_the_other(path: Path, tables: object, columns: object) -> None:
        monkeypatch.setattr(compaction, "write_file", write)
        for _ in range(2):
            log.compact("kafka", grace_s=0, now_s=time.time() + 1)
        write(path, tables, columns)  # type: ignore[arg-type]

    monkeypatch.setattr(compaction, "write_file", write_after_the_other)
    assert log.compact("kafka") == Compacted(0, 0, 0)
    assert names(log) == [Segment(0, 0, 160).name]
    assert read(log).equals(before)


def test_a_damaged_part_is_named_and_kept(log: EventLog) -> None:
    fill(log, 16)
    path = log.files()[7].path
    data = bytearray(path.read_bytes())
    data[20:40] = bytes(20)
    path.write_bytes(data)
    before = names(log)
    with pytest.raises(DataError, match=f"{path.name} cannot be read"):
        log.compact("kafka")
    assert names(log) == before


def test_what_a_dead_writer_began_goes_after_a_while(log: EventLog) -> None:
    path = append(log, range(10))
    half = path.with_name(f".{path.name}.0123456789abcdef")
    half.write_bytes(b"half a file")
    assert log.compact("kafka") == Compacted(0, 0, 0)
    assert half.exists()
    assert log.compact("kafka", now_s=time.time() + 2 * HOUR_S) == Compacted(0, 0, 1)
    assert names(log) == [path.name]


COMPACT = """
import sys, time
from pathlib import Path
from data.log.event_log import EventLog
log = EventLog(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    log.compact("kafka", grace_s=0, now_s=time.time() + 1)
"""


@pytest.mark.long
@pytest.mark.integration
def test_killed_at_any_moment_the_log_has_the_same_events(log: EventLog) -> None:
    """SIGKILL, some milliseconds later each time, with parts deleted as soon as that is allowed at all."""
    total = 0
    for attempt in range(5):
        for first in range(total, total + 320, 5):
            append(log, range(first, first + 5))
        total += 320
        before = read(log)
        with subprocess.Popen(
            [sys.executable, "-c", COMPACT, str(folder_of(log))],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": "."},
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.005 + 0.02 * attempt)
            process.send_signal(signal.SIGKILL)
        assert log.covered("kafka", 0) == [range(total)]
        assert read(log).equals(before)
    while log.compact("kafka", grace_s=0, now_s=time.time() + 1) != Compacted():
        pass
    assert len(names(log)) < 32
    assert read(log).equals(before)


@pytest.mark.long
@pytest.mark.integration
def test_readers_see_every_event_once_while_two_compact(log: EventLog) -> None:
    """A worker appends and two compact beside readers; whoever listed keeps what he listed for the grace."""
    done = threading.Event()
    failures: list[BaseException] = []

    def again_and_again() -> None:
        try:
            while not done.is_set():
                log.compact("kafka", grace_s=1.0)
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=again_and_again) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(100):
            append(log, range(number * 10, number * 10 + 10))
            if number % 5 == 0:
                found = read(log).column("offset").to_pylist()
                assert found == [offset for offset in range(number * 10 + 10) if offset % 10 != 9]
            if number % 50 == 0:
                with DuckDBEngine(log, threads=1) as engine:
                    counted = engine.connection.raw_sql(
                        f'SELECT count(*), count(DISTINCT "offset") FROM {engine.scan()}'
                    ).fetchone()
                assert counted == (9 * number + 9,) * 2
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert len(log.files()) < 60
