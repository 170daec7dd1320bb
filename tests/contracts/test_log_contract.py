"""What every event log promises, in memory and in files: each event once and in order, and no hole passed over."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from bucket_double import ObjectStore
from hypothesis import given
from hypothesis import strategies as st
from log_rows import LOG_COLUMNS, append, read, rows
from thorough import examples

from data.errors import DataError, LogHoleError
from data.log.compaction import Compacted
from data.log.event_log import EventLog
from data.log.event_table import EVENT_COLUMNS
from data.log.log import Log
from data.log.memory import MemoryLog
from data.log.person import Person
from data.log.removal import Removed
from data.log.segments import Hole


@pytest.fixture(params=["memory", "files", "bucket"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _lists_lag_no_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.log.listings._HOLE_S", 0.0)


@pytest.fixture
def log(kind: str, tmp_path: Path) -> Log:
    return _new(kind, tmp_path)


def _new(kind: str, folder: Path) -> Log:
    if kind == "bucket":
        return EventLog(ObjectStore(folder).bucket(folder / "copies"))
    return MemoryLog() if kind == "memory" else EventLog(folder / "log")


def history(*tables: pa.Table) -> Iterator[pa.Table]:
    return (table.select(EVENT_COLUMNS.names) for table in tables)


def offsets(log: Log) -> list[int]:
    found: list[int] = read(log).column("offset").to_pylist()
    return found


def test_a_new_log_is_empty(log: Log) -> None:
    assert (log.sources(), log.ends("shop"), log.holes(), log.count(), offsets(log)) == ([], {}, [], 0, [])
    assert (log.coverage("shop"), log.covered("shop", 0), log.unknown("shop", 0)) == ({}, [], [])
    assert list(log.read("shop", 0, range(9))) == []
    assert log.compact("shop") == Compacted()


def test_what_is_appended_is_read_with_where_it_came_from(log: Log) -> None:
    log.mark_consumed("kafka-abc", 3, range(120))
    log.append("kafka-abc", 3, range(120, 181), rows(range(120, 181)))
    table = read(log)
    assert table.schema.equals(LOG_COLUMNS)
    assert table.select(EVENT_COLUMNS.names).equals(rows(range(120, 181)).select(EVENT_COLUMNS.names))
    assert set(table.column("source").to_pylist()) == {"kafka-abc"}
    assert set(table.column("partition").to_pylist()) == {3}
    assert log.ends("kafka-abc") == {3: 180}


def test_sources_come_in_the_order_in_which_they_were_begun(log: Log) -> None:
    for source in ("shop", "kafka-abc", "shop", "kafka-a", "A.b_1"):
        append(log, range(2), source=source)
    assert log.sources() == ["shop", "kafka-abc", "kafka-a", "A.b_1"]
    assert read(log).column("source").to_pylist() == ["shop"] * 2 + ["kafka-abc"] * 2 + ["kafka-a"] * 2 + ["A.b_1"] * 2
    assert set(read(log, "kafka-a").column("source").to_pylist()) == {"kafka-a"}


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ü", "a\n"])
def test_a_source_that_no_folder_can_be_called_after_is_refused(log: Log, name: str) -> None:
    writes: tuple[Callable[[], object], ...] = (
        lambda: log.append(name, 0, range(3), rows(range(3))),
        lambda: log.mark_lost(name, 0, range(3)),
        lambda: log.write_history(name, history(rows(range(3)))),
    )
    for write in writes:
        with pytest.raises(ValueError, match=r"a source of the event log is called"):
            write()
    assert log.sources() == []


def test_the_same_range_written_again_replaces_what_it_was(log: Log) -> None:
    log.append("kafka", 0, range(10), rows(range(10), note="-old"))
    log.append("kafka", 0, range(10), rows(range(10)))
    assert read(log).column("event_id").to_pylist() == [f"e{offset}" for offset in range(10)]


@pytest.mark.parametrize(
    ("ranges", "read_segments"),
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
def test_overlapping_ranges_are_read_once(log: Log, ranges: list[tuple[int, int]], read_segments: int) -> None:
    for first, last in ranges:
        log.append("kafka", 0, range(first, last + 1), rows(range(first, last + 1)))
    assert offsets(log) == list(range(max(last for _, last in ranges) + 1))
    assert len(log.coverage("kafka")[0].read) == read_segments


@pytest.mark.parametrize(
    ("consumed", "events"),
    [
        (range(0), []),
        (range(0, 10, 2), [0]),
        (range(-1, 3), [0]),
        (range(3), [0, 3]),
        (range(1, 3), [0, 1]),
        (range(9), [4, 2]),
        (range(9), [2, 2]),
    ],
)
def test_events_outside_of_what_was_consumed_are_refused(log: Log, consumed: range, events: list[int]) -> None:
    with pytest.raises(ValueError, match=r"consumed|offsets of events"):
        log.append("kafka", 0, consumed, rows(events))
    assert log.sources() == []


@pytest.mark.parametrize("lost", [range(0), range(0, 10, 2), range(-1, 3)])
def test_a_loss_of_no_range_is_refused(log: Log, lost: range) -> None:
    with pytest.raises(ValueError, match="lost offsets"):
        log.mark_lost("kafka", 0, lost)


def test_an_append_that_fails_leaves_nothing(log: Log) -> None:
    with pytest.raises(pa.ArrowInvalid):
        log.append("kafka", 0, range(3), rows(range(3)).set_column(4, "amount", pa.array(["a", "b", "c"])))
    assert (log.covered("kafka", 0), log.count()) == ([], 0)


def test_dead_letters_are_no_hole(log: Log) -> None:
    log.append("kafka", 0, range(10), rows([3, 5]))
    log.append("kafka", 0, range(10, 15), rows([]))
    log.append("kafka", 0, range(15, 20), rows([17]))
    log.mark_consumed("kafka", 0, range(20, 22))
    assert log.holes() == []
    assert offsets(log) == [3, 5, 17]
    assert log.covered("kafka", 0) == [range(22)]
    assert log.ends("kafka") == {0: 21}


def test_a_hole_is_refused_by_every_reader_of_it(log: Log) -> None:
    append(log, range(10))
    append(log, range(20, 30))
    append(log, range(10), partition=1)
    append(log, range(5), source="shop")
    assert log.holes() == log.holes("kafka") == [Hole("kafka", 0, range(10, 20))]
    assert log.holes("shop") == []
    assert log.covered("kafka", 0) == [range(10), range(20, 30)]
    assert log.ends("kafka") == {0: 29, 1: 9}
    for reader in (log.count, lambda: list(log.tables()), lambda: list(log.read("kafka", 0, range(15, 16)))):
        with pytest.raises(LogHoleError, match="kafka partition 0 offsets 10 to 19") as raised:
            reader()
        assert raised.value.holes == (Hole("kafka", 0, range(10, 20)),)
        assert "encore log accept-loss" in str(raised.value)
    assert sum(table.num_rows for table in log.tables("shop")) == 5
    for partition, around in ((0, range(10)), (0, range(20, 30)), (1, range(30))):
        assert sum(table.num_rows for table in log.read("kafka", partition, around)) == 9


def test_a_partition_begins_at_0(log: Log) -> None:
    append(log, range(7, 20))
    assert log.holes("kafka") == [Hole("kafka", 0, range(7))]


def test_many_holes_are_counted_and_the_first_named(log: Log) -> None:
    for first in range(1, 10, 2):
        append(log, range(first, first + 1))
    with pytest.raises(LogHoleError, match=r"lacks 5 offsets: .* offsets 4 to 4 and 2 more;"):
        list(log.tables())


def test_a_loss_that_is_accepted_is_recorded_and_read_over(log: Log) -> None:
    append(log, range(10))
    append(log, range(20, 30))
    log.mark_lost("kafka", 0, range(10, 20))
    assert (log.holes(), log.coverage("kafka")[0].lost) == ([], [range(10, 20)])
    assert log.covered("kafka", 0) == [range(30)]
    assert offsets(log) == [*range(9), *range(20, 29)]
    append(log, range(10, 20))  # found after all
    assert log.coverage("kafka")[0].lost == []
    assert offsets(log) == [*range(9), *range(10, 19), *range(20, 29)]


def test_partitions_and_sources_do_not_cover_each_other(log: Log) -> None:
    log.append("kafka", 0, range(10), rows(range(10)))
    log.append("kafka", 1, range(6), rows(range(2, 6)))
    log.append("other", 0, range(4), rows(range(4)))
    assert offsets(log) == [*range(10), *range(2, 6), *range(4)]


def test_a_history_is_numbered_by_row(log: Log) -> None:
    assert log.write_history("shop", history(rows(range(10)), rows([]), rows(range(10, 25)))) == 25
    assert offsets(log) == list(range(25))
    assert (log.sources(), log.ends("shop"), log.count()) == (["shop"], {0: 24}, 25)


def test_a_history_replaces_the_one_of_its_name_and_keeps_its_place(log: Log) -> None:
    log.write_history("shop", history(rows(range(10))))
    log.append("kafka", 0, range(3), rows(range(3)))
    log.write_history("shop", history(rows(range(5), note="-new")))
    assert log.sources() == ["shop", "kafka"]
    assert log.ends("shop") == {0: 4}
    assert read(log).column("event_id")[0].as_py() == "e0-new"


def test_a_history_that_breaks_off_or_is_empty_leaves_the_log_as_it_was(log: Log) -> None:
    log.write_history("shop", history(rows(range(10))))

    def broken() -> Iterator[pa.Table]:
        yield from history(rows(range(100)))
        raise DataError("row 100 is bad")

    for source in ("shop", "another"):
        with pytest.raises(DataError, match="row 100 is bad"):
            log.write_history(source, broken())
        with pytest.raises(DataError, match=f"history {source}: no events"):
            log.write_history(source, history())
    assert log.sources() == ["shop"]
    assert offsets(log) == list(range(10))


@pytest.mark.integration
def test_small_pieces_are_joined_and_readers_see_the_same(log: Log) -> None:
    for partition, pieces in ((0, 40), (1, 3)):
        for number in range(pieces):
            append(log, range(10 * number, 10 * number + 10), partition=partition)
    before = read(log)
    reading = log.tables()
    first = next(reading)
    assert log.compact("kafka", 1) == Compacted()
    done = log.compact("kafka")
    assert (done.joined, done.made) == (40, 1)
    assert len(log.coverage("kafka")[0].read) == 1
    assert read(log).equals(before)
    assert pa.concat_tables([first, *reading]).equals(before), "who reads goes on"
    assert (log.compact("kafka").joined, log.ends("kafka"), log.holes()) == (0, {0: 399, 1: 29}, [])


def test_what_the_pieces_say_twice_is_joined_once(log: Log) -> None:
    for first in range(0, 200, 5):
        log.append("kafka", 0, range(first, first + 10), rows(range(first, first + 10)))
    assert log.compact("kafka").joined
    assert offsets(log) == list(range(205))


@pytest.mark.long
@pytest.mark.integration  # it takes seconds
@examples(60)
@given(
    drawn=st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(0, 1), st.integers(0, 60), st.integers(1, 12)),
            st.tuples(st.just("lost"), st.integers(0, 1), st.integers(0, 60), st.integers(1, 12)),
            st.tuples(st.just("compact"), st.integers(0, 1), st.just(0), st.just(1)),
            # A worker that logs a few events at a time: what compaction is for.
            st.tuples(st.just("trickle"), st.integers(0, 1), st.integers(0, 60), st.integers(16, 40)),
        ),
        max_size=12,
    ),
    asked=st.tuples(st.integers(0, 100), st.integers(0, 100)).map(lambda ends: range(min(ends), max(ends))),
)
def test_whatever_is_done_each_offset_is_there_once(
    kind: str,
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[tuple[str, int, int, int]],
    asked: range,
) -> None:
    """Against plain sets of offsets."""
    log = _new(kind, tmp_path_factory.mktemp("log"))
    consumed: dict[int, set[int]] = {}
    lost: dict[int, set[int]] = {}
    for what, partition, first, width in drawn:
        whole = range(first, first + width)
        if what == "compact":
            log.compact("kafka", partition)
        elif what == "lost":
            log.mark_lost("kafka", partition, whole)
            lost.setdefault(partition, set()).update(whole)
        else:
            for piece in [whole] if what == "append" else [range(offset, offset + 1) for offset in whole]:
                append(log, piece, partition=partition)
            consumed.setdefault(partition, set()).update(whole)
    numbers = sorted(consumed.keys() | lost.keys())
    known = {number: consumed.get(number, set()) | lost.get(number, set()) for number in numbers}
    missing = {number: set(range(max(known[number]))) - known[number] for number in numbers}
    assert log.ends("kafka") == {number: max(known[number]) for number in numbers}
    assert {n: {o for part in log.covered("kafka", n) for o in part} for n in numbers} == known
    assert {n: {o for hole in log.holes() if hole.partition == n for o in hole.offsets} for n in numbers} == missing
    assert log.unknown("kafka", 0) == []
    events = {n: [o for o in sorted(consumed.get(n, ())) if o % 10 != 9] for n in numbers}
    for number in numbers:
        if missing[number] & set(asked):
            with pytest.raises(LogHoleError):
                list(log.read("kafka", number, asked))
        else:
            found = [o for table in log.read("kafka", number, asked) for o in table["offset"].to_pylist()]
            assert found == [offset for offset in events[number] if offset in asked]
    if any(missing.values()):
        with pytest.raises(LogHoleError):
            log.count()
    else:
        places = zip(*(read(log).column(name).to_pylist() for name in ("partition", "offset")), strict=True)
        assert list(places) == [(number, offset) for number in numbers for offset in events[number]]
        assert log.count() == sum(map(len, events.values()))


def test_a_persons_rows_are_taken_out_and_leave_no_hole(log: Log) -> None:
    append(log, range(20))
    append(log, range(20, 40))
    log.write_history("shop", history(rows(range(9))))
    person = Person("user_id", "u1")
    theirs = [offset for offset in range(40) if offset % 10 != 9 and offset % 3 == 1]
    mine = pa.concat_tables(log.events_of(person))
    assert sorted(mine.column("offset").to_pylist()) == sorted([*theirs, 1, 4, 7])
    assert log.remove(person) == Removed(3, len(theirs) + 3)
    assert set(read(log).column("user_id").to_pylist()) == {"u0", "u2"}
    assert log.covered("kafka", 0) == [range(40)]
    assert log.holes() == []
    assert log.remove(person) == Removed()
    assert list(log.events_of(person)) == []
    assert log.remove(Person("product_id", "of another shop")) == Removed()


def test_who_is_refused_comes_into_no_log(log: Log) -> None:
    person = Person("user_id", "u1")
    append(log, range(5))
    log.suppression.add(person, 30 * 1_000_000)
    assert "u1" not in pa.concat_tables(log.read("kafka", 0, range(5))).column("user_id").to_pylist()
    append(log, range(5, 60))
    late = [offset for offset in range(30, 60) if offset % 10 != 9 and offset % 3 == 1]
    assert [o for o in offsets(log) if o >= 5 and o % 3 == 1] == late, "what happens later is somebody else's"
    log.write_history("shop", history(rows(range(9))))
    assert "u1" not in read(log, "shop").column("user_id").to_pylist()
    assert log.holes() == []
