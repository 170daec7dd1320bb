"""The event log in files: their names, and files that are gone, half written, damaged, old or somebody else's.

What every event log promises is in `tests/contracts/test_log_contract.py`.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_rows import LOG_COLUMNS, append, append_old, folder_of, read, rows
from thorough import examples

from data.errors import DataError, LogHoleError
from data.log.event_log import EventLog
from data.log.event_table import EVENT_COLUMNS
from data.log.segments import Hole, Segment


def history(*tables: pa.Table) -> Iterator[pa.Table]:
    return (table.select(EVENT_COLUMNS.names) for table in tables)


def offsets(log: EventLog) -> list[int]:
    found: list[int] = read(log).column("offset").to_pylist()
    return found


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "log")


def test_opening_a_log_makes_nothing(log: EventLog) -> None:
    assert (log.sources(), log.files(), log.ends("shop")) == ([], [], {})
    log.check()
    assert not folder_of(log).exists()


def test_a_file_is_named_by_its_source_its_partition_and_its_offsets(log: EventLog) -> None:
    append(log, range(2), source="shop")
    path = log.append("kafka-abc", 3, range(120, 181), rows(range(120, 181)))
    assert path.relative_to(folder_of(log)).as_posix() == "0001-kafka-abc/0003-000000000120..000000000181.parquet"
    assert pq.read_schema(path).equals(LOG_COLUMNS)


def test_a_pipe_in_the_place_of_a_file_is_a_hole(log: EventLog) -> None:
    """A reader would wait for who writes into it."""
    paths = [append(log, consumed) for consumed in (range(3), range(3, 6), range(6, 9))]
    middle = paths[1]
    middle.unlink()
    os.mkfifo(middle)
    with pytest.raises(LogHoleError, match="offsets 3 to 5"):
        log.check(pages=True)


def test_the_same_range_written_again_replaces_its_file(log: EventLog) -> None:
    log.append("kafka", 0, range(10), rows(range(10), note="-old"))
    log.append("kafka", 0, range(10), rows(range(10)))
    assert len(list(folder_of(log).rglob("*.parquet"))) == 1
    assert read(log).column("event_id").to_pylist() == [f"e{offset}" for offset in range(10)]


@pytest.mark.integration
@examples(30)
@given(
    drawn=st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 30), st.integers(0, 12), st.booleans()), min_size=1, max_size=12
    )
)
def test_any_ranges_are_read_once_in_order_as_far_as_there_is_no_hole(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[int, int, int, bool]]
) -> None:
    log = EventLog(tmp_path_factory.mktemp("log"))
    expected: dict[int, set[int]] = {}
    for partition, first, more, is_old in drawn:
        consumed = range(first, first + more + 1)
        events = [offset for offset in consumed if offset % 7]
        if is_old and events:
            append_old(log, events, partition=partition)
        else:
            log.append("kafka", partition, consumed, rows(events))
        expected.setdefault(partition, set()).update(events)
    for hole in log.holes():
        log.mark_lost(*hole)
    found = read(log)
    places = list(zip(found.column("partition").to_pylist(), found.column("offset").to_pylist(), strict=True))
    assert places == [(number, offset) for number in sorted(expected) for offset in sorted(expected[number])]
    assert log.count() == len(places)
    for partition, kept in expected.items():
        part = [o for table in log.read("kafka", partition, range(5, 20)) for o in table["offset"].to_pylist()]
        assert part == [offset for offset in sorted(kept) if 5 <= offset < 20]


def test_dead_letters_are_no_hole(log: EventLog) -> None:
    log.append("kafka", 0, range(10), rows([3, 5]))
    log.append("kafka", 0, range(10, 15), rows([]))
    log.append("kafka", 0, range(15, 20), rows([17]))
    log.check(pages=True)
    assert log.holes() == []
    assert offsets(log) == [3, 5, 17]
    assert log.covered("kafka", 0) == [range(20)]
    assert log.ends("kafka") == {0: 19}


def test_a_file_that_is_gone_is_a_hole_that_every_reader_refuses(log: EventLog) -> None:
    append(log, range(10))
    append(log, range(10, 20)).unlink()
    append(log, range(20, 30))
    append(log, range(10), partition=1)
    append(log, range(5), source="shop")
    assert log.holes() == [Hole("kafka", 0, range(10, 20))]
    assert log.covered("kafka", 0) == [range(10), range(20, 30)]
    assert log.ends("kafka") == {0: 29, 1: 9}
    readers = (
        log.files,
        log.count,
        log.check,
        lambda: list(log.tables()),
        lambda: list(log.read("kafka", 0, range(30))),
    )
    for reader in readers:
        with pytest.raises(LogHoleError, match="kafka partition 0 offsets 10 to 19") as raised:
            reader()
        assert raised.value.holes == (Hole("kafka", 0, range(10, 20)),)
        assert "encore log accept-loss" in str(raised.value)
    assert len(log.files("shop")) == 1
    for partition, around in ((0, range(10)), (0, range(20, 30)), (1, range(30))):
        assert sum(table.num_rows for table in log.read("kafka", partition, around)) == 9


def test_a_loss_that_is_accepted_is_recorded_and_read_over(log: EventLog) -> None:
    append(log, range(10))
    restored = append(log, range(10, 20))
    copy = restored.read_bytes()
    restored.unlink()
    append(log, range(20, 30))
    path = log.mark_lost("kafka", 0, range(10, 20))
    assert pq.read_schema(path).metadata[b"encore.lost"] == b"true"
    assert (log.holes(), log.coverage("kafka")[0].lost) == ([], [range(10, 20)])
    assert offsets(log) == [*range(9), *range(20, 29)]
    log.check(pages=True)
    restored.write_bytes(copy)  # found after all
    assert log.coverage("kafka")[0].lost == []
    assert offsets(log) == [*range(9), *range(10, 19), *range(20, 29)]


def test_beside_files_of_the_old_naming_gaps_are_unknown(log: EventLog) -> None:
    append_old(log, [2, 4])
    append_old(log, [7, 9])
    append(log, range(12, 20))
    append(log, range(25, 30))
    assert log.unknown("kafka", 0) == [range(2), range(5, 7), range(10, 12)]
    assert log.holes() == [Hole("kafka", 0, range(20, 25))]
    log.mark_consumed("kafka", 0, range(5, 7))
    log.append("kafka", 0, range(2), rows([1]))
    assert log.unknown("kafka", 0) == [range(10, 12)]
    log.mark_lost("kafka", 0, range(20, 25))
    assert offsets(log)[:5] == [1, 2, 4, 7, 9]


def test_a_history_is_numbered_by_row_over_its_files(log: EventLog) -> None:
    assert (
        log.write_history("shop", history(rows(range(10)), rows(range(10, 11)), rows(range(11, 25))), rows_per_file=10)
        == 25
    )
    assert offsets(log) == list(range(25))
    assert [file.segment for file in log.files()] == [Segment(0, 0, 10), Segment(0, 10, 25)]
    assert log.sources() == ["shop"]


def test_a_history_that_breaks_off_leaves_the_log_as_it_was(log: EventLog) -> None:
    log.write_history("shop", history(rows(range(10))))
    before = sorted(path.name for path in folder_of(log).rglob("*"))

    def broken() -> Iterator[pa.Table]:
        yield from history(rows(range(100)))
        raise DataError("row 100 is bad")

    for source in ("shop", "another"):
        with pytest.raises(DataError, match="row 100 is bad"):
            log.write_history(source, broken(), rows_per_file=10)
    assert sorted(path.name for path in folder_of(log).rglob("*")) == before
    assert offsets(log) == list(range(10))


def test_an_empty_history_is_refused_and_nothing_is_written(log: EventLog) -> None:
    with pytest.raises(DataError, match="history shop: no events"):
        log.write_history("shop", history())
    assert list(folder_of(log).iterdir()) == []


def test_an_append_that_fails_leaves_no_file(log: EventLog) -> None:
    with pytest.raises(pa.ArrowInvalid):
        log.append("kafka", 0, range(3), rows(range(3)).set_column(4, "amount", pa.array(["a", "b", "c"])))
    assert not [path for path in folder_of(log).rglob("*") if path.is_file()]


def test_check_names_a_truncated_file(log: EventLog) -> None:
    log.append("kafka", 0, range(10), rows(range(10)))
    path = log.append("kafka", 0, range(10, 20), rows(range(10, 20)))
    log.check()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"0000-000000000010\.\.000000000020\.parquet cannot be read") as raised:
        log.check()
    assert "encore log check" in str(raised.value)


@pytest.mark.parametrize(("metadata", "said"), [({b"encore.log_version": b"3"}, "version 3"), ({}, "version none")])
def test_check_names_a_file_of_another_version(log: EventLog, metadata: dict[bytes, bytes], said: str) -> None:
    path = log.append("kafka", 0, range(10), rows(range(10)))
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    with pytest.raises(DataError, match=said) as raised:
        log.check()
    assert path.name in str(raised.value)


def test_files_that_are_none_of_the_logs_are_passed_over(log: EventLog) -> None:
    path = log.append("kafka", 0, range(10), rows(range(10)))
    (path.parent / f".{path.name}.half").write_bytes(b"half a file")
    (path.parent / "notes.txt").write_text("mine")
    (folder_of(log) / "notes.txt").write_text("mine")
    log.check()
    assert offsets(log) == list(range(10))


def test_a_flipped_bit_is_found(log: EventLog) -> None:
    path = log.append("kafka", 0, range(1000), rows(range(1000)))
    data = bytearray(path.read_bytes())
    for place in range(40, 60):  # within the first page
        data[place] ^= 1
    path.write_bytes(data)
    log.check()  # the footer is well
    for reader in (lambda: log.check(pages=True), lambda: list(log.tables())):
        with pytest.raises(DataError, match=f"{re.escape(path.name)} cannot be read"):
            reader()


def test_a_file_that_vanishes_between_listing_and_reading_is_said_so(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(log, range(10))
    parts = [append(log, range(10, 20)), append(log, range(20, 30))]
    tables = log.tables()
    next(tables)
    stale = [log.files()]
    list_again = log.files
    append(log, range(10, 30))
    for path in parts:
        path.unlink()
    monkeypatch.setattr(log, "files", lambda: stale.pop() if stale else list_again())
    assert [file.segment.stop for file in log.check()] == [10, 30], "it lists again"
    with pytest.raises(DataError, match=r"0\.parquet was there .* run again"):
        list(tables)
