"""A table is imported as the file of its rows would be: a folder of Parquet, Delta Lake, or Apache Iceberg."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog.sql import SqlCatalog

from data.drafts.shop import draft_shop
from data.errors import DataError
from data.importers import import_files, load_mapping

pytestmark = pytest.mark.integration  # PyIceberg and SQLAlchemy take seconds to import

SAMPLE = Path(__file__).parents[1] / "samples" / "rees46.csv"
NOW_US = 1_790_000_000_000_000


def events_of(name: str | Path) -> list[dict[str, Any]]:
    tables, _ = import_files(load_mapping("rees46"), [name], now_us=NOW_US)
    rows: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist()
    return rows


@pytest.fixture
def rows() -> pa.Table:
    texts = pa.csv.ConvertOptions(column_types=dict.fromkeys(pa.csv.read_csv(SAMPLE).column_names, pa.string()))
    return pa.csv.read_csv(SAMPLE, convert_options=texts)


def as_folder(folder: Path, rows: pa.Table) -> str:
    for number, part in enumerate((rows.slice(0, 5), rows.slice(5))):
        pq.write_table(part, folder / f"{number}.parquet")
    (folder / "_SUCCESS").touch()
    return str(folder)


def as_hive(folder: Path, rows: pa.Table) -> str:
    pq.write_to_dataset(rows, folder, partition_cols=["event_type"])
    return str(folder)


def as_delta(folder: Path, rows: pa.Table) -> str:
    """In several versions, partitioned, and with rows that were there and are deleted."""
    extra = rows.slice(0, 1).set_column(rows.column_names.index("user_id"), "user_id", pa.array(["never"]))
    write_deltalake(folder, rows.slice(0, 5), partition_by=["event_type"])
    write_deltalake(folder, pa.concat_tables([rows.slice(5), extra]), mode="append")
    DeltaTable(folder).delete("user_id = 'never'")
    return str(folder)


def as_iceberg(folder: Path, rows: pa.Table) -> str:
    """With a column that was called otherwise when most rows were written, and rows that are deleted."""
    catalog = SqlCatalog("tests", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    catalog.create_namespace("shop")
    names = ["buyer" if name == "user_id" else name for name in rows.column_names]
    older = rows.rename_columns(names)
    table = catalog.create_table("shop.events", older.schema)
    table.append(older.slice(0, 5))
    with table.update_schema() as change:
        change.rename_column("buyer", "user_id")
    extra = rows.slice(0, 1).set_column(rows.column_names.index("user_id"), "user_id", pa.array(["never"]))
    table.append(pa.concat_tables([rows.slice(5), extra]))
    table.delete("user_id = 'never'")
    return table.location().removeprefix("file://")


@pytest.mark.long
@pytest.mark.parametrize("made", [as_folder, as_hive, as_delta, as_iceberg])
def test_a_table_is_read_as_a_file_of_its_rows(
    tmp_path: Path, rows: pa.Table, made: Callable[[Path, pa.Table], str]
) -> None:
    place = made(tmp_path, rows)
    expected = events_of(SAMPLE)
    assert sorted(events_of(place), key=str) == sorted(expected, key=str)
    assert draft_shop(place, "shop").schema == draft_shop(str(SAMPLE), "shop").schema


@pytest.mark.long
def test_a_table_of_a_catalog(tmp_path: Path, rows: pa.Table) -> None:
    """Where PyIceberg's configuration says, which it reads as it is imported."""
    as_iceberg(tmp_path, rows)
    of = {"URI": f"sqlite:///{tmp_path}/catalog.db", "TYPE": "sql"}
    told = {f"PYICEBERG_CATALOG__TESTS__{name}": value for name, value in of.items()}
    program = "import test_tables; print(len(test_tables.events_of('iceberg://tests/shop.events')))"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=Path(__file__).parent, env=os.environ | told, capture_output=True, check=True)
    assert int(done.stdout) == len(events_of(SAMPLE))


def test_a_catalog_that_nobody_knows() -> None:
    with pytest.raises(DataError, match=r"the catalog nobody cannot be used .*PYICEBERG_CATALOG__NOBODY__URI"):
        events_of("iceberg://nobody/shop.events")


@pytest.mark.parametrize("kind", [as_delta, as_iceberg])
def test_a_damaged_table_is_named(tmp_path: Path, rows: pa.Table, kind: Callable[[Path, pa.Table], str]) -> None:
    place = Path(kind(tmp_path, rows))
    for path in (*place.glob("_delta_log/*.json"), *place.glob("metadata/*.json")):
        path.write_text("{")
    with pytest.raises(DataError, match=f"{place.name}: this table"):
        events_of(place)


def test_a_table_whose_files_are_gone_is_named(tmp_path: Path, rows: pa.Table) -> None:
    place = Path(as_iceberg(tmp_path, rows))
    for path in place.glob("data/*.parquet"):
        path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        events_of(place)
