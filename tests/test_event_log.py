"""The event log keeps every event once, whatever was written twice, half, or at the same time."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataError
from data.log import event_log
from data.log.event_log import LOG_COLUMNS, EventLog
from data.log.event_table import EVENT_COLUMNS


def rows(first: int, last: int, *, note: str = "") -> pa.Table:
    """Events of offsets `first` to `last`; what an event holds follows from its offset (and the note)."""
    offsets = range(first, last + 1)
    return pa.table(
        {
            "event_id": [f"e{offset}{note}" for offset in offsets],
            "event_type": ["view"] * len(offsets),
            "user_id": [f"u{offset % 3}" for offset in offsets],
            "product_id": [f"p{offset % 5}" for offset in offsets],
            "amount": [offset / 4 for offset in offsets],
            "quantity": [1] * len(offsets),
            "timestamp": pa.array([offset * 1_000_000 for offset in offsets], pa.timestamp("us", tz="UTC")),
            "session_id": [None] * len(offsets),
            "category": ["toys"] * len(offsets),
            "metadata": [None] * len(offsets),
            "offset": list(offsets),
        },
        schema=pa.schema([*EVENT_COLUMNS, pa.field("offset", pa.int64())]),
    )


def history(*tables: pa.Table) -> Iterator[pa.Table]:
    return (table.select(EVENT_COLUMNS.names) for table in tables)


def read(log: EventLog) -> pa.Table:
    """What a reader sees: of each file the rows after those already covered."""
    tables = [pq.read_table(file.path, filters=[("offset", ">", file.after)]) for file in log.files()]
    return pa.concat_tables(tables) if tables else LOG_COLUMNS.empty_table()


def offsets(log: EventLog) -> list[int]:
    return read(log).column("offset").to_pylist()


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "log")


def test_opening_a_log_makes_nothing(log: EventLog) -> None:
    assert (log.sources(), log.files(), log.ends("shop")) == ([], [], {})
    log.check()
    assert not log.root.exists()


def test_what_is_appended_is_read_with_where_it_came_from(log: EventLog) -> None:
    path = log.append("kafka-abc", 3, rows(120, 180))
    assert path.relative_to(log.root).as_posix() == "0000-kafka-abc/0003-000000000120-000000000180.parquet"
    table = read(log)
    assert table.schema.equals(LOG_COLUMNS)
    assert table.select(EVENT_COLUMNS.names).equals(rows(120, 180).select(EVENT_COLUMNS.names))
    assert set(table.column("source").to_pylist()) == {"kafka-abc"}
    assert set(table.column("partition").to_pylist()) == {3}
    assert log.ends("kafka-abc") == {3: 180}


def test_sources_are_numbered_in_the_order_they_came(log: EventLog) -> None:
    for source in ("shop", "kafka-abc", "shop", "kafka-a"):
        log.append(source, 0, rows(0, 1))
    assert log.sources() == ["shop", "kafka-abc", "kafka-a"]


def test_the_same_range_written_again_replaces_its_file(log: EventLog) -> None:
    log.append("kafka", 0, rows(0, 9, note="-old"))
    log.append("kafka", 0, rows(0, 9))
    assert len(list(log.root.rglob("*.parquet"))) == 1
    assert read(log).column("event_id").to_pylist() == [f"e{offset}" for offset in range(10)]


@pytest.mark.parametrize(
    ("ranges", "read_files"),
    [
        # 0         10        20
        # |---------|
        #     |--|                    contained
        ([(0, 10), (4, 7)], 1),
        # |---------|
        #       |---------|           partly overlapping
        ([(0, 10), (6, 16)], 2),
        # |---------|
        # |----|                      same start, shorter
        ([(0, 5), (0, 10)], 1),
        # |---------|
        #      |----|                 same end, later start
        ([(0, 10), (5, 10)], 1),
        # |----|
        #   |---------|
        #        |---------|          a chain
        ([(0, 5), (2, 11), (7, 16)], 3),
        # |---------------|
        #   |--|   |-----------|      a contained one must not hide what comes after
        ([(0, 15), (2, 5), (10, 20)], 2),
    ],
)
def test_overlapping_ranges_are_read_once(log: EventLog, ranges: list[tuple[int, int]], read_files: int) -> None:
    for first, last in ranges:
        log.append("kafka", 0, rows(first, last))
    assert offsets(log) == list(range(max(last for _, last in ranges) + 1))
    assert len(log.files()) == read_files


@given(
    ranges=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 30), st.integers(0, 12)), min_size=1, max_size=12),
    at_least=st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_any_ranges_are_read_once_in_order_and_compacting_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, ranges: list[tuple[int, int, int]], at_least: int
) -> None:
    log = EventLog(tmp_path_factory.mktemp("log"))
    expected: dict[int, set[int]] = {}
    for partition, first, more in ranges:
        log.append("kafka", partition, rows(first, first + more))
        expected.setdefault(partition, set()).update(range(first, first + more + 1))
    before = read(log)
    found = list(zip(before.column("partition").to_pylist(), before.column("offset").to_pylist(), strict=True))
    assert found == [(partition, offset) for partition in sorted(expected) for offset in sorted(expected[partition])]
    log.compact("kafka", at_least=at_least)
    assert read(log).equals(before)


def test_partitions_and_sources_do_not_cover_each_other(log: EventLog) -> None:
    log.append("kafka", 0, rows(0, 9))
    log.append("kafka", 1, rows(2, 5))
    log.append("other", 0, rows(0, 3))
    assert offsets(log) == [*range(10), *range(2, 6), *range(4)]


def test_compacting_joins_small_files_and_keeps_the_rows(log: EventLog) -> None:
    for first in range(0, 40, 4):
        log.append("kafka", 0, rows(first, first + 5))  # each overlaps the next
    log.append("kafka", 1, rows(0, 3))
    before = read(log)
    assert log.compact("kafka", at_least=11) == 0
    assert log.compact("kafka", at_least=10) == 10
    assert [file.path.name for file in log.files()] == [
        "0000-000000000000-000000000041.parquet",
        "0001-000000000000-000000000003.parquet",
    ]
    assert read(log).equals(before)
    assert log.compact("kafka", at_least=2) == 0


def test_compacting_leaves_what_a_worker_appends_meanwhile(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    for first in range(0, 40, 10):
        log.append("kafka", 0, rows(first, first + 9))
    read_file = event_log._read

    def read_while_a_worker_appends(file: event_log.LogFile) -> pa.Table:
        log.append("kafka", 0, rows(40, 49))
        return read_file(file)

    monkeypatch.setattr(event_log, "_read", read_while_a_worker_appends)
    log.compact("kafka", at_least=2)
    assert offsets(log) == list(range(50))


def test_a_history_is_numbered_by_row_over_its_files(log: EventLog) -> None:
    assert log.write_history("shop", history(rows(0, 9), rows(10, 10), rows(11, 24)), rows_per_file=10) == 25
    assert offsets(log) == list(range(25))
    assert [file.last for file in log.files()] == [9, 24]
    assert log.sources() == ["shop"]


def test_a_history_replaces_the_one_of_its_name_and_keeps_its_place(log: EventLog) -> None:
    log.write_history("shop", history(rows(0, 9)))
    log.append("kafka", 0, rows(0, 2))
    log.write_history("shop", history(rows(0, 4, note="-new")))
    assert log.sources() == ["shop", "kafka"]
    assert log.ends("shop") == {0: 4}
    assert read(log).column("event_id")[0].as_py() == "e0-new"


def test_a_history_that_breaks_off_leaves_the_log_as_it_was(log: EventLog) -> None:
    log.write_history("shop", history(rows(0, 9)))
    before = sorted(path.name for path in log.root.rglob("*"))

    def broken() -> Iterator[pa.Table]:
        yield from history(rows(0, 99))
        raise DataError("row 100 is bad")

    for source in ("shop", "another"):
        with pytest.raises(DataError, match="row 100 is bad"):
            log.write_history(source, broken(), rows_per_file=10)
    assert sorted(path.name for path in log.root.rglob("*")) == before
    assert offsets(log) == list(range(10))


def test_an_empty_history_is_refused_and_nothing_is_written(log: EventLog) -> None:
    with pytest.raises(DataError, match="history shop: no events"):
        log.write_history("shop", history())
    assert list(log.root.iterdir()) == []


def test_an_append_that_fails_leaves_no_file(log: EventLog) -> None:
    with pytest.raises(pa.ArrowInvalid):
        log.append("kafka", 0, rows(0, 2).set_column(4, "amount", pa.array(["a", "b", "c"])))
    assert not [path for path in log.root.rglob("*") if path.is_file()]


def test_check_names_a_truncated_file(log: EventLog) -> None:
    log.append("kafka", 0, rows(0, 9))
    path = log.append("kafka", 0, rows(10, 19))
    log.check()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"0000-000000000010-000000000019\.parquet cannot be read") as raised:
        log.check()
    assert "encore rebuild" in str(raised.value)


@pytest.mark.parametrize(("metadata", "said"), [({b"encore.log_version": b"2"}, "version 2"), ({}, "version none")])
def test_check_names_a_file_of_another_version(log: EventLog, metadata: dict[bytes, bytes], said: str) -> None:
    path = log.append("kafka", 0, rows(0, 9))
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    with pytest.raises(DataError, match=said) as raised:
        log.check()
    assert path.name in str(raised.value)


def test_files_that_are_none_of_the_logs_are_passed_over(log: EventLog) -> None:
    path = log.append("kafka", 0, rows(0, 9))
    (path.parent / f".{path.name}.half").write_bytes(b"half a file")
    (path.parent / "notes.txt").write_text("mine")
    (log.root / "notes.txt").write_text("mine")
    log.check()
    assert offsets(log) == list(range(10))
