"""The log's table of Iceberg has the log's events, whatever became of its files; read as other engines read it."""

import json
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from log_rows import append, append_old, read
from object_store import object_store
from pyiceberg.catalog.sql import SqlCatalog

from data.clock import ManualClock, wall_clock
from data.default_shop import SHOP
from data.errors import ConfigurationError, LogHoleError
from data.filesystem.open import open_storage
from data.lake.log_table import LogTable, address_of
from data.log.event_log import EventLog
from data.log.person import Person
from data.schema import Measure
from data.units import HOUR_US

pytestmark = pytest.mark.integration  # PyIceberg and SQLAlchemy take seconds to import

NAME = "shop.events"


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    log = EventLog(tmp_path / "a shop's" / "log")
    for start in range(0, 200, 10):
        append(log, range(start, start + 10))
    append(log, range(30), partition=1)
    return log


@pytest.fixture
def catalog(tmp_path: Path) -> SqlCatalog:
    return SqlCatalog("tests", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")


@pytest.fixture
def table(log: EventLog, catalog: SqlCatalog) -> LogTable:
    return LogTable(log, catalog, NAME)


def events(found: pa.Table) -> list[dict[str, object]]:
    order = ("source", "partition", "offset")
    ordered: list[dict[str, object]] = found.sort_by([(name, "ascending") for name in order]).to_pylist()
    return ordered


def assert_same(log: EventLog, catalog: SqlCatalog) -> None:
    assert events(catalog.load_table(NAME).scan().to_arrow()) == events(read(log))


def test_its_files_are_the_logs(log: EventLog, catalog: SqlCatalog, table: LogTable) -> None:
    assert table.sync() == (21, 207, 21, 0, 0)
    assert_same(log, catalog)
    named = {task.file.file_path for task in catalog.load_table(NAME).scan().plan_files()}
    assert named == {f"{address_of(file.storage)}/{file.segment.name}" for file in log.files()}
    snapshot = catalog.load_table(NAME).current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    assert json.loads(str(snapshot.summary["encore.offsets"])) == {"kafka": {"0": 199, "1": 29}}


def test_nothing_is_written_where_nothing_changed(catalog: SqlCatalog, table: LogTable) -> None:
    table.sync()
    before = catalog.load_table(NAME).metadata_location
    assert table.sync() == (21, 207, 0, 0, 0)
    assert catalog.load_table(NAME).metadata_location == before


def test_files_that_are_joined_are_replaced_at_once(log: EventLog, catalog: SqlCatalog, table: LogTable) -> None:
    table.sync()
    assert log.compact("kafka").made == 1
    assert table.sync() == (2, 207, 1, 20, 0)
    log.compact("kafka", grace_s=-60)
    assert_same(log, catalog)
    append(log, range(200, 210))
    assert table.sync() == (3, 216, 1, 0, 0)
    assert_same(log, catalog)


def test_of_what_two_files_hold_each_event_is_there_once(log: EventLog, catalog: SqlCatalog, table: LogTable) -> None:
    append(log, range(195, 215))
    assert table.sync().copies == 1
    assert_same(log, catalog)
    append(log, range(195, 215))  # again, as after a crash
    assert table.sync() == (22, 221, 0, 0, 1)


def test_a_person_who_is_forgotten_is_in_no_file_of_it(log: EventLog, catalog: SqlCatalog, table: LogTable) -> None:
    append(log, range(195, 215))
    table.sync()
    log.remove(Person("user_id", "u1"))
    assert b"u1" not in b"".join(path.read_bytes() for path in Path(str(log)).rglob("*.parquet"))
    table.sync()
    assert_same(log, catalog)
    assert "u1" not in catalog.load_table(NAME).scan().to_arrow().column("user_id").to_pylist()


def test_what_retention_takes_is_in_no_file_of_it(log: EventLog, catalog: SqlCatalog, table: LogTable) -> None:
    append(log, range(195, 215))
    table.sync()
    log.drop_before(203_000_000)
    table.sync()
    assert_same(log, catalog)


def test_no_value_of_a_key_is_in_what_the_table_says_of_its_files(table: LogTable, catalog: SqlCatalog) -> None:
    table.sync()
    [file, *_] = [task.file for task in catalog.load_table(NAME).scan().plan_files()]
    columns = {field.field_id: field.name for field in catalog.load_table(NAME).schema().fields}
    assert {columns[number] for number in file.lower_bounds} == {"timestamp", "source", "partition", "offset"}


def test_a_column_that_is_declared_later_is_there_with_its_default(log: EventLog, catalog: SqlCatalog) -> None:
    LogTable(log, catalog, NAME).sync()
    declared = msgspec.structs.replace(SHOP, measures=(*SHOP.measures, Measure("weight", decimals=1, default=2.5)))
    later = EventLog(Path(str(log)), declared)
    found = LogTable(later, catalog, NAME).sync()
    assert found.copies == 21  # who reads the files knows of no default
    weights = catalog.load_table(NAME).scan().to_arrow().column("weight")
    assert weights.unique().to_pylist() == [2.5]


def test_snapshots_that_cannot_be_read_any_more_go(log: EventLog, catalog: SqlCatalog, tmp_path: Path) -> None:
    clock = ManualClock(wall_clock())
    table = LogTable(log, catalog, NAME, clock)

    def lists() -> int:
        return len(list((tmp_path / "warehouse").rglob("*.avro")))

    for number in range(3):
        append(log, range(200 + 10 * number, 210 + 10 * number))
        table.sync()
    assert len(catalog.load_table(NAME).snapshots()) == 3
    before = lists()
    clock.advance(clock.now_us + 2 * HOUR_US)
    append(log, range(230, 240))
    table.sync()
    assert len(catalog.load_table(NAME).snapshots()) == 1
    assert lists() < before
    assert_same(log, catalog)


def test_a_log_with_a_hole_is_refused(log: EventLog, table: LogTable) -> None:
    log.files()[3].path.unlink()
    with pytest.raises(LogHoleError):
        table.sync()


def test_the_table_of_another_log_is_refused(tmp_path: Path, catalog: SqlCatalog, table: LogTable) -> None:
    table.sync()
    other = EventLog(tmp_path / "other")
    append(other, range(10))
    with pytest.raises(ConfigurationError, match=r"shop\.events is of the log in .*--table"):
        LogTable(other, catalog, NAME).sync()
    catalog.create_table("shop.taken", pa.schema([("a", pa.int64())]))
    with pytest.raises(ConfigurationError, match=r"shop\.taken is no log of Encore"):
        LogTable(other, catalog, "shop.taken").sync()


@pytest.mark.parametrize("name", ["50%", "shop #1", "what?"])
def test_a_path_that_is_none_in_an_address_is_refused(tmp_path: Path, catalog: SqlCatalog, name: str) -> None:
    log = EventLog(tmp_path / name)
    append(log, range(10))
    with pytest.raises(ConfigurationError, match=r"no '#', '\?' or '%' can be in"):
        LogTable(log, catalog, NAME).sync()


def test_one_does_so_at_a_time(log: EventLog, table: LogTable) -> None:
    with log.storage.lock(".iceberg.lock"), pytest.raises(BlockingIOError):
        table.sync()


def test_files_of_an_older_encore(tmp_path: Path, catalog: SqlCatalog) -> None:
    log = EventLog(tmp_path / "old")
    append_old(log, [0, 1, 2])
    append_old(log, [3, 5])
    LogTable(log, catalog, NAME).sync()
    assert_same(log, catalog)


@pytest.mark.long
def test_a_log_in_a_bucket(tmp_path: Path) -> None:
    with object_store() as address:
        log = EventLog(open_storage(address.format("home"), tmp_path / "copies") / "log")
        append(log, range(10))
        append(log, range(5, 20))
        endpoint = address.partition("endpoint_override=")[2].partition("&")[0]
        catalog = SqlCatalog(
            "tests",
            uri=f"sqlite:///{tmp_path}/catalog.db",
            warehouse="s3://shop/warehouse",
            **{"s3.endpoint": f"http://{endpoint}", "s3.access-key-id": "test", "s3.secret-access-key": "secret-word"},
        )
        assert LogTable(log, catalog, NAME).sync() == (2, 18, 2, 0, 1)
        assert_same(log, catalog)
