"""Bits that flip in the event log are found by whoever reads it, whatever it reads with."""

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from event_streams import Act, act

from data.errors import DataError
from data.log.event_log import EventLog
from data.log.event_table import PlacedEvent, placed_table
from data.units import HOUR_US
from features.batch.engine import DuckDBEngine
from features.plan.plan import Plan

pytestmark = pytest.mark.integration  # it writes and reads a log for each bit


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    log = EventLog(tmp_path / "log")
    acts = [Act("purchase", f"u{n * n % 997}", f"p{n * n % 131}", n * HOUR_US, n * 0.37) for n in range(3_000)]
    events = placed_table([PlacedEvent(number, act(one, f"event-{number}")) for number, one in enumerate(acts)])
    log.append("shop-test", 0, range(events.num_rows), events)
    return log


def columns(path: Path) -> list[range]:
    """Where the columns lie in a file."""
    group = pq.read_metadata(path).row_group(0)
    found = []
    for number in range(group.num_columns):
        column = group.column(number)
        first = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)))
        found.append(range(first, first + column.total_compressed_size))
    return found


def flip(path: Path, place: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1 << (place % 8)
    path.write_bytes(raw)


def by_arrow(log: EventLog, plan: Plan) -> None:
    for _ in log.tables():
        pass


def by_duckdb(log: EventLog, plan: Plan) -> None:
    with DuckDBEngine(log) as engine:
        engine.events().count().execute()


def by_states(log: EventLog, plan: Plan) -> None:
    with DuckDBEngine(log) as engine:
        list(engine.states(plan.of("user")))


READERS = [by_arrow, by_duckdb, by_states]


@pytest.mark.parametrize("read", READERS)
def test_a_whole_log_is_read(log: EventLog, plan: Plan, read: Callable[[EventLog, Plan], None]) -> None:
    read(log, plan)


@pytest.mark.parametrize("read", READERS)
def test_a_flipped_bit_in_any_column_is_found(
    log: EventLog, plan: Plan, read: Callable[[EventLog, Plan], None]
) -> None:
    [file] = log.files()
    before, dice = file.path.read_bytes(), random.Random(7)
    large = [column for column in columns(file.path) if len(column) > 1_000]
    assert len(large) >= 5
    for column in large:
        flip(file.path, dice.randrange(column.start + len(column) // 2, column.stop))
        with pytest.raises(DataError, match="cannot be read"):
            read(log, plan)
        file.path.write_bytes(before)


@pytest.mark.long
def test_no_flipped_bit_changes_what_is_read(log: EventLog) -> None:
    """A page's header has no checksum: a flip there is found, or is of no consequence."""
    [file] = log.files()
    before, dice = file.path.read_bytes(), random.Random(8)
    [rows] = log.tables()
    for column in columns(file.path):
        for place in dice.sample(column, 20):
            flip(file.path, place)
            with suppress(DataError):
                log.check(pages=True)
                assert next(log.tables()).equals(rows), place
            file.path.write_bytes(before)
