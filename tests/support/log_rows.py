"""Rows of an event log, made from their offsets."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from data.default_shop import SHOP
from data.log.event_log import EventLog
from data.log.event_table import columns_of, declared
from data.log.log import Log
from data.log.segments import Segment

__all__ = ["LOG_COLUMNS", "append", "append_old", "folder_of", "read", "rows"]

LOG_COLUMNS = columns_of(SHOP).log


def rows(offsets: Iterable[int], *, note: str = "") -> pa.Table:
    """Events at these offsets; what an event holds follows from its offset (and the note)."""
    offsets = list(offsets)
    found = pa.table(
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
            "offset": pa.array(offsets, pa.int64()),
        }
    )
    return declared(found, columns_of(SHOP).placed, SHOP)


def folder_of(log: EventLog) -> Path:
    """The folder of a log that is in one."""
    return Path(str(log))


def read(log: Log, source: str | None = None) -> pa.Table:
    """What a reader sees."""
    return pa.concat_tables([LOG_COLUMNS.empty_table(), *log.tables(source)])


def append(log: Log, consumed: range, *, partition: int = 0, source: str = "kafka") -> Any:
    """Append a row for every consumed offset but those that end in 9, which are dead letters."""
    return log.append(source, partition, consumed, rows(offset for offset in consumed if offset % 10 != 9))


def append_old(log: EventLog, offsets: list[int], *, partition: int = 0, source: str = "kafka") -> Path:
    """Write rows at these offsets under the name that an older Encore gave their file."""
    consumed = range(offsets[0], offsets[-1] + 1)
    path = log.append(source, partition, consumed, rows(offsets))
    return path.rename(path.with_name(Segment(partition, consumed.start, consumed.stop, "old").name))
