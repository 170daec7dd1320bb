"""Files as the world's shops export them: drafted, and imported by the draft, they are right, or refused in a line."""

import bz2
import gzip
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.csv import write_csv

from data.drafts.shop import ShopDraft, draft_shop
from data.errors import DataError, EncoreError, FaultyRowsError
from data.importers import import_files
from data.importers.mapping import parse_mapping

pytestmark = pytest.mark.integration  # it reads files of many forms with DuckDB

NOW_US = round(datetime(2026, 11, 26, tzinfo=UTC).timestamp() * 1_000_000)


def taken(
    path: Path, content: str | bytes, names: Sequence[str] = (), encoding: str = "utf-8"
) -> tuple[ShopDraft, list[dict[str, Any]]]:
    """Draft a file, and import it by the draft."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    draft = draft_shop(str(path), "shop", names)
    tables, _ = import_files(parse_mapping(draft.mapping, "mapping.toml"), [path], now_us=NOW_US, schema=draft.schema)
    return draft, pa.concat_tables(tables).to_pylist()


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ("2024-05-01 10:55:04 -0500", "2024-05-02 10:55:04 -0500", "2024-05-01 15:55:04"),
        ("2024-05-01 10:55:04 -05:00", "2024-05-02 10:55:04 -05:00", "2024-05-01 15:55:04"),
        ("2024-05-01 10:55:04 +0000 UTC", "2024-05-02 10:55:04 +0000 UTC", "2024-05-01 10:55:04"),
        ("May 1, 2024, 1:05:04 PM", "May 30, 2024, 10:00:00 AM", "2024-05-01 13:05:04"),
        ("01-May-24", "30-May-24", "2024-05-01 00:00:00"),
        ("Wed, 01 May 2024 10:55:04 GMT", "Thu, 02 May 2024 10:55:04 GMT", "2024-05-01 10:55:04"),
        ("01/May/2024:10:55:04 +0000", "02/May/2024:10:55:04 +0000", "2024-05-01 10:55:04"),
        ("2024-5-1 9:05", "2024-5-30 19:05", "2024-05-01 09:05:00"),
        ("20240501105504", "20240502105504", "2024-05-01 10:55:04"),
        ("2024-05-01 10", "2024-05-30 11", "2024-05-01 10:00:00"),
    ],
)
def test_forms_of_time_are_seen(first: str, second: str, wanted: str, tmp_path: Path) -> None:
    rows = "".join(f'"{at}",7,a,1.5\n' for at in (first, second))
    _, events = taken(tmp_path / "a.csv", f"order_date,customer_id,item_id,price\n{rows}")
    assert events[0]["timestamp"] == utc(wanted)


@pytest.mark.parametrize(
    ("header", "first", "second", "wanted"),
    [
        ("Datum;Uhrzeit;Kunde;Preis", "21.03.2024;14:05;7;1,50", "22.03.2024;09:00;7;2,00", "2024-03-21 14:05:00"),
        ("Date;Time;Card;Amount", "03/21/2024;02:05:09 PM;7;1.5", "03/22/2024;09:00:00 AM;7;2", "2024-03-21 14:05:09"),
        ("Datum;Uhrzeit;Kunde;Preis", "20240321;000509;7;1,50", "20240322;231500;7;2,00", "2024-03-21 00:05:09"),
        ("date;hour;customer;price", "2024-03-21;9;7;1.5", "2024-03-22;10;7;2", "2024-03-21 09:00:00"),
    ],
)
def test_a_day_and_a_time_of_day_in_two_columns_are_one_time(
    header: str, first: str, second: str, wanted: str, tmp_path: Path
) -> None:
    draft, events = taken(tmp_path / "a.csv", f"{header}\n{first}\n{second}\n")
    assert events[0]["timestamp"] == utc(wanted)
    assert [column.role for column in draft.columns].count("time") == 2


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (("$1,234.50", "$7.25"), (1234.5, 7.25)),
        (("1.234,50 €", "7,25 €"), (1234.5, 7.25)),
        (("EUR 1,234.50", "EUR 7.25"), (1234.5, 7.25)),
        (("1\u202f234,50", "7,25"), (1234.5, 7.25)),
        (("1\u00a0234,50", "7,25"), (1234.5, 7.25)),
        (("1'234.50", "7.25"), (1234.5, 7.25)),
        (("1,234", "7,250"), (1234, 7250)),
        (("1.234", "7.250"), (1234, 7250)),
        (("0,234", "7,250"), (0.234, 7.25)),
    ],
)
def test_amounts_as_they_are_written(written: tuple[str, str], wanted: tuple[float, float], tmp_path: Path) -> None:
    rows = "".join(f"2024-05-0{day}|7|{amount}\n" for day, amount in enumerate(written, 1))
    draft, events = taken(tmp_path / "a.csv", f"date|client|total\n{rows}")
    assert tuple(event["total"] for event in events) == wanted
    says_so = any("is taken for a whole number" in doubt for doubt in draft.doubts)
    assert says_so == (wanted == (1234, 7250)), "three digits behind a mark are asked about"


def test_two_currencies_are_refused_by_row(tmp_path: Path) -> None:
    rows = "".join(f"2024-05-{day:02d},7,{'£' if day == 9 else '$'}{day}.00\n" for day in range(1, 29))
    with pytest.raises(FaultyRowsError, match=r"row 10, column total: '£9.00' is not a number"):
        taken(tmp_path / "a.csv", f"date,client,total\n{rows}")


@pytest.mark.parametrize(("one", "other"), [("-2", "3"), ("(2)", "3"), ("2-", "3")])
def test_what_is_below_0_is_sent_back(one: str, other: str, tmp_path: Path) -> None:
    rows = [f"2024-05-{day:02d},7,a,{one if day == 20 else other}" for day in range(1, 29)]
    draft, events = taken(tmp_path / "a.csv", "\n".join(["date,customer,item,quantity", *rows]))
    assert draft.schema.type_names == ("event", "return")
    [back] = [event for event in events if event["event_type"] == "return"]
    assert (back["timestamp"], back["quantity"]) == (utc("2024-05-20 00:00:00"), 2)
    assert "rows with quantity below 0 are taken for returns" in draft.doubts


def test_words_for_nothing_are_no_customers(tmp_path: Path) -> None:
    rows = "2024-05-01,NULL,a,1\n2024-05-02,8,NA,2\n2024-05-03,8,b,NaN\n2024-05-04,8,b,4\n"
    draft, events = taken(tmp_path / "a.csv", f"date,customer_id,item_id,total\n{rows}")
    assert [(event["customer_id"], event["item_id"], event["total"]) for event in events] == [
        ("8", "b", 0),
        ("8", "b", 4),
    ]
    assert "rows without customer_id (1 of the sample) make no event; make it a label if they should" in draft.doubts


def test_a_word_for_nothing_that_may_be_a_name_stays_one(tmp_path: Path) -> None:
    rows = "2024-05-01,8,a,NA\n2024-05-02,8,a,EU\n"
    _, events = taken(tmp_path / "a.csv", f"date,customer_id,item_id,continent\n{rows}")
    assert [event["continent"] for event in events] == ["NA", "EU"]


BODY = "date,customer,item,price\n2024-05-01,7,a,1.50\n2024-05-02,8,b,2.50\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("preamble.csv", b"Sales report\nfrom,2024\n\n" + BODY.encode()),
        ("excel.csv", b"sep=;\r\n" + BODY.replace(",", ";").replace("\n", "\r\n").encode()),
        ("comment.csv", b"# by a till\n" + BODY.encode()),
        ("utf16.csv", BODY.replace(",", "\t").encode("utf-16")),
        ("of_spark.csv", BODY.replace(",a,", ',"a \\"b\\", c",').encode()),
        ("sales.dat", BODY.encode()),
        ("sales.csv.bz2", bz2.compress(BODY.encode())),
    ],
)
def test_files_of_other_forms_are_read(name: str, content: bytes, tmp_path: Path) -> None:
    _, events = taken(tmp_path / name, content)
    assert [(event["customer"], event["price"]) for event in events] == [("7", 1.5), ("8", 2.5)]
    assert events[0]["item"] == ('a "b", c' if name == "of_spark.csv" else "a")


def test_a_fault_behind_a_preamble_is_named_by_its_line(tmp_path: Path) -> None:
    rows = "".join(f"2024-05-{day:02d},7,a,{'free' if day == 5 else day}\n" for day in range(1, 29))
    with pytest.raises(FaultyRowsError, match="row 8, column price: 'free'"):
        taken(tmp_path / "a.csv", f"Sales report\nfrom 2024\ndate,customer,item,price\n{rows}")


def test_without_a_header_its_names_are_asked_for_and_taken(tmp_path: Path) -> None:
    content = "7,31,pv,1714557304\n7,31,buy,1714557305\n8,32,pv,1714557306\n"
    with pytest.raises(
        DataError, match=r"row 1 has '7' where the name of a column should be; .* the 4 columns are called"
    ):
        taken(tmp_path / "a.csv", content)
    draft, events = taken(tmp_path / "a.csv", content, ["user_id", "item_id", "behavior", "ts"])
    assert draft.schema.type_names == ("buy", "pv"), "what is bought by comes first"
    assert [event["event_type"] for event in events] == ["pv", "buy", "pv"]
    assert events[0]["timestamp"] == utc("2024-05-01 09:55:04")


def test_lines_of_an_order_in_a_list_are_an_event_each(tmp_path: Path) -> None:
    lines = [{"sku": "a", "price": "1.50"}, {"sku": "a", "price": "1.50"}, {"sku": "b", "price": "2.00"}]
    orders = [
        {"id": 1, "at": "2024-05-01T10:00:00Z", "customer": {"id": 7, "mail": "x"}, "line_items": lines},
        {"id": 2, "at": "2024-05-02T10:00:00Z", "customer": {"id": 8, "mail": "y"}, "line_items": lines[:1]},
        {"id": 3, "at": "2024-05-03T10:00:00Z", "customer": {"id": 8, "mail": "y"}, "line_items": []},
    ]
    draft, events = taken(tmp_path / "a.jsonl", "\n".join(map(json.dumps, orders)))
    assert 'each = "line_items"' in draft.mapping
    assert [(event["customer_id"], event["sku"], event["price"], event["session_id"]) for event in events] == [
        ("7", "a", 1.5, "1"),
        ("7", "a", 1.5, "1"),
        ("7", "b", 2.0, "1"),
        ("8", "a", 1.5, "2"),
    ]
    assert len({event["event_id"] for event in events}) == 4
    orders[1]["line_items"] = {"sku": "a"}
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, orders)))
    mapping = parse_mapping(draft.mapping, "mapping.toml")
    with pytest.raises(FaultyRowsError, match="row 2, column line_items: not a list"):
        import_files(mapping, [tmp_path / "a.jsonl"], now_us=NOW_US, schema=draft.schema)


def test_clicks_as_analytics_exports_them(tmp_path: Path) -> None:
    """Objects and lists within each event, ids that look like decimals, microseconds as text."""
    rows = [
        {
            "event_date": "20240501",
            "event_timestamp": str(1_714_557_304_123_456 + n),
            "event_name": "purchase" if n % 3 == 0 else "view_item",
            "user_pseudo_id": f"100000{n % 2}.160000",
            "device": {"category": "mobile" if n % 2 else "desktop"},
            "items": [{"item_id": f"s{n % 2}", "price": 9.5}],
        }
        for n in range(6)
    ]
    draft, events = taken(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert draft.schema.keys == ("user_pseudo_id", "item_id")
    assert (events[0]["user_pseudo_id"], events[0]["device_category"]) == ("1000000.160000", "desktop")
    assert events[0]["timestamp"].microsecond == 123_456


def test_numbers_of_parquet_are_what_was_written(tmp_path: Path) -> None:
    table = pa.table(
        {
            "event_ms": [1_714_557_304_000, 1_714_557_305_000],
            "customer": [7.0, 8.0],
            "amount": pa.array([41.33, 0.1], pa.float32()),
            "items": [[{"sku": "a"}], []],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    draft, events = taken(tmp_path / "a.parquet", (tmp_path / "a.parquet").read_bytes())
    assert [(event["customer"], event["amount"]) for event in events] == [("7", 41.33), ("8", 0.1)]
    assert draft.schema.measure("amount").decimals == 2


@pytest.mark.long
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_sample_is_of_all_of_a_file(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only its end has is seen: here all returns."""
    for module in ("beginning", "source_file"):
        monkeypatch.setattr(sys.modules[f"data.importers.{module}"], "SAMPLE", 1 << 16)
    monkeypatch.setattr(sys.modules["data.importers.source_file"], "_PIECE", 1 << 11)
    monkeypatch.setattr(sys.modules["data.drafts.sample"], "_ROWS", 2_000)
    rows = [(f"2024-05-{1 + n % 28:02d} 10:{n % 60:02d}:00", "sale", f"c{n % 90}", n) for n in range(4_000)]
    rows += [(at, "refund", who, n) for at, _, who, n in rows[:400]]
    path = tmp_path / f"a.{form}"
    table = pa.table(dict(zip(("at", "what", "customer", "amount"), zip(*rows, strict=True), strict=True)))
    if form == "csv":
        write_csv(table, path)
    else:
        pq.write_table(table, path)
    draft, events = taken(path, path.read_bytes())
    assert (draft.schema.type_names, len(events)) == (("sale", "refund"), 4_400)
    assert 'undoes = { refund = "sale" }' in draft.mapping
    packed = tmp_path / "a.csv.gz"
    with gzip.open(packed, "wb") as out:
        write_csv(table, out)
    assert any("only the beginning of the file was read" in one for one in draft_shop(str(packed), "shop").doubts)


