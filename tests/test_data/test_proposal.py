"""A proposal is a mapping that imports the file it was made from, with what a person must decide left to see."""

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.drafts.proposal import propose
from data.errors import ConfigurationError, DataError
from data.importers import import_files
from data.importers.mapping import parse_mapping

pytestmark = pytest.mark.integration  # it reads whole files with DuckDB

SAMPLES = Path(__file__).parents[1] / "samples"
NOW_US = round(datetime(2026, 11, 26, tzinfo=UTC).timestamp() * 1_000_000)


def events_by_proposal(path: Path, *changes: tuple[str, str]) -> list[dict[str, Any]]:
    text = propose(str(path)).text
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    tables, report = import_files(parse_mapping(text, "proposed.toml"), [path], now_us=NOW_US)
    assert not report.faults
    events: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist()
    return events


@pytest.mark.parametrize(
    ("file", "events", "types"),
    [
        ("online_retail.csv", 30, {"purchase"}),
        ("rees46.csv", 16, {"view", "add_to_cart", "remove_from_cart", "purchase"}),
        ("retailrocket.csv", 19, {"view", "add_to_cart", "purchase"}),
    ],
)
def test_public_data_sets_are_imported_by_their_proposals(file: str, events: int, types: set[str]) -> None:
    changes = [('amount = "price"', 'amount = "coalesce(price, 0)"')] if file == "rees46.csv" else []
    found = events_by_proposal(SAMPLES / file, *changes)
    assert {event["event_type"] for event in found} == types
    assert len(found) == pytest.approx(events, abs=2)


def test_a_shop_of_another_country(tmp_path: Path) -> None:
    """Latin-1, semicolons and decimal commas are seen; the zone is a person's to say."""
    proposed = propose(str(SAMPLES / "kaffee.csv"))
    for line in (
        'encoding = "cp1252"',
        'delimiter = ";"',
        'decimal = ","',
        'thousands = "."',
        'formats = ["%d.%m.%Y %H:%M"]',
        'zone = "UTC"  # of times without one: the shop\'s, such as Europe/Paris',
        'user_id = "Kunde"',
        'product_id = "Artikel"',
        'amount = "Einzelpreis * Menge"',
        'quantity = "Menge"',
        'category = "Warengruppe"',
        'where = "Kunde IS NULL"',
        'where = "Menge <= 0"',
    ):
        assert line in proposed.text.splitlines(), line
    roles = {column.name: column.role for column in proposed.columns}
    assert roles["Kunde"] == roles["Artikel"] == "key"
    assert roles["Datum"] == "time"
    assert roles["Menge"] == "measure"
    assert roles["Warengruppe"] == "label"


def test_clicks_with_nested_ids(tmp_path: Path) -> None:
    events = events_by_proposal(SAMPLES / "clicks.jsonl")
    assert [(event["user_id"], event["event_type"], event["quantity"]) for event in events] == [
        ("9007", "view", 1),
        ("9007", "add_to_cart", 2),
        ("9007", "purchase", 2),
        ("9007", "return", 1),
        ("9008", "view", 1),
    ]


def test_days_and_months_that_the_sample_does_not_tell_apart_are_left_to_a_person(tmp_path: Path) -> None:
    path = tmp_path / "sales.csv.gz"
    path.write_bytes(gzip.compress(b"order_date,customer,sku,price\n03/04/2024,a,b,1\n05/04/2024,c,d,2\n"))
    both = 'formats = ["%d/%m/%Y","%m/%d/%Y"]  # both read the sample: keep the one that is meant'
    assert both in propose(str(path)).text.splitlines()
    with pytest.raises(ConfigurationError, match="differ in '03/04/2024'"):
        events_by_proposal(path)
    [first, _] = events_by_proposal(path, ('"%d/%m/%Y",', ""))
    assert first["timestamp"] == datetime(2024, 3, 4, tzinfo=UTC)


def test_typed_columns_and_names_that_are_words_of_sql(tmp_path: Path) -> None:
    table = pa.table(
        {
            "when": pa.array([1_714_564_800_000_000, 1_714_564_800_000_001]).cast(pa.timestamp("us", tz="UTC")),
            "user": [7, 8],
            "order": ["o1", "o2"],
            'item "x"': ["x'y", 'z"'],
            "total amount": [1.5, 2.5],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    assert [
        (each["user_id"], each["product_id"], each["amount"]) for each in events_by_proposal(tmp_path / "t.parquet")
    ] == [
        ("7", "x'y", 1.5),
        ("8", 'z"', 2.5),
    ]


def test_a_file_of_other_things_names_what_was_not_found(tmp_path: Path) -> None:
    path = tmp_path / "weather.jsonl"
    path.write_text('{"place": "here", "degrees": 7}\n{"place": "there"}\n')
    text = propose(str(path)).text
    for question in ("which column is the time?", "which column names the user?", "which column names the product?"):
        assert question in text


@pytest.mark.parametrize("content", [b"", b"at,who\n"])
def test_nothing_is_proposed_from_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.csv"):
        propose(str(tmp_path / "a.csv"))


def test_names_of_a_file_are_no_part_of_the_text(tmp_path: Path) -> None:
    """Neither TOML nor SQL: a name with quotes, brackets and a line end is quoted where it stands."""
    name = "x\"]\\n[event]\\nuser_id = '1'; --"
    path = tmp_path / "a.csv"
    path.write_text(f'time,user,item,"{name.replace(chr(34), chr(34) * 2)}"\n2024-01-01,a,b,"v"\n2024-01-02,c,d,"w"\n')
    events = events_by_proposal(path)
    assert [event["user_id"] for event in events] == ["a", "c"]
