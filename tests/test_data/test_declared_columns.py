"""A log outlives its schema: files from before a column was declared are read, and no column of a file is lost."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from log_rows import LOG_COLUMNS, append, read

from data.default_shop import SHOP
from data.errors import DataError, SchemaError
from data.log.event_log import EventLog
from data.schema import Entity, EventType, Measure, Schema
from features.batch.engine import DuckDBEngine

LATER = ("discount", "brand", "device", "order_id")
"""The columns that logs of version 1 do not have."""


def age(log: EventLog) -> None:
    """Make the files what version 1 wrote."""
    for file in log.listing():
        table = pq.read_table(file.path).drop_columns(list(LATER))
        table = table.replace_schema_metadata({b"encore.log_version": b"1"})
        pq.write_table(table, file.path, write_page_checksum=True)


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    """Sixteen files of version 1, and one of now."""
    log = EventLog(tmp_path)
    for first in range(0, 160, 10):
        append(log, range(first, first + 10))
    age(log)
    return log


def test_files_of_version_1_are_read(log: EventLog) -> None:
    for _ in range(2):  # without, and with a file of now
        rows = read(log)
        assert rows.schema.equals(LOG_COLUMNS)
        assert set(rows["discount"].to_pylist()) == {0.0}
        assert set(rows["device"].to_pylist()) == {None}
        with DuckDBEngine(log, threads=1) as engine:
            found = engine.connection.to_pyarrow(engine.events().order_by("offset"))
            assert found["event_id"].to_pylist() == sorted(rows["event_id"].to_pylist(), key=lambda one: int(one[1:]))
            assert {int(one) for one in found["discount"].to_pylist()} == {0}
            assert set(found["brand"].to_pylist()) == {None}
        append(log, range(160, 170))


def test_joining_files_of_two_declarations_loses_no_column(log: EventLog) -> None:
    fewer = Schema(**{**{name: getattr(SHOP, name) for name in SHOP.__struct_fields__}, "labels": ("category",)})
    append(log, range(160, 170))
    before = read(log)
    assert EventLog(log.storage, fewer).compact("kafka", grace_s=0).made == 1
    assert read(log).sort_by("offset").equals(before.sort_by("offset"))
    [whole] = [file for file in log.listing() if file.segment.stop - file.segment.first > 10]
    assert set(LATER) <= set(pq.read_schema(whole.path).names)


def test_a_new_column_without_a_default_is_refused(log: EventLog) -> None:
    wider = Schema(
        **{
            **{name: getattr(SHOP, name) for name in SHOP.__struct_fields__},
            "measures": (*SHOP.measures, Measure("weight", decimals=3)),
        }
    )
    for reading in (lambda: EventLog(log.storage, wider).check(), lambda: list(EventLog(log.storage, wider).tables())):
        with pytest.raises(DataError, match=r"weight.*give it a default there"):
            reading()


GOOD = {
    "types": (EventType("ride"),),
    "keys": ("rider", "station"),
    "labels": ("tariff",),
    "measures": (Measure("fare", 2),),
    "ordered_by": "rider",
    "entities": (Entity("rider", ("rider",)),),
}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"types": ()}, "no event type is declared"),
        ({"types": (EventType("ride"), EventType("ride"))}, "event type `ride` is declared twice"),
        ({"types": (EventType("a\nb"),)}, "is not 1 to 64 printable characters"),
        ({"keys": ("station",)}, "ordered_by `rider` is no key (station)"),
        ({"labels": ("rider",)}, "column `rider` is declared twice"),
        ({"labels": ("Tariff of the day",)}, "is no name: use up to 48 of a-z, 0-9 and _"),
        ({"labels": ("class",)}, "is no name"),
        ({"labels": ("offset",)}, "has a name that Encore uses itself"),
        ({"labels": ("event_type",)}, "column `event_type` is declared twice"),
        ({"measures": (Measure("fare", 12),)}, "has 12 decimals; 0 to 9 are kept exactly"),
        ({"measures": (Measure("fare", 2, 5, 1),)}, "is at least 5 and at most 1"),
        ({"measures": (Measure("fare", 2, 0, 1, 2),)}, "is 2 by default, which is not from 0 to 1"),
        ({"measures": (Measure("fare", 2, 0, 1, 0.125),)}, "`default` 0.125 has more"),
        ({"measures": (Measure("fare", 9, 0, 1e15),)}, "sums stay exact up to 1e+12"),
        ({"entities": ()}, "no entity is declared"),
        ({"entities": (Entity("shop", ("shop",)),)}, "has the key `shop`, which is no key or label of the events"),
        ({"entities": (Entity("a", ("rider",)), Entity("b", ("rider",)))}, "has the same keys as `a`"),
        ({"entities": (Entity("a", ("rider", "rider")),)}, "has no keys, or one of them twice"),
        ({"entities": (Entity("event", ("rider",)),)}, "is called as the events are (`events`)"),
        ({"asks": ("toll",)}, "asks `toll`, which is no key, label or measure"),
        ({"asks": ("fare",)}, "asks fare, of which no entity is; ask for the keys of one"),
    ],
)
def test_a_schema_that_contradicts_itself_is_refused_in_one_line(changed: dict[str, object], told: str) -> None:
    assert Schema(**GOOD)  # type: ignore[arg-type]
    with pytest.raises(SchemaError) as refusal:
        Schema(**GOOD | changed)  # type: ignore[arg-type]
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_columns_follow_the_declaration() -> None:
    names = ["event_id", "event_type", "user_id", "product_id", "amount", "quantity", "discount", "timestamp"]
    origin = ["arrived", "source", "partition", "offset"]
    assert [*names, "session_id", *SHOP.labels, "metadata", *origin] == LOG_COLUMNS.names
    assert LOG_COLUMNS.field("discount").type == pa.float64()
    assert LOG_COLUMNS.field("quantity").type == pa.int64()