def test_days_alone_keep_what_is_bought_twice(tmp_path: Path) -> None:
    draft, events = taken(tmp_path / "a.csv", "day,customer_id,article_id\n" + "2024-05-01,7,a\n" * 2)
    assert len(events) == 2
    assert 'equal_rows = "keep"' in draft.mapping


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", gzip.compress(BODY.encode(), mtime=0), "packed by gzip; let its name end with .gz"),
        ("a.csv", b"PK\x03\x04 and so on", "a zip archive, or a spreadsheet"),
        ("a.csv", b"PAR1 and so on", "Parquet; let its name end with .parquet"),
        ("a.csv", b'{"at": "2024-05-01", "who": 7}\n', "this is JSON; let its name end with .jsonl"),
        ("a.csv", b"<!DOCTYPE html><html></html>", "a page of HTML"),
        ("a.jsonl", BODY.encode(), "no JSON, for it begins with 'date,customer,item,price"),
        ("a.json", b'{\n "orders": [\n  {"id": 1}\n ]\n}\n', "one JSON object over many lines"),
        ("a.parquet", BODY.encode(), "no Parquet, for it begins with 'date,customer,item,price"),
        ("a.zip", b"PK\x03\x04", "an archive; unpack it"),
        ("a.csv", "Дата;Клиент;Товар\n01.02.2024;7;чай\n".encode("cp1251"), "neither in UTF-8 nor in a Western"),
        ("a.csv", b"date,price,Price\n2024-05-01,1,2\n", "two columns are called 'Price'; rename one"),
        ("a.csv", b"order_id,customer_id,date\n1,2,16th of May\n", "column date has '16th of May'"),
        ("a.csv", b"date,what\n2024-05-01,1,2\n2024-05-01,1,2\n2024-05-01,1,2\n", "row 1 has '2024-05-01'|row 2"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_line_with_a_way_out(
    name: str, content: bytes, told: str, tmp_path: Path
) -> None:
    with pytest.raises(EncoreError, match=told) as raised:
        taken(tmp_path / name, content)
    assert "\n" not in str(raised.value)
    assert str(tmp_path / name) in str(raised.value)
    assert "encore-propose" not in str(raised.value), "no name of our own copy"


def test_a_few_bytes_that_are_no_utf_8_are_named_by_their_row(tmp_path: Path) -> None:
    rows = "".join(f"2024-05-{day:02d},7,Grün,1\n" for day in range(1, 29)).encode()
    with pytest.raises(FaultyRowsError, match=r"row 30, column item: .*not utf-8"):
        taken(tmp_path / "a.csv", b"date,customer,item,price\n" + rows + b"2024-06-01,7,Gr\xfcn,1\n")


def test_every_customer_once_is_told(tmp_path: Path) -> None:
    rows = "".join(f"2024-05-{day:02d} 10:00:00,c{day},delivered\n" for day in range(1, 29))
    with pytest.raises(DataError, match=r"customer_id has another value in every row\); join the file"):
        taken(tmp_path / "a.csv", f"at,customer_id,state\n{rows}")


def test_a_folder_and_a_glob(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.csv").write_text(BODY)
    with pytest.raises(DataError, match=r"a folder without Parquet files; name its files, such as '.*\*\.csv'"):
        draft_shop(str(tmp_path), "shop")
    assert draft_shop(str(tmp_path / "*.csv"), "shop").schema.keys == ("customer", "item")
