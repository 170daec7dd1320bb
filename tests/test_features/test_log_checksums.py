"""Bits that flip in the event log are found by whoever reads it, whatever it reads with."""

import random
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from event_streams import Act, act, as_log, place

from data.errors import DataError
from data.log.event_log import EventLog
from data.units import HOUR_US
from features.batch.engine import DuckDBEngine
from features.plan.plan import Plan


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    log = EventLog(tmp_path / "log")
    acts = [Act("purchase", f"u{n % 97}", f"p{n % 31}", n * HOUR_US, n * 0.37) for n in range(3_000)]
    as_log(log, place([act(one, f"event-{number}") for number, one in enumerate(acts)]))
    return log


def pages(path: Path) -> list[range]:
    """Where the columns' pages lie in a file."""
    group = pq.read_metadata(path).row_group(0)
    found = []
    for place_ in range(group.num_columns):
        column = group.column(place_)
        first = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)))
        found.append(range(first, first + column.total_compressed_size))
    return found


def flip(path: Path, place_: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place_] ^= 1 << (place_ % 8)
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
    file = log.files()[0]
    before, dice = file.path.read_bytes(), random.Random(7)
    for column in pages(file.path):
        flip(file.path, dice.choice(range(column.start + len(column) // 2, column.stop)))
        with pytest.raises(DataError, match="cannot be read"):
            read(log, plan)
        file.path.write_bytes(before)
